"""The compiled loop over pairs of atoms that are active together, one atom's partners at a time."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

import numpy as np
from numba import prange

from sae_nb.kernels.threads import compiled


@compiled(parallel=True)
def partners(
    first,
    gram,
    atom_offsets,
    atom_rows,
    atom_values,
    offsets,
    atoms,
    values,
    least,
    pairs,
    interference,
    npmi,
    partner,
    together,
):
    """Fill, for each atom first … first + len(gram) − 1, what it does with the others.

    `pairs`: how many atoms it is ever active with; `interference`: Σ_j ReLU(−(ZᵀZ)_ij G_ij)²; `npmi`,
    `partner`, `together`: its best partners among atoms active in `least` rows, and in how many rows.
    """
    n_atoms, n_rows = atom_offsets.shape[0] - 1, offsets.shape[0] - 1
    top = npmi.shape[1]
    for local in prange(gram.shape[0]):
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
            against = -product[j] * gram[local, j]
            if against > 0:
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
