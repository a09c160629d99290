"""Similarity of atoms, with random and spread-out frames as floors; and the effect of co-activation.

cosines ⟨d_i, d_j⟩, i ≠ j · antipodal: min_j ⟨d_i, d_j⟩ ≤ −0.9 · Hoyer: (√d − ‖d‖₁/‖d‖₂)/(√d − 1)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, at_least, check_matrix, check_memory, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import welch_bound
from sae_nb.geometry import check_dictionary, effective_rank, stable_rank
from sae_nb.statistics import correlation, mantel_null

# -------------------------------------------------------------------------------------------------
# What spread-out unit vectors look like: the Welch bound, random frames, and nearly Grassmannian ones.


POWERS = (4.0, 64.0)
"""Exponent of the mean over cosines, first and last step: a soft maximum that grows hard (ours)."""


@checked
def random_frame(n_atoms: Count, d_in: Count, *, seed: Seed = 0) -> Float[Tensor, "n_atoms d_in"]:
    """Return unit vectors in random directions; their cosines have standard deviation 1/√d.

    Example
    -------
    >>> round(float(random_frame(500, 100)[0].norm()), 4)
    1.0
    """
    shape = n_atoms, d_in
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


@checked
@torch.enable_grad()
def near_grassmannian_frame(
    n_atoms: Count, d_in: Count, *, n_steps: Count = 300, seed: Seed = 0
) -> Float[Tensor, "n_atoms d_in"]:
    """Return unit vectors moved apart until their largest |cosine| is small.

    min (mean_{i ≠ j} |⟨d_i, d_j⟩|^p)^(1/p) by Adam on the sphere, p rising from 4 to 64;
    n × n numbers are held.

    Source
    ------
    arXiv 2510.08638 compares with such a frame and names TAAP; this optimiser is ours.

    Example
    -------
    >>> frame = near_grassmannian_frame(6, 3)
    >>> cosines = (frame @ frame.T - torch.eye(6)).abs()
    >>> bool(welch_bound(6, 3) - 1e-5 <= cosines.max() < 0.5)
    True
    """
    frame = random_frame(n_atoms, d_in, seed=seed)
    if n_atoms <= d_in:
        return torch.linalg.qr(frame.T).Q.T.contiguous()
    free = frame.clone().requires_grad_()
    optimiser = torch.optim.Adam([free], lr=0.05)
    own = torch.eye(n_atoms, dtype=torch.bool)
    for step in range(n_steps):
        done = step / n_steps
        power = POWERS[0] * (POWERS[1] / POWERS[0]) ** done
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * (1 - done)
        unit = torch.nn.functional.normalize(free, dim=1)
        cosines = (unit @ unit.T).abs().masked_fill(own, 0.0)
        most = cosines.detach().max().clamp_min(1e-9)
        loss = most * (cosines / most).pow(power).mean().pow(1 / power)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return torch.nn.functional.normalize(free.detach(), dim=1)


ANTIPODAL = -0.9
"""Cosine from which two atoms count as antipodal (threshold inferred)."""

ALIKE = 0.5
N_BINS = 80


@dataclass(frozen=True, kw_only=True, eq=False)
class DictionaryGeometry:
    """Statistics of one dictionary's directions."""

    n_atoms: int
    """Rows with a direction."""

    d_in: int
    """Width."""

    counts: Int[np.ndarray, " bins"]
    """Pairs of atoms by cosine, from −1 to 1."""

    largest: float
    """max |⟨d_i, d_j⟩|, the coherence."""

    percentile_99: float
    """Of |⟨d_i, d_j⟩| over pairs."""

    alike_fraction: float
    """Share of pairs with |⟨d_i, d_j⟩| > 0.5."""

    spread: float
    """Standard deviation of the cosines; 1/√d for random directions."""

    antipodal_fraction: float
    """Share of atoms with another at cosine −0.9 or below."""

    singular_values: Float[np.ndarray, " rank"]
    """Of the unit rows, falling."""

    effective_rank: float
    """exp of the entropy of σ² / Σσ²."""

    stable_rank: float
    """‖D‖_F² / ‖D‖₂²."""

    hoyer: float
    """Mean over atoms: 0 for equal coordinates, 1 for one coordinate alone."""

    welch: float
    """The least `largest` could be."""

    @property
    def edges(self) -> Float[np.ndarray, " bins_plus_1"]:
        """Of the bins of `counts`."""
        return np.linspace(-1, 1, len(self.counts) + 1)


