"""Differences between the atoms of two sets of inputs, and how frequent atoms are: contrast, base rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._sites import acts_for, acts_of_sites, check_sae
from sae_nb.atoms import AtomCatalogue
from sae_nb.checks import Count, Seed, checked, one_of
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.report._row_pass import all_codes
from sae_nb.findings import Finding
from sae_nb.pretrained import examples_of
from sae_nb.statistics import Difference, n_arrangements, permuted_difference

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

    from sae_nb.architectures import SparseAutoencoder


# -------------------------------------------------------------------------------------------------
# Contrast: which atoms fire differently in two sets of inputs, and how much chance alone would do.
#
# For every atom, the mean over samples of its mean strength |z| per row, and of its firing rate; a − b.
# Samples, not rows, are permuted: the rows of one text or image are not independent.


Quantity = Literal["strength", "rate", "attribution"]
Unit = Literal["samples", "positions"]
_SHOWN_ATOMS = 10


class Contrast(Finding):
    """Differences a − b of every atom, each with its permutation floor."""

    strength: Difference
    """Mean strength |z| per row, zeros counted."""

    rate: Difference
    """Share of rows in which the atom fires."""

    attribution: Difference | None = None
    """Contribution to one answer, added up over the positions of two inputs; None for sets."""

    permuted: Unit
    """Unit that was permuted between a and b."""

    n_units: tuple[int, int]
    """Number of units of a and b."""

    n_rows: tuple[int, int]
    n_permutations: int
    """Arrangements tried; all there are where those are few."""

    labels: Mapping[int, str] = field(default_factory=dict)

    @checked
    def difference(self, of: Quantity) -> Difference:
        """Return one of the three differences."""
        there = {"strength": self.strength, "rate": self.rate, "attribution": self.attribution}
        known = {name: difference for name, difference in there.items() if difference is not None}
        return known[one_of(of, known, name="of")]

    @checked
    def order(self, of: Quantity = "strength") -> Int[np.ndarray, " n_atoms"]:
        """Return the atoms: those beyond their floor first, by p; then by the size of the difference.

        Parameters
        ----------
        of
            "strength", "rate" or, between two inputs, "attribution".
        """
        difference = self.difference(of)
        out = np.abs(difference.value - difference.expected)
        # Below the floor p says nothing more, and a tiny but steady difference is still tiny.
        return np.lexsort((-out, np.where(difference.above_floor, difference.p_adjusted, 1.0)))

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that so many arrangements can give."""
        return 1 / self.n_permutations

    @property
    def caveat(self) -> str:
        """Limit of the floor here; empty if there is nothing to add."""
        if self.permuted == "positions":
            return "Only one input per side, so the noise floor is a lower bound."
        if self.smallest_p > 0.05:
            n_a, n_b = self.n_units
            return (
                f"{n_a} and {n_b} samples allow only {self.n_permutations} arrangements: no difference "
                "can be distinguished from chance at 5 %."
            )
        return ""

    @checked
    def table(self, k: Count = 20, of: Quantity = "strength") -> pd.DataFrame:
        """Return the first `k` atoms of `order` as a table."""
        import pandas as pd

        atoms = self.order(of)[:k]
        columns: dict[str, Any] = {
            "atom": atoms,
            "label": [self.labels.get(int(atom), "") for atom in atoms],
        }
        for name in ("strength", "rate", "attribution"):
            difference = getattr(self, name)
            if difference is not None:
                columns |= {
                    f"{name}_a": difference.a[atoms],
                    f"{name}_b": difference.b[atoms],
                    f"{name}_difference": difference.value[atoms],
                    f"{name}_floor": difference.floor[atoms],
                    f"{name}_p": difference.p[atoms],
                    f"{name}_p_adjusted": difference.p_adjusted[atoms],
                }
        return pd.DataFrame(columns).set_index("atom")

    def to_pandas(self) -> pd.DataFrame:
        """Return the first atoms of `table`."""
        return self.table(_SHOWN_ATOMS)

    @property
    def headline(self) -> str:
        """The number of atoms that differ by more than chance, in strength and in rate."""
        n_a, n_b = self.n_units
        beyond = int(self.strength.above_floor.sum())
        caveat = f" ({self.caveat})" if self.caveat else ""
        return (
            f"{n_a} against {n_b} {self.permuted}: {beyond} of {len(self.strength.a)} atoms "
            f"beyond the floor of {self.n_permutations} permutations in strength, "
            f"{int(self.rate.above_floor.sum())} in rate{caveat}"
        )


