"""Sparse data with a known dictionary: x = Z D + noise, the yardstick of every SAE and pursuit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import (
    Between,
    Count,
    Seed,
    at_least,
    check_count,
    check_k,
    check_memory,
    checked,
)
from sae_nb.data._records import Record, seeded

if TYPE_CHECKING:
    from sae_nb.codes import SparseCodes


Sparsity = Annotated[float, Between(0, 1, "[)", do="At 1 no feature would ever be on.")]
"""Chance that a feature is off."""

_TILE_ENTRIES = 1 << 22  # uniforms held at once while supports are drawn


@dataclass(frozen=True, repr=False)
class PlantedDictionary(Record):
    """Vectors, and the unit atoms and true codes they were made from.

    ``codes.to_dense() @ dictionary`` is `x` without noise.

    Example
    -------
    >>> data = planted_dictionary(n_atoms=32, d_in=16, n=100, k=3)
    >>> data.x.shape, int(data.codes.l0.max())
    (torch.Size([100, 16]), 3)
    """

    x: Float[Tensor, "n d_in"]
    dictionary: Float[Tensor, "n_atoms d_in"]
    codes: SparseCodes

    shared = ("dictionary",)


@checked(leave=("n",))
def planted_dictionary(
    n_atoms: Annotated[int, at_least(2)],
    d_in: Annotated[int, at_least(2)],
    n: int,
    k: int,
    coherence: Annotated[float, Between(0, 1, "[)", do="Unit atoms allow no more.")] = 0.0,
    noise: Annotated[float, at_least(0)] = 0.0,
    nonnegative: bool = True,
    seed: Seed = 0,
    *,
    support: Literal["exact", "bernoulli"] = "exact",
) -> PlantedDictionary:
    """Draw sparse combinations of random unit atoms, with the answers.

    x_i = Σ_j z_ij d_j + noise · ε_i with |z_ij| uniform in [½, 1½] on the support and ε standard
    normal. Atoms are d_j ∝ a m + √(1 − a²) g_j with a common direction m and random directions
    g_j ⟂ m; a is solved so that the mean of ⟨d_i, d_j⟩ over all pairs is `coherence` exactly.

    Parameters
    ----------
    k
        Atoms per vector; with ``support="bernoulli"`` on average.
    coherence
        Mean cosine between two different atoms, in [0, 1). Above 0 all atoms lean one way, which is
        what makes greedy and one-step encoders disagree.
    noise
        Standard deviation of the noise in every coordinate.
    nonnegative
        False gives every code entry a random sign.
    support
        ``"exact"``: k different atoms per vector, every set as likely; ``"bernoulli"``: each atom
        on its own with chance k / n_atoms.

    Raises
    ------
    ValueError: If `k` is above `n_atoms`.
    MemoryError: If the vectors would not fit.

    Example
    -------
    >>> data = planted_dictionary(n_atoms=8, d_in=4, n=5, k=2, coherence=0.3)
    >>> cosine = data.dictionary @ data.dictionary.T
    >>> round(float((cosine.sum() - 8) / (8 * 7)), 4)
    0.3
    """
    check_count(n, name="n")
    check_k(k, n_atoms)
    needed = 4 * n * (d_in + 5 * k)
    check_memory(needed, f"`planted_dictionary(n={n}, d_in={d_in})`", "Ask for fewer vectors.")
    generator = seeded(seed)
    dictionary = _atoms(n_atoms, d_in, coherence, generator)
    codes = _codes(n, n_atoms, k, nonnegative, support == "exact", generator)
    return _noisy(dictionary, codes, noise, generator)


def _noisy(
    dictionary: Tensor, codes: SparseCodes, noise: float, generator: torch.Generator
) -> PlantedDictionary:
    x = codes @ dictionary
    if noise > 0:
        x = x + noise * torch.randn(x.shape, generator=generator)
    return PlantedDictionary(x=x, dictionary=dictionary, codes=codes)


def _atoms(n_atoms: int, d_in: int, coherence: float, generator: torch.Generator) -> Tensor:
    # In float64, so that the promised mean cosine holds to rounding.
    common = F.normalize(torch.randn(d_in, generator=generator, dtype=torch.float64), dim=0)
    own = torch.randn(n_atoms, d_in, generator=generator, dtype=torch.float64)
    own = F.normalize(own - (own @ common)[:, None] * common, dim=1)
    # Random directions lean a little by chance. Taking out part of their mean makes that lean
    # negative, about −1 / n_atoms, and then some a ≥ 0 meets any coherence from 0 up.
    own = F.normalize(own - own.mean(dim=0), dim=1)
    lean = float((own.sum(dim=0).square().sum() - n_atoms) / (n_atoms * (n_atoms - 1)))
    share = (coherence - lean) / (1 - lean)
    return (share**0.5 * common + (1 - share) ** 0.5 * own).float()


def _codes(
    n: int, n_atoms: int, k: int, nonnegative: bool, exact: bool, generator: torch.Generator
) -> SparseCodes:
    from sae_nb.codes import SparseCodes

    rows = max(_TILE_ENTRIES // n_atoms, 1)
    atoms, counts = [], []
    for first in range(0, n, rows):
        drawn = torch.rand(min(rows, n - first), n_atoms, generator=generator)
        if exact:
            chosen = drawn.topk(k, dim=1).indices.sort(dim=1).values
            atoms.append(chosen.flatten())
            counts.append(torch.full((len(drawn),), k))
        else:
            on = drawn < k / n_atoms
            atoms.append(on.nonzero()[:, 1])
            counts.append(on.sum(dim=1))
    flat = torch.cat(atoms)
    values = 0.5 + torch.rand(len(flat), generator=generator)
    if not nonnegative:
        values = values * (2.0 * (torch.rand(len(flat), generator=generator) < 0.5) - 1)
    offsets = F.pad(torch.cat(counts).cumsum(0), (1, 0))
    return SparseCodes(
        values=values, atoms=flat, offsets=offsets, n_atoms=n_atoms, leading_shape=(n,)
    )


# -------------------------------------------------------------------------------------------------
# Sparse data whose atoms come in families: similar within one, unrelated between two.


@checked
def planted_families(
    n_families: Count,
    family_size: Count,
    d_in: int,
    n: int,
    k: int,
    within: Annotated[float, Between(0, 1, "[)", do="Unit atoms allow no more.")] = 0.5,
    noise: Annotated[float, at_least(0)] = 0.0,
    seed: Seed = 0,
) -> PlantedDictionary:
    """Draw sparse combinations of atoms that come in families of siblings, with the answers.

    d_j = √within · m_f + √(1 − within) · g_j with one random direction m_f per family f and random
    directions g_j ⟂ m_f, so two siblings have cosine `within` in the mean. Codes and noise are those
    of `planted_dictionary`: k of all atoms, every set as likely, strengths uniform in [½, 1½].

    Parameters
    ----------
    within
        Mean cosine of two siblings, in [0, 1). A one-step encoder takes siblings of an atom for
        atoms of their own; a pursuit subtracts them with it.

    Example
    -------
    >>> data = planted_families(n_families=4, family_size=8, d_in=64, n=10, k=3, within=0.6)
    >>> cosine = data.dictionary @ data.dictionary.T
    >>> siblings = cosine[:8, :8][~torch.eye(8, dtype=torch.bool)]
    >>> bool(abs(siblings.mean() - 0.6) < 0.05), bool(cosine[:8, 8:].abs().mean() < 0.2)
    (True, True)
    """
    check_k(k, n_families * family_size)
    n_atoms = n_families * family_size
    # Which also checks the numbers that both have.
    codes = planted_dictionary(n_atoms, d_in, n, k, noise=noise, seed=seed).codes
    generator = torch.Generator().manual_seed(seed + 1)
    dictionary = _families(n_families, family_size, d_in, within, generator)
    return _noisy(dictionary, codes, noise, generator)


def _families(
    n_families: int, size: int, d_in: int, within: float, generator: torch.Generator
) -> Float[Tensor, "n_atoms d_in"]:
    drawn = torch.randn(n_families, size + 1, d_in, generator=generator, dtype=torch.float64)
    shared, own = F.normalize(drawn[:, :1], dim=2), drawn[:, 1:]
    own = F.normalize(own - (own * shared).sum(dim=2, keepdim=True) * shared, dim=2)
    atoms = within**0.5 * shared + (1 - within) ** 0.5 * own
    return F.normalize(atoms.reshape(-1, d_in), dim=1).float()


# -------------------------------------------------------------------------------------------------
# Inputs of the toy model of superposition: features that are mostly off, each on its own.


@checked
def sparse_features(
    n: Count, n_features: Count, sparsity: Sparsity, *, seed: Seed = 0
) -> Float[Tensor, "n n_features"]:
    """Draw independent features that are 0 with chance S = `sparsity` in [0, 1), else uniform in [0, 1].

    Source
    ------
    Elhage et al., "Toy models of superposition", 2022, arXiv 2209.10652, section 2.

    Example
    -------
    >>> x = sparse_features(1000, 5, 0.9)
    >>> x.shape, 0.08 < float((x > 0).float().mean()) < 0.12
    (torch.Size([1000, 5]), True)
    """
    generator = seeded(seed)
    on = torch.rand(n, n_features, generator=generator) < 1 - sparsity
    return torch.rand(n, n_features, generator=generator) * on
