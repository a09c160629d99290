"""Superposition: when it pays that features share a dimension, and whether codes name the true atoms."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Between, Positive, checked
from sae_nb.codes import SparseCodes

Sparsity = Annotated[float, Between(0, 1, "[)", do="At 1 no feature would ever be on.")]
"""Chance that a feature is off."""


@checked
def dedicated_loss(sparsity: Sparsity, importance_ratio: float = 1.0) -> float:
    """Return loss of two features in one dimension when it is given to the first alone.

    The other is answered with its mean p / 2, p = 1 − S, so what is lost is its variance:
    r (p / 3 − p² / 4). The sparsity S is the chance that a feature is off; r is the importance of the
    second feature, the first having 1.

    Source
    ------
    Elhage et al., "Toy models of superposition", 2022, arXiv 2209.10652, section 4; the integrals are
    ours.

    Example
    -------
    >>> round(dedicated_loss(0.0), 4)  # the variance of a uniform number
    0.0833
    """
    density = 1 - sparsity
    return importance_ratio * (density / 3 - density**2 / 4)


@checked
def antipodal_loss(sparsity: Sparsity, importance_ratio: float = 1.0) -> float:
    """Return loss of two features in one dimension when they share it: W = [1, −1], b = 0.

    Nothing is lost unless both are on (chance p²); then each answer is off by the smaller of the two,
    or is 0 where it is the smaller: (1 + r) p² E[min²] = (1 + r) p² / 6. p and r: see `dedicated_loss`.

    Source
    ------
    Elhage et al., "Toy models of superposition", 2022, arXiv 2209.10652, section 4; the integrals are
    ours.

    Example
    -------
    >>> antipodal_loss(0.9) < dedicated_loss(0.9)
    True
    """
    density = 1 - sparsity
    return (1 + importance_ratio) * density**2 / 6


@checked
def critical_sparsity(importance_ratio: Positive = 1.0) -> float:
    """Return sparsity above which sharing the one dimension loses less than giving it to one feature.

    `dedicated_loss` = `antipodal_loss` at p = 1 − S = 4r / (2 + 5r): 3/7 for equal features. A trained
    toy may also bend either answer a little, so its own change lies near this, not on it.

    Example
    -------
    >>> round(critical_sparsity(), 4)
    0.4286
    """
    return max(1 - 4 * importance_ratio / (2 + 5 * importance_ratio), 0.0)


@checked
def support_recovery(codes: SparseCodes, truth: SparseCodes) -> Float[Tensor, " rows"]:
    """Return share of each row's true atoms among the same number of the strongest atoms of its code.

    |S ∩ Ŝ| / |S| with S the atoms of the truth and Ŝ the |S| atoms of largest |z|. A code with too few
    atoms misses the rest; one with too many must rank the true ones first. Rows without true atoms
    have NaN. Random atoms have |S| / n_atoms in the mean.

    Raises
    ------
    ValueError: If the codes are of different rows or dictionaries.

    Example
    -------
    >>> truth = SparseCodes.from_dense(torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    >>> found = SparseCodes.from_dense(torch.tensor([[0.9, 0.0, 0.4, 0.1]]))
    >>> support_recovery(found, truth).tolist()
    [0.5]
    """
    if (codes.n_rows, codes.n_atoms) != (len(truth), truth.n_atoms):
        raise ValueError(
            f"`codes` must have the rows and atoms of `truth` ({truth.n_rows} × {truth.n_atoms}), got "
            f"{codes.n_rows} × {codes.n_atoms}. Encode the same inputs with the same dictionary."
        )
    row, wanted = codes.support.rows, truth.values.detach() != 0
    true_row = truth.support.rows[wanted]
    n_true = torch.bincount(true_row, minlength=truth.n_rows)
    strongest = (_ranks(codes) < n_true[row]) & (codes.values.detach() != 0)
    # One number per (row, atom): an atom occurs once in a row.
    named = row[strongest] * codes.n_atoms + codes.atoms[strongest].long()
    true = true_row * truth.n_atoms + truth.atoms[wanted].long()
    hit = torch.bincount(named[torch.isin(named, true)] // codes.n_atoms, minlength=truth.n_rows)
    return hit / n_true


def _ranks(codes: SparseCodes) -> Int[Tensor, " nnz"]:
    """Return the number of entries in the row of each entry that are stronger."""
    row, size = codes.support.rows, codes.values.detach().abs()
    order = size.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    rank = torch.empty_like(row)
    rank[order] = torch.arange(len(row), device=row.device) - codes.offsets[row[order]]
    return rank
