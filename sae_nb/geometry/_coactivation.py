"""The atoms that are used together, and their interference: ZᵀZ against DDᵀ, never stored.

connectivity = 1 − #{(i, j): (ZᵀZ)_ij ≠ 0} / c² · interference = ‖ReLU(−(ZᵀZ / n) ⊙ DDᵀ)‖_F / mean‖x − μ‖²
NPMI(i, j) = log(p_ij / p_i p_j) / −log p_ij
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Count, check_matrix, checked
from sae_nb.codes import SparseCodes
from sae_nb.geometry._coherence import check_dictionary
from sae_nb.geometry._cosines import pair_tiles, unit_rows
from sae_nb.kernels._compiling import compiled
from sae_nb.kernels._threads import share

LEAST_ROWS = 10
"""Rows an atom must be active in before its partners are named. Ours: two atoms active once each, in
one row, have NPMI 1 by accident."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Coactivation:
    """The co-activation of atoms, and the closest partners of each."""

    n_rows: int
    n_pairs: int
    """Rows counted; ordered pairs (i, j), i = j included, with (ZᵀZ)_ij ≠ 0."""

    connectivity: float
    """1 − n_pairs / c²: 1 − 1/c where every atom fires alone, 0 where every pair meets."""

    interference: float
    """‖ReLU(−(ZᵀZ / n) ⊙ DDᵀ)‖_F, unit atoms; in squared units of x."""

    counts: Int[np.ndarray, " n_atoms"]
    """Rows in which each atom is active."""

    partner: Int[np.ndarray, "n_atoms top"]
    npmi: Float[np.ndarray, "n_atoms top"]
    together: Int[np.ndarray, "n_atoms top"]
    """Atoms of largest NPMI, best first, NPMI with them (both −1 where there are fewer), and rows in
    which both are active."""

    @property
    def jaccard(self) -> Float[np.ndarray, "n_atoms top"]:
        """Rows with both over rows with either, for the partners named."""
        others = self.counts[np.maximum(self.partner, 0)]
        either = self.counts[:, None] + others - self.together
        return np.where(self.partner >= 0, self.together / np.maximum(either, 1), 0.0)


@checked
def coactivation(
    codes: SparseCodes, dictionary: Float[Tensor, "n_atoms d_in"], *, top: Count = 10
) -> Coactivation:
    """Count which atoms are active in the same rows, and how far they cancel each other.

    z_j is taken times ‖d_j‖, and `top` partners are named per atom. The time grows with Σ_t L0_t².

    Raises
    ------
    ValueError: If the codes belong to another dictionary size, or there are no rows.

    Source
    ------
    Connectivity and negative interference: "Archetypal SAE", arXiv 2502.12892, eq. 13 and 14. We divide
    ZᵀZ by the rows and take the Frobenius norm; as printed: `as_published`.

    Example
    -------
    >>> import torch
    >>> codes = SparseCodes.from_dense(torch.tensor([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 1.0]]))
    >>> found = coactivation(codes, torch.eye(3))
    >>> round(found.connectivity, 3), found.interference
    (0.667, 0.0)
    """
    rows = check_matrix(dictionary, name="dictionary").detach().float().cpu()
    check_dictionary(codes, rows)
    if codes.n_rows == 0:
        raise ValueError("`codes` must have at least one row, got none.")
    return count_pairs(codes, rows, top)


def count_pairs(
    codes: SparseCodes, dictionary: Float[Tensor, "n_atoms d_in"], top: int
) -> Coactivation:
    """Return the same of codes and a dictionary that were checked."""
    counts, unit = PairCounts(codes, dictionary, top), unit_rows(dictionary)
    for first, cosines in pair_tiles(unit):
        counts.add(first, cosines)
    return counts.found()


