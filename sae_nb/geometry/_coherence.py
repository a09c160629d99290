"""Similarity of atoms, all of them and those used together: copies, ranks, the Babel function.

Welch: no c unit vectors in d dimensions have a coherence below √((c − d) / (d (c − 1))).
μ₁(r) = max_j max_{|S| = r, j ∉ S} Σ_{i ∈ S} |⟨d_i, d_j⟩| for unit atoms; μ₁(1) is the coherence. The
(n_atoms, n_atoms) matrix of cosines is never stored: it is made tile by tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Count, check_count, check_matrix, checked
from sae_nb.codes import SparseCodes
from sae_nb.geometry._cosines import TILE, pair_tiles, tile_rows
from sae_nb.geometry._dimension import nonzero_energies

ALIKE = 0.9
"""|Cosine| above which two atoms are copies. Convention (evaluation of SAEs, several libraries)."""

COPIED = 0.99
"""|Cosine| above which an atom adds nothing to an earlier one, and is not credited with anything."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomGeometry:
    """Statistics of the Gram matrix of unit atoms, without keeping it."""

    max_cosine: Float[np.ndarray, " n_atoms"]
    """max_{j≠i} |⟨d_i, d_j⟩| of each atom."""

    mean_cosine: float
    """Mean of |⟨d_i, d_j⟩| over all pairs i ≠ j."""

    babel: float
    """max_i of the sum of the m largest |⟨d_i, d_j⟩|."""

    alike: Float[np.ndarray, " n_atoms"]
    """1 where an atom of smaller number has |cosine| > 0.9, else 0."""

    copied: Bool[np.ndarray, " n_atoms"]
    """Whether an atom of smaller number has |cosine| > 0.99."""

    stable_rank: float
    effective_rank: float
    """‖D‖_F² / σ₁²; exp(−Σ p log p), p = σ / Σσ."""

    welch: float
    """The Welch bound on the coherence; 0 where there are no more atoms than dimensions."""

    m: int
    """Atoms in the Babel sum."""

    @property
    def coherence(self) -> float:
        """Largest |cosine| of two atoms."""
        return float(self.max_cosine.max())


@checked
def welch_bound(n_atoms: Count, d_in: Count) -> float:
    """Return smallest coherence that c unit vectors in d dimensions can have: √((c − d) / (d (c − 1))).

    Source
    ------
    Welch, "Lower bounds on the maximum cross correlation of signals", IEEE Transactions on Information
    Theory, 1974.

    Example
    -------
    >>> welch_bound(3, 2), welch_bound(4, 8)
    (0.5, 0.0)
    """
    return _welch(n_atoms, d_in)


def _welch(c: int, d: int) -> float:
    return math.sqrt((c - d) / (d * (c - 1))) if c > d else 0.0


@checked
def atom_geometry(dictionary: Any, *, m: Count = 1) -> AtomGeometry:
    """Measure how alike the atoms of an SAE or a (n_atoms, d_in) dictionary are.

    Only directions count, and a zero row is orthogonal to everything. `m` atoms are in the Babel sum.

    Raises
    ------
    ValueError: If there are fewer than two atoms, or m is too large.

    Source
    ------
    Ranks: "Archetypal SAE", arXiv 2502.12892, eq. 10 and 11.

    Example
    -------
    >>> found = atom_geometry(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]))
    >>> round(found.coherence, 3), round(found.mean_cosine, 3), found.max_cosine.round(3).tolist()
    (0.8, 0.467, [0.6, 0.8, 0.8])
    """
    unit = _unit(dictionary)
    if len(unit) < 2:
        raise ValueError(f"`dictionary` must have at least two atoms, got {len(unit)}.")
    if m >= len(unit):
        raise ValueError(f"`m` must be below n_atoms={len(unit)}, got {m}.")
    return geometry_of(unit, m)


def geometry_of(
    unit: Float[Tensor, "n_atoms d_in"], m: int, also: Callable[[int, Tensor], object] | None = None
) -> AtomGeometry:
    """Return the same of unit atoms, two at least and more than m.

    `also` is shown every tile of their cosines (`pair_tiles`), with the number of its first row.
    """
    earlier, later, above = (unit.new_zeros(len(unit)) for _ in range(3))
    usual, total = _usual_neighbour(unit, m), 0.0
    for first, cosines in pair_tiles(unit):
        if also is not None:
            also(first, cosines)
        pairs, end = cosines.abs_().triu_(1), first + len(cosines)
        total += float(pairs.sum(dim=1).double().sum())
        later[first:end] = pairs.amax(dim=1)
        earlier[first:] = torch.maximum(earlier[first:], pairs.amax(dim=0))
        pairs.sub_(usual).clamp_(min=0)
        above[first:end] += pairs.sum(dim=1)
        above[first:] += pairs.sum(dim=0)
    sigma = _singular_values(unit.double())
    energies, p = nonzero_energies(sigma), sigma / sigma.sum()
    return AtomGeometry(
        max_cosine=torch.maximum(earlier, later).double().cpu().numpy(),
        mean_cosine=2 * total / (len(unit) * (len(unit) - 1)),
        babel=_largest_sum(unit, m, m * usual + above),
        alike=(earlier > ALIKE).double().cpu().numpy(),
        copied=(earlier > COPIED).cpu().numpy(),
        stable_rank=float(energies.sum() / energies.max()),
        effective_rank=float((-(p * p.clamp_min(1e-300).log()).sum()).exp()),
        welch=_welch(*unit.shape),
        m=m,
    )


