"""Pursuits exactly as two other libraries step them, so that their files give their codes.

Ours (`sae_nb.pursuit`) are faster and go further, but differ in ways that show in the digits: these
take atoms of any length as they are, stop by other rules, and solve the least-squares step by ten
projected gradient steps only.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures.proxes.penalty import row_tiles
from sae_nb.codes import SparseCodes
from sae_nb.support import index_dtype

REFIT_STEPS = 10
"""Projected gradient steps per selection [overcomplete, sae/omp_sae.py: max_iter]."""


def matching(
    x: Float[Tensor, "rows d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    steps: int,
    *,
    tolerance: float = 0.0,
    stops_on_same_support: bool = False,
    nonnegative: bool = True,
) -> SparseCodes:
    """Matching pursuit with atoms of any length: z_j += ⟨r, d_j⟩, r −= ⟨r, d_j⟩ d_j.

    Parameters
    ----------
    x
        Centred activations.
    dictionary
        Atoms as stored.
    steps
        Most selections per row.
    tolerance
        A row stops once ‖r‖ is below it; 0 never stops it.
    stops_on_same_support
        A row stops once a step has added no atom to its support.
    nonnegative
        Whether a negative correlation counts as zero.

    Source
    ------
    Stopping rules: SAELens 6.54, saes/matching_pursuit_sae.py. Without them and with
    `nonnegative=False`: overcomplete 0.3, sae/mp_sae.py.
    """
    n_atoms = len(dictionary)
    parts = [
        _matching_tile(x[rows], dictionary, steps, tolerance, stops_on_same_support, nonnegative)
        for rows in row_tiles(len(x), n_atoms)
    ]
    return SparseCodes.concatenate(parts)


def _matching_tile(
    x: Tensor, dictionary: Tensor, steps: int, tolerance: float, stops: bool, nonnegative: bool
) -> SparseCodes:
    residual = x
    chosen = torch.full((len(x), steps), -1, device=x.device)
    amounts = x.new_zeros(len(x), steps)
    done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for step in range(steps):
        atoms = (residual @ dictionary.T).argmax(dim=1)
        rows = dictionary[atoms]
        amount = torch.linalg.vecdot(residual, rows)
        if nonnegative:
            amount = amount.clamp_min(0)
        amount = torch.where(done, 0, amount)
        grows = (amount != 0) & (chosen != atoms[:, None]).all(dim=1)
        chosen[:, step] = torch.where(amount != 0, atoms, -1)
        amounts[:, step] = amount
        residual = residual - amount[:, None] * rows
        if stops:
            done = done | ~grows
        if tolerance > 0:
            done = done | (residual.norm(dim=1) < tolerance)
        if bool(done.all()):
            break
    return gathered(chosen, amounts, len(dictionary))


def orthogonal(
    x: Float[Tensor, "rows d_in"], dictionary: Float[Tensor, "n_atoms d_in"], steps: int
) -> SparseCodes:
    """Orthogonal matching pursuit whose non-negative least squares takes `REFIT_STEPS` steps.

    Parameters
    ----------
    x
        Centred activations.
    dictionary
        Atoms as stored.
    steps
        Selections per row, each of a new atom.

    Source
    ------
    overcomplete 0.3, sae/omp_sae.py and optimization/utils.py (`batched_matrix_nnls`). Its early stop
    (gradient of a whole batch below 1e-5) is left out: rows would depend on each other.
    """
    parts = [
        _orthogonal_tile(x[rows], dictionary, steps) for rows in row_tiles(len(x), len(dictionary))
    ]
    return SparseCodes.concatenate(parts)


def _orthogonal_tile(x: Tensor, dictionary: Tensor, steps: int) -> SparseCodes:
    residual = x
    chosen = torch.empty(len(x), 0, dtype=torch.long, device=x.device)
    z = x.new_zeros(len(x), 0)
    for _ in range(steps):
        correlations = (residual @ dictionary.T).scatter(1, chosen, -torch.inf)
        chosen = torch.cat([chosen, correlations.argmax(dim=1, keepdim=True)], dim=1)
        atoms = dictionary[chosen]
        z = _refit(atoms, x, torch.cat([z, z.new_zeros(len(z), 1)], dim=1))
        residual = x - torch.einsum("rk,rkd->rd", z, atoms)
    return gathered(chosen, z, len(dictionary))


def _refit(
    atoms: Float[Tensor, "rows k d_in"], x: Float[Tensor, "rows d_in"], z: Float[Tensor, "rows k"]
) -> Float[Tensor, "rows k"]:
    gram = atoms @ atoms.mT
    target = torch.einsum("rkd,rd->rk", atoms, x)
    rate = 1 / (gram.square().sum(dim=(1, 2)).sqrt() + 1e-8)
    for _ in range(REFIT_STEPS):
        gradient = torch.einsum("rkj,rj->rk", gram, z) - target
        z = (z - rate[:, None] * gradient).clamp_min(0)
    return z


def gathered(
    atoms: Int[Tensor, "rows k"], amounts: Float[Tensor, "rows k"], n_atoms: int
) -> SparseCodes:
    """Codes from the selections of each row; an atom chosen twice counts with the sum.

    Parameters
    ----------
    atoms
        Chosen atoms, −1 where there is none.
    amounts
        What each selection adds.
    n_atoms
        Rows of the dictionary.
    """
    order = atoms.argsort(dim=1, stable=True)
    atoms, amounts = atoms.gather(1, order), amounts.gather(1, order)
    first = torch.ones_like(atoms, dtype=torch.bool)
    first[:, 1:] = atoms[:, 1:] != atoms[:, :-1]
    place = first.cumsum(dim=1) - 1
    total = torch.zeros_like(amounts).scatter_add(1, place, amounts)
    keep = first & (atoms >= 0)
    keep &= total.gather(1, place) != 0
    rows, columns = keep.nonzero(as_tuple=True)
    counts = keep.sum(dim=1)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(dim=0)])
    values = total[rows, place[rows, columns]]
    return SparseCodes(values, atoms[rows, columns].to(index_dtype(n_atoms)), offsets, n_atoms)
