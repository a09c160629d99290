"""Matryoshka: every prefix of the dictionary must reconstruct on its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import accumulate
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures._batch_topk import BatchTopK
from sae_nb.architectures._recipe import LossTerms
from sae_nb.architectures.parts._largest import TopKProx
from sae_nb.architectures.parts._proxes import Prox, Rows
from sae_nb.checks import at_least, check_count, check_k, checked
from sae_nb.codes import SparseCodes
from sae_nb.kernels._backends import kept_pre_codes

SHARES = (1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Default group sizes as shares of n_atoms (bartbussmann/matryoshka_sae, main.py)."""

PARETO = 0.5
"""Exponent of the law random prefixes are drawn from (noanabeshima/matryoshka-saes)."""

Over = Literal["BatchTopK", "TopK"]


@checked(leave=("groups",))
@dataclass(eq=False, repr=False)
class Matryoshka(BatchTopK):
    """A sparse autoencoder of nested dictionaries: the first m_1 atoms, the first m_2, …, all.

    On one code z: x̂_g = z_{:m_g} D_{:m_g} + b, trained on the mean over g of
    ‖x − x̂_g‖² / E‖x − μ‖², + α·AuxK. Early atoms must serve without the later ones, so they stay
    general instead of ceding their cases to special atoms (absorption). Prefixes are built up group
    by group from the sparse code; a step costs hardly more than a BatchTopK's.

    Parameters
    ----------
    k
        Atoms per input, over the whole dictionary: on average (`over="BatchTopK"`) or at most.
    groups
        Sizes of the groups, which add up to n_atoms. None: 1/16, 1/16, 1/8, 1/4 and 1/2 of it.
    random_prefixes
        Draw this many prefixes for every batch, the whole dictionary always among them, instead of
        using `groups`; from torch's global generator. None: fixed groups.
    over
        Rule that chooses the entries: "BatchTopK", k per input on average, or "TopK", k in each.
    d_in, n_atoms, aux_k, aux_weight, revival, generator
        As in `TopK`.

    Raises
    ------
    ValueError: If the groups do not add up to n_atoms.

    Source
    ------
    Bussmann et al., "Learning multi-level features with Matryoshka sparse autoencoders", arXiv
    2503.17547; random prefixes: Nabeshima, noanabeshima/matryoshka-saes. Ours takes the mean over
    prefixes, so the learning rate needs no change, and does not permute atoms between steps.

    Example
    -------
    >>> sae = Matryoshka(d_in=4, n_atoms=8, k=2, groups=(2, 6))
    >>> codes = sae.encode(torch.ones(3, 4))
    >>> sae.decode_prefix(codes, n_groups=1).shape, sae.widths
    (torch.Size([3, 4]), (2, 8))
    """

    _: KW_ONLY
    groups: Sequence[int] | None = None
    random_prefixes: int | None = None
    over: Over = "BatchTopK"

    def __post_init__(self) -> None:
        if self.groups is None:
            self.groups = default_groups(self.n_atoms)
        self.groups = check_groups(self.groups, self.n_atoms)
        if self.over == "TopK":
            check_k(self.k, self.n_atoms)
        if self.random_prefixes is not None:
            check_k(self.random_prefixes, self.n_atoms, name="random_prefixes")
        super().__post_init__()

    @property
    def widths(self) -> tuple[int, ...]:
        """The ends of the groups: the sizes of the nested dictionaries."""
        return tuple(accumulate(self.groups or ()))

    @checked
    def decode_prefix(
        self, codes: SparseCodes, n_groups: Annotated[int, at_least(0)]
    ) -> Float[Tensor, "*batch d_in"]:
        """Reconstruct with the first groups of atoms alone.

        Raises
        ------
        ValueError: If there are fewer groups.
        """
        if n_groups > len(self.widths):
            raise ValueError(
                f"`n_groups` must be at most {len(self.widths)}, got {n_groups}. The groups are "
                f"{self.groups}."
            )
        inside = codes.atoms < (0, *self.widths)[n_groups]
        return self.decode(codes.with_values(codes.values * inside))

    def _reconstruction(self, target: Rows, codes: SparseCodes) -> tuple[LossTerms, Tensor, Tensor]:
        widths = self._drawn_widths() if self.random_prefixes and self.training else self.widths
        return self._nested_reconstruction(target, codes, widths)

    def _drawn_widths(self) -> tuple[int, ...] | Tensor:
        n = (self.random_prefixes or 1) - 1
        if n == 0 or self.n_atoms == 1:
            return (self.n_atoms,)
        if kept_pre_codes() is not None:
            return drawn_on(self.device, self.n_atoms, n)
        # P(prefix ≥ m) ∝ m^−½: short prefixes are common, and none is impossible.
        tail = torch.arange(1, self.n_atoms + 1, dtype=torch.float64).pow(-PARETO)
        drawn = torch.multinomial(tail[:-1] - tail[1:], n) + 1
        return (*drawn.sort().values.tolist(), self.n_atoms)

    def _training_prox(self) -> Prox:
        return super()._training_prox() if self.over == "BatchTopK" else TopKProx(int(self.k))

    def _prox(self, k: float | None) -> Prox:
        if self.over == "TopK":
            return TopKProx(int(self.k if k is None else k))
        return super()._prox(k)

    def _checked_k(self, k: float | None) -> int | None:
        if self.over == "TopK" and k is not None:
            return check_k(k, self.n_atoms)
        return super()._checked_k(k)


def drawn_on(device: torch.device, n_atoms: int, n: int) -> Int[Tensor, " n_plus_1"]:
    """Draw n prefixes there, by the same law and without a wait; the whole dictionary is added."""
    tail = torch.arange(1, n_atoms + 1, dtype=torch.float64, device=device).pow(-PARETO)
    chance = (tail[:-1] - tail[1:]).float()
    # The n largest of chance / exponential are n draws without replacement.
    drawn = (chance / torch.empty_like(chance).exponential_()).topk(n).indices + 1
    return torch.cat([drawn.sort().values, tail.new_full((1,), n_atoms)]).to(torch.int32)


def default_groups(n_atoms: int) -> tuple[int, ...]:
    """Return sizes of 1/16, 1/16, 1/8, 1/4 and 1/2, each at least one atom, the last taking the rest."""
    sizes: list[int] = []
    for share in SHARES[:-1]:
        size = max(1, round(share * n_atoms))
        if sum(sizes) + size >= n_atoms:
            break
        sizes.append(size)
    return (*sizes, n_atoms - sum(sizes))


def check_groups(groups: Sequence[int], n_atoms: int) -> tuple[int, ...]:
    """Return sizes of groups of atoms; refuse those that are not positive or do not add up to n_atoms.

    Example
    -------
    >>> check_groups([2, 6], 8)
    (2, 6)
    """
    if not isinstance(groups, Iterable):
        raise TypeError(
            f"`groups` must be the sizes of the groups, got {groups!r}. For example ({n_atoms},)."
        )
    sizes = tuple(check_count(size, name="groups") for size in groups)
    if sum(sizes) != n_atoms:
        raise ValueError(
            f"`groups` must add up to n_atoms={n_atoms}, got {list(sizes)}, which add up to "
            f"{sum(sizes)}. Give the sizes of the groups, not where they end."
        )
    return sizes