@checked
@torch.no_grad()
def dictionary_geometry(dictionary: Float[Tensor, "n_atoms d_in"]) -> DictionaryGeometry:
    """Measure which atoms are alike.

    Only directions count. Zero rows have none and are left out.

    Raises
    ------
    TypeError, ValueError: If there are fewer than two atoms with a direction.

    Source
    ------
    The quantities are named in arXiv 2510.08638; the antipodal threshold is inferred.

    Example
    -------
    >>> found = dictionary_geometry(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]]))
    >>> found.largest, round(found.antipodal_fraction, 2), round(found.hoyer, 4)
    (1.0, 0.67, 1.0)
    """
    rows = check_matrix(dictionary, name="dictionary").detach().float()
    rows = rows[rows.norm(dim=1) > 0]
    if len(rows) < 2:
        raise ValueError(f"`dictionary` must have two atoms with a direction, got {len(rows)}.")
    unit = torch.nn.functional.normalize(rows, dim=1)
    n, d = unit.shape
    check_memory(8 * n * n, f"All cosines of {n} atoms", "Pass fewer rows of the dictionary.")
    cosines = (unit @ unit.T).clamp(-1, 1)
    pairs = cosines[tuple(torch.triu_indices(n, n, offset=1))].numpy(force=True)
    nearest_opposite = cosines.fill_diagonal_(1.0).amin(dim=1)
    sizes = np.abs(pairs)
    return DictionaryGeometry(
        n_atoms=n,
        d_in=d,
        counts=np.histogram(pairs, bins=N_BINS, range=(-1, 1))[0],
        largest=float(sizes.max()),
        percentile_99=float(np.percentile(sizes, 99)),
        alike_fraction=float((sizes > ALIKE).mean()),
        spread=float(pairs.std()),
        antipodal_fraction=float((nearest_opposite <= ANTIPODAL).float().mean()),
        singular_values=torch.linalg.svdvals(unit).numpy(force=True),
        effective_rank=effective_rank(unit),
        stable_rank=stable_rank(unit),
        hoyer=float(hoyer(unit).mean()),
        welch=welch_bound(n, d),
    )


@checked
def geometry_floors(n_atoms: int, d_in: int, *, seed: Seed = 0) -> dict[str, DictionaryGeometry]:
    """Compute the same statistics for unit vectors that learned nothing.

    By name: "random", and "near-Grassmannian", as spread out as an optimiser makes them.

    Example
    -------
    >>> floors = geometry_floors(20, 4)
    >>> floors["near-Grassmannian"].largest < floors["random"].largest
    True
    """
    return {
        "random": dictionary_geometry(random_frame(n_atoms, d_in, seed=seed)),
        "near-Grassmannian": dictionary_geometry(near_grassmannian_frame(n_atoms, d_in, seed=seed)),
    }


def hoyer(rows: Float[Tensor, "n d_in"]) -> Float[Tensor, " n"]:
    """Return hoyer's sparsity of each row, (√d − ‖x‖₁/‖x‖₂) / (√d − 1).

    Source: Hoyer, JMLR 2004.
    """
    root = rows.shape[1] ** 0.5
    ratio = rows.abs().sum(dim=1) / rows.norm(dim=1).clamp_min(1e-30)
    return (root - ratio) / max(root - 1, 1e-30)


@dataclass(frozen=True, kw_only=True, eq=False)
class CoActivation:
    """Whether atoms that fire together point the same way."""

    correlation: float
    """Pearson's r of the off-diagonal entries of ZᵀZ (scaled to unit diagonal) and of D Dᵀ."""

    floor: float
    """Mean of the same with atoms permuted within D: what the pairing of code and atom adds nothing to."""

    floor_sd: float
    """Standard deviation of that over permutations."""

    eigenvalues: Float[np.ndarray, " used"]
    """Of ZᵀZ scaled to unit diagonal, falling: steps would be blocks."""

    frequency: Float[np.ndarray, " n_atoms"]
    """Share of rows in which each atom fires."""

    energy: Float[np.ndarray, " n_atoms"]
    """E[z² | fires] of each atom; 0 for dead ones."""

    n_used: int
    """Atoms that fire at all; only they are compared."""


@checked
@torch.no_grad()
def coactivation(
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    *,
    n_permutations: Annotated[int, at_least(2)] = 20,
    seed: Seed = 0,
) -> CoActivation:
    """Correlate which atoms fire together with which atoms point the same way.

    The correlation is positive by construction, since x ≈ Z D and rows overlap; permuted atoms say how
    much of it chance gives.

    Raises
    ------
    TypeError, ValueError: If codes and dictionary do not belong together, or fewer than three atoms fire.

    Source
    ------
    arXiv 2510.08638 reports r = 0.28; the permutation floor is ours.

    Example
    -------
    >>> z = torch.tensor([[1.0, 1.0, 0.0], [2.0, 1.5, 0.0], [0.0, 0.0, 1.0]])
    >>> atoms = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-0.6, 0.8]])
    >>> coactivation(SparseCodes.from_dense(z), atoms).correlation > 0.5
    True
    """
    atoms = check_matrix(dictionary, name="dictionary").detach().float()
    check_dictionary(codes, atoms)
    z = codes.to_scipy()
    square = np.asarray(z.multiply(z).sum(axis=0)).reshape(-1)
    used = np.flatnonzero(square > 0)
    if len(used) < 3:
        raise ValueError(f"`codes` must use three atoms or more, got {len(used)}. Pass more rows.")
    scaled = z[:, used].multiply(1 / np.sqrt(square[used])).tocsr()
    together = np.asarray((scaled.T @ scaled).todense())
    unit = torch.nn.functional.normalize(atoms[torch.from_numpy(used)], dim=1)
    cosines = (unit @ unit.T).numpy(force=True)
    upper = np.triu_indices(len(used), k=1)
    fires = codes.frequency.numpy(force=True)
    floor = mantel_null(together[upper], cosines[upper], n_permutations, seed)
    return CoActivation(
        correlation=float(correlation(together[upper], cosines[upper])),
        floor=float(np.mean(floor)),
        floor_sd=float(np.std(floor, ddof=1)),
        eigenvalues=np.linalg.eigvalsh(together)[::-1],
        frequency=fires,
        energy=square / np.maximum(fires * codes.n_rows, 1),
        n_used=len(used),
    )