@checked
def contrast(
    sae: SparseAutoencoder,
    acts_a: Activations | Float[Tensor, "n d_in"] | SparseCodes,
    acts_b: Activations | Float[Tensor, "m d_in"] | SparseCodes,
    *,
    n_permutations: Count = 1000,
    seed: Seed = 0,
    permute: Unit | None = None,
    labels: Mapping[int, str] | None = None,
) -> Contrast:
    """Return which atoms fire more in one set of inputs than in another, and what chance alone gives.

    Every sample counts alike, however many rows it has. Codes stay sparse: memory grows with the
    number of firings, never with rows × atoms.

    Parameters
    ----------
    acts_a, acts_b
        Activations of its width, of different samples; a plain matrix, or codes, of which every row
        is a sample.
    n_permutations
        Arrangements drawn; 1000 resolve p-values to 0.001.
    permute
        None: "samples"; "positions" if there is one sample on each side, noted in `.caveat`.
    labels
        Names of atoms; by default those of the pretrained SAE, if this is one.

    Raises
    ------
    ValueError: If widths do not fit, or both sides have samples of one capture in common.

    Example
    -------
    >>> import sae_nb as sn
    >>> sae = sn.TopK(d_in=4, n_atoms=8, k=1, generator=torch.Generator().manual_seed(0))
    >>> towards = sae.dictionary[3] + 0.01 * torch.randn(20, 4)
    >>> found = contrast(sae, towards, torch.randn(20, 4))
    >>> int(found.order()[0]), bool(found.strength.above_floor[3])
    (3, True)
    """
    a, b = _grouped(sae, acts_a, "acts_a"), _grouped(sae, acts_b, "acts_b")
    _check_apart(acts_a, acts_b, permute)
    return contrast_codes(
        a,
        b,
        n_permutations=n_permutations,
        seed=seed,
        permute=permute,
        labels=labels_of(sae, labels),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Grouped:
    """Codes and the sample each of their rows belongs to."""

    codes: SparseCodes
    sample: Int[np.ndarray, " rows"]

    @property
    def n_samples(self) -> int:
        """Number of samples that have rows."""
        return len(np.unique(self.sample))

    def means(self, unit: Unit, *, firing: bool) -> csr_matrix:
        """Return the mean strength |z|, or firing rate, of every unit: sparse, one row per unit."""
        from scipy.sparse import csr_matrix

        rows = np.repeat(np.arange(self.codes.n_rows), self.codes.l0.cpu().numpy())
        values = self.codes.values.detach().abs().double().cpu().numpy()
        values = (values != 0).astype(np.float64) if firing else values
        units = self.sample if unit == "samples" else np.arange(self.codes.n_rows)
        _, owner, n_rows = np.unique(units, return_inverse=True, return_counts=True)
        place = (owner[rows], self.codes.atoms.cpu().numpy())
        shape = (len(n_rows), self.codes.n_atoms)
        return csr_matrix((values / n_rows[owner[rows]], place), shape=shape)


def contrast_codes(
    a: Grouped,
    b: Grouped,
    *,
    n_permutations: int,
    seed: int,
    permute: Unit | None = None,
    labels: Mapping[int, str] | None = None,
    contributions: tuple[csr_matrix, csr_matrix] | None = None,
) -> Contrast:
    """Return the contrast of codes that are there already; trusts its input."""
    alone = a.n_samples == b.n_samples == 1
    unit: Unit = ("positions" if alone else "samples") if permute is None else permute
    drawn = partial(permuted_difference, n_permutations=n_permutations, seed=seed)
    strength, rate = (
        drawn(a.means(unit, firing=firing), b.means(unit, firing=firing))
        for firing in (False, True)
    )
    summed = None if contributions is None else drawn(*contributions, weights=(1.0, 1.0))
    n_rows = (a.codes.n_rows, len(b.codes))
    n_units = n_rows if unit == "positions" else (a.n_samples, b.n_samples)
    return Contrast(
        strength=strength,
        rate=rate,
        attribution=summed,
        permuted=unit,
        n_units=n_units,
        n_rows=n_rows,
        n_permutations=min(n_arrangements(*n_units), n_permutations + 1),
        labels=labels or {},
    )


def _grouped(
    sae: SparseAutoencoder, acts: Activations | Tensor | SparseCodes, name: str
) -> Grouped:
    """Check one side and encode it."""
    check_sae(sae)
    if isinstance(acts, SparseCodes):
        if acts.n_atoms != sae.n_atoms or acts.n_rows == 0:
            raise ValueError(
                f"`{name}` must be codes of the SAE's {sae.n_atoms} atoms with at least one row, got "
                f"{acts!r}."
            )
        return Grouped(codes=acts.detach().to("cpu"), sample=np.arange(acts.n_rows))
    acts = acts_for(sae, acts, name=name)
    return Grouped(codes=all_codes(sae, acts), sample=acts.sample.cpu().numpy())


def _check_apart(acts_a: object, acts_b: object, permute: Unit | None) -> None:
    """Refuse two parts of one capture that share samples: swapping those would say nothing."""
    if not isinstance(acts_a, Activations) or not isinstance(acts_b, Activations):
        return
    if permute == "positions" or acts_a.context is not acts_b.context:
        return
    a, b = (set(torch.unique(acts.sample).tolist()) for acts in (acts_a, acts_b))
    if a & b and not len(a) == len(b) == 1:
        raise ValueError(
            f"`acts_a` and `acts_b` must be of different samples, but {len(a & b)} are in both. Take "
            'subsets by sample, or pass permute="positions".'
        )


# -------------------------------------------------------------------------------------------------
# How often atoms fire anyway: the base rate that an input's firings are compared with.


NO_BASE_RATE = (
    "no base rate is known: pass frequency= (one share per atom, activations or codes) to see what "
    "fires more than it usually does"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseRate:
    """Share of rows in which each atom fires, measured somewhere else, and its source in words."""

    frequency: Float[np.ndarray, " n_atoms"]
    n_rows: int | None
    """Rows it was measured on; None where it was given as numbers."""

    source: str

    @property
    def at_least(self) -> Float[np.ndarray, " n_atoms"]:
        """The frequency, never zero: an atom that was never seen may be as frequent as 1 / (n + 1)."""
        if self.n_rows is not None:
            least = 1 / (self.n_rows + 1)
        else:
            positive = self.frequency[self.frequency > 0]
            least = float(positive.min()) / 2 if positive.size else 1.0
        return np.clip(self.frequency, least, 1.0)


def base_rate(sae: SparseAutoencoder, given: object = None) -> BaseRate | None:
    """Return the base rate that was given, or that of the pretrained SAE; None where there is none."""
    if isinstance(given, BaseRate):
        return given
    if given is None:
        store = examples_of(sae)
        return None if store is None else base_rate(sae, store)
    if isinstance(given, tuple):  # what a transcoder reads and writes
        given = acts_of_sites(sae, given, name="frequency")
    if isinstance(given, Activations):
        acts = acts_for(sae, given, name="frequency")
        return _of(sae, all_codes(sae, acts), f"{len(acts)} rows of activations")
    if isinstance(given, AtomCatalogue):
        return _of(sae, given, f"{given.rows_in_words} of examples")
    name = getattr(given, "name", None)
    return _of(sae, given, f"examples of {name}" if name else "the numbers given")


def labels_of(sae: SparseAutoencoder, given: Mapping[int, str] | None = None) -> Mapping[int, str]:
    """Return what atoms are called: what was given, or the pretrained SAE's labels, or nothing."""
    if given is not None:
        return given
    store = examples_of(sae)
    return {} if store is None else store.labels


def _of(sae: SparseAutoencoder, given: object, words: str) -> BaseRate:
    n_rows = None
    if isinstance(given, SparseCodes):
        n_rows = given.n_rows
        words = f"{n_rows} rows of codes" if words == "the numbers given" else words
    frequency = getattr(given, "frequency", given)
    try:
        if isinstance(frequency, Tensor):
            frequency = frequency.detach().cpu()
        shares = np.asarray(frequency, dtype=np.float64)
    except (TypeError, ValueError, NotImplementedError):  # the last of a tensor without numbers
        raise TypeError(
            "`frequency` must be one share per atom, codes or activations, got "
            f"{type(given).__name__}."
        ) from None
    if shares.shape != (int(sae.n_atoms),):
        raise ValueError(
            f"`frequency` must have one share for each of the {sae.n_atoms} atoms, got shape "
            f"{shares.shape}. Was it measured with another SAE?"
        )
    if not (np.isfinite(shares).all() and shares.min() >= 0 and shares.max() <= 1):
        raise ValueError(
            "`frequency` must lie between 0 and 1, got values from "
            f"{float(np.min(shares)):.4g} to {float(np.max(shares)):.4g}. Divide counts by rows."
        )
    return BaseRate(frequency=shares, n_rows=n_rows, source=words)