# The Babel sum of one atom alone is asked for, the largest. The m largest of any numbers add up to at most
# m t + Σ max(c − t, 0), whatever t is, and to just that where t is the m-th: a bound without a selection.

_FEW = 64


def _usual_neighbour(unit: Float[Tensor, "n_atoms d_in"], m: int) -> float:
    """The m-th largest |cosine| of an atom, of some that are looked at the one with the largest sum."""
    largest = _closest(unit, torch.arange(0, len(unit), -(-len(unit) // _FEW)), m)
    return float(largest[largest.sum(dim=1).argmax(), -1])


def _largest_sum(
    unit: Float[Tensor, "n_atoms d_in"], m: int, bounds: Float[Tensor, " n_atoms"]
) -> float:
    """The largest sum of an atom's m largest |cosines|: none is above the atom's bound."""
    found = 0.0
    for some in torch.split(bounds.argsort(descending=True), _FEW):
        if float(bounds[some[0]]) <= found * (1 + 1e-6):  # the rounding of a sum
            break
        found = max(found, float(_closest(unit, some, m).double().sum(dim=1).max()))
    return found


def _closest(
    unit: Float[Tensor, "n_atoms d_in"], atoms: Int[Tensor, " some"], m: int
) -> Float[Tensor, "some m"]:
    """The m largest |cosines| of some atoms with others, largest first."""
    cosines = (unit[atoms] @ unit.T).abs_()
    cosines[torch.arange(len(atoms), device=atoms.device), atoms] = 0
    return cosines.topk(m, dim=1).values


def _singular_values(rows: Float[Tensor, "n d"]) -> Float[Tensor, " rank"]:
    """The singular values of rows, by the smaller Gram matrix where its rounding leaves them seven digits."""
    tall = rows if len(rows) >= rows.shape[1] else rows.T
    energies = torch.linalg.eigvalsh(tall.T @ tall)
    if float(energies[0]) > 1e-8 * float(energies[-1]):
        return energies.sqrt()
    return torch.linalg.svdvals(rows)


def copied_atoms(atoms: Float[Tensor, "n_atoms d_in"]) -> Bool[np.ndarray, " n_atoms"]:
    """Return a mask of the atoms that are copies of an atom of smaller number."""
    unit = unit_atoms(atoms)
    earlier = unit.new_zeros(len(unit))
    for first, cosines in pair_tiles(unit):
        pairs = cosines.abs_().triu_(1)
        earlier[first:] = torch.maximum(earlier[first:], pairs.amax(dim=0))
    return np.asarray((earlier > COPIED).cpu())


@checked
def duplicate_groups(
    dictionary: Any, *, cosine: float = ALIKE
) -> tuple[Int[np.ndarray, " members"], ...]:
    """Return atoms that are copies of each other: connected components of |⟨d_i, d_j⟩| > cosine,
    largest first.

    The atoms are those of an SAE or a (n_atoms, d_in) tensor.

    Example
    -------
    >>> atoms = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1], [-1.0, 0.0]])
    >>> [group.tolist() for group in duplicate_groups(atoms)]
    [[0, 2, 3]]
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    unit = _unit(dictionary)
    links = [
        (near.abs_() > cosine).nonzero().cpu().numpy() + first for first, near in pair_tiles(unit)
    ]
    i, j = np.concatenate(links).T
    graph = coo_matrix((np.ones(len(i), np.int8), (i, j)), shape=(len(unit), len(unit)))
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    return tuple(sorted((g for g in groups if len(g) > 1), key=len, reverse=True))


@checked
def encoder_cosines(sae: Any) -> Float[np.ndarray, " n_atoms"] | None:
    """Return cosine of every atom with the row of the encoder that reads it; None without such rows.

    Low where the encoder reads something else than the decoder writes: to separate correlated atoms,
    or because the atom is dead. All one-step SAEs have such rows.

    Example
    -------
    >>> import sae_nb as sn
    >>> encoder_cosines(sn.TopK(d_in=4, n_atoms=8, k=2)).round(3).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    return cosines_with_encoder(sae)


def cosines_with_encoder(sae: Any) -> Float[np.ndarray, " n_atoms"] | None:
    """Return the same of an SAE that was checked."""
    weight = getattr(getattr(sae, "encoder", None), "weight", None)
    if not isinstance(weight, Tensor) or weight.shape != sae.dictionary.shape:
        return None
    rows = torch.nn.functional.normalize(weight.detach().double(), dim=1)
    atoms = unit_atoms(sae.dictionary.detach()).double()
    return np.asarray((rows * atoms).sum(dim=1).cpu())


@checked
def babel(dictionary: Float[Tensor, "n_atoms d_in"], sizes: Sequence[int]) -> list[float]:
    """Return the Babel function: how much one atom can be covered by r others, in the worst case.

    For each r of `sizes`, μ₁(r) = max_j (sum of the r largest |⟨d_i, d_j⟩|, i ≠ j); only directions
    count. Orthogonal atoms have 0, copies r. Pursuits with k atoms provably succeed where
    μ₁(k) + μ₁(k − 1) < 1.

    Source
    ------
    Tropp, "Greed is good", IEEE Transactions on Information Theory, 2004.

    Example
    -------
    >>> babel(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), [1, 2])
    [0.8..., 1.4...]
    """
    atoms = _unit(dictionary)
    sizes = [check_count(size, name="sizes") for size in sizes]
    if not sizes or max(sizes) >= len(atoms):
        raise ValueError(
            f"`sizes` must be between 1 and n_atoms − 1 = {len(atoms) - 1}, got {list(sizes)}."
        )
    worst = torch.zeros(max(sizes), dtype=torch.float64)
    for some in torch.split(torch.arange(len(atoms)), tile_rows(len(atoms))):
        top = _closest(atoms, some, max(sizes)).double().cumsum(dim=1)
        worst = torch.maximum(worst, top.amax(dim=0).cpu())
    return [float(worst[size - 1]) for size in sizes]


@checked
def coactive_babel(
    codes: SparseCodes, dictionary: Float[Tensor, "n_atoms d_in"]
) -> Float[np.ndarray, " rows"]:
    """Measure the similarity of the atoms that explain one input together.

    For the support S of each row, max_{j ∈ S} Σ_{i ∈ S, i ≠ j} |⟨d_i, d_j⟩|, where only directions
    count; 0 where fewer than two atoms are active.

    Raises
    ------
    ValueError: If the codes belong to another dictionary size.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]]))
    >>> atoms = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> coactive_babel(codes, atoms).round(3).tolist()
    [0.6, 0.0]
    """
    atoms = _unit(dictionary)
    check_dictionary(codes, atoms)
    widest = max(int(codes.l0.max()), 1)
    rows = max(1, TILE // (widest * (widest + atoms.shape[1])))
    parts = []
    for first in range(0, codes.n_rows, rows):
        part = codes.rows(slice(first, first + rows)).detach()
        chosen, used = _supports(part, widest)
        among = atoms[chosen] * used[:, :, None]
        cosines = (among @ among.mT).abs()
        cosines.diagonal(dim1=1, dim2=2).zero_()
        parts.append(cosines.sum(dim=2).amax(dim=1).double().cpu().numpy())
    return np.concatenate(parts)


@checked
def distinct_atoms(
    dictionary: Float[Tensor, "n_atoms d_in"], *, cosine: float = 0.99
) -> Int[Tensor, " kept"]:
    """Return atoms that are not copies of an earlier one.

    Atom j > i is a copy of atom i where |⟨d_i, d_j⟩| ≥ `cosine`; only directions count.

    Example
    -------
    >>> distinct_atoms(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])).tolist()
    [0, 1]
    """
    atoms = _unit(dictionary)
    kept: list[int] = []
    copied = torch.zeros(len(atoms), dtype=torch.bool, device=atoms.device)
    for j in range(len(atoms)):
        if not copied[j]:
            kept.append(j)
            copied |= (atoms @ atoms[j]).abs() >= cosine
    return torch.tensor(kept, device=atoms.device)


def _supports(codes: SparseCodes, widest: int) -> tuple[Tensor, Tensor]:
    """Atoms of each row, padded, and which places are used: entries that are not zero."""
    row = codes.support.rows
    place = torch.arange(codes.nnz, device=codes.device) - codes.offsets[row]
    chosen = torch.zeros(codes.n_rows, widest, dtype=torch.int64, device=codes.device)
    used = torch.zeros_like(chosen, dtype=torch.bool)
    chosen[row, place] = codes.atoms.long()
    used[row, place] = codes.values != 0
    return chosen, used


def check_dictionary(codes: SparseCodes, dictionary: Tensor) -> None:
    """Refuse codes of another number of atoms than a dictionary has.

    Raises
    ------
    ValueError: If the (n_atoms, d_in) dictionary has more or fewer rows than the codes have atoms.
    """
    if codes.n_atoms != len(dictionary):
        raise ValueError(
            f"`codes` must be of {len(dictionary)} atoms, as the dictionary, got {codes.n_atoms}. "
            "Encode with the SAE whose dictionary this is."
        )


def rows_of(dictionary: object) -> Float[Tensor, "n_atoms d_in"]:
    """Return the checked atoms of an SAE, or of a plain dictionary."""
    rows = getattr(dictionary, "dictionary", dictionary)
    return check_matrix(rows, name="dictionary").detach()


def _unit(dictionary: object) -> Float[Tensor, "n_atoms d_in"]:
    return unit_atoms(rows_of(dictionary))


def unit_atoms(rows: Float[Tensor, "n_atoms d_in"]) -> Float[Tensor, "n_atoms d_in"]:
    """Return the directions of atoms, in single precision at least; a zero row stays zero."""
    return torch.nn.functional.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)))