class PairCounts:
    """The same, of tiles of cosines that another pass over the dictionary makes."""

    def __init__(
        self, codes: SparseCodes, dictionary: Float[Tensor, "n_atoms d_in"], top: int
    ) -> None:
        c, plain = codes.n_atoms, codes.detach().to("cpu")
        norms = dictionary.float().norm(dim=1).double().cpu()
        strengths = plain.values.double() * norms[plain.atoms.long()]  # of unit atoms
        codes = plain.with_values(strengths).only(strengths != 0)
        grouped, top = codes.by_atom(), min(top, max(c - 1, 1))
        self.n_rows = codes.n_rows
        self._places = [
            part.numpy()
            for one, index in ((grouped, grouped.rows), (codes, codes.atoms))
            for part in (one.offsets.long(), index.long(), one.values)
        ]
        self._pairs, self._interference = np.zeros(c, np.int64), np.zeros(c)
        self._npmi, self._together = np.full((c, top), -1.0), np.zeros((c, top), np.int32)
        self._partner = np.full((c, top), -1, np.int32)

    def add(self, first: int, cosines: Float[Tensor, "some later"]) -> None:
        """Count the pairs of some atoms, from `first` on; these are their cosines with all from there on."""
        gram, found = cosines.float().cpu().numpy(), (self._pairs, self._interference)
        best = self._npmi, self._partner, self._together
        share(partners, len(gram), first, gram, *self._places, LEAST_ROWS, *found, *best)

    def found(self) -> Coactivation:
        """Return what was counted, when every atom was."""
        c, n_pairs = len(self._pairs), int(self._pairs.sum())
        return Coactivation(
            n_rows=self.n_rows,
            n_pairs=n_pairs,
            connectivity=1 - n_pairs / c**2,
            interference=float(np.sqrt(2 * self._interference.sum())) / self.n_rows,
            counts=np.diff(self._places[0]),
            partner=self._partner,
            npmi=self._npmi,
            together=self._together,
        )


# -------------------------------------------------------------------------------------------------
# The compiled loop over pairs of atoms that are active together, one atom's partners at a time.


@compiled()
def partners(
    begin, end, first, gram, atom_offsets, atom_rows, atom_values, offsets, atoms, values, least,
    pairs, interference, npmi, partner, together,
):  # fmt: skip
    """Fill, for each atom first … first + len(gram) − 1, what it does with the others.

    `pairs`: how many atoms it is ever active with; `interference`: Σ_{j > i} ReLU(−(ZᵀZ)_ij G_ij)²; `npmi`,
    `partner`, `together`: its best partners among atoms active in `least` rows, and in how many rows.
    """
    n_atoms, n_rows = len(atom_offsets) - 1, len(offsets) - 1
    top = npmi.shape[1]
    for local in range(begin, end):
        i = first + local
        count = np.zeros(n_atoms, np.int32)
        product = np.zeros(n_atoms, np.float64)
        for entry in range(atom_offsets[i], atom_offsets[i + 1]):
            row, strength = atom_rows[entry], atom_values[entry]
            for e in range(offsets[row], offsets[row + 1]):
                count[atoms[e]] += 1
                product[atoms[e]] += strength * values[e]
        own = count[i]
        met = 0
        total = 0.0
        for j in range(n_atoms):
            if count[j] == 0:
                continue
            met += product[j] != 0
            if j == i:
                continue
            if j > i:
                against = max(-product[j] * gram[local, j - first], 0.0)
                total += against * against
            uses = atom_offsets[j + 1] - atom_offsets[j]
            if own < least or uses < least:
                continue
            if count[j] == n_rows:
                score = 1.0
            else:
                joint = count[j] / n_rows
                score = np.log(joint * n_rows / own * n_rows / uses) / -np.log(joint)
            if score > npmi[i, top - 1]:
                place = top - 1
                while place > 0 and npmi[i, place - 1] < score:
                    npmi[i, place] = npmi[i, place - 1]
                    partner[i, place] = partner[i, place - 1]
                    together[i, place] = together[i, place - 1]
                    place -= 1
                npmi[i, place], partner[i, place], together[i, place] = score, j, count[j]
        pairs[i] = met
        interference[i] = total
