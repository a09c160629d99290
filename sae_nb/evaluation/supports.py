"""Which of the atoms that made an input does its code name?"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.codes import SparseCodes


def support_recovery(codes: SparseCodes, truth: SparseCodes) -> Float[Tensor, " rows"]:
    """Share of each row's true atoms among as many of the strongest atoms of its code.

    |S ∩ Ŝ| / |S| with S the atoms of the truth and Ŝ the |S| atoms of largest |z|. A code with too few
    atoms misses the rest; one with too many must rank the true ones first. Rows without true atoms
    have NaN.

    Parameters
    ----------
    codes
        What an encoder found.
    truth
        What the inputs were made of.

    Returns
    -------
    Tensor
        In [0, 1]. Random atoms have |S| / n_atoms in the mean.

    Raises
    ------
    ValueError
        If the codes are of different rows or dictionaries.

    Example
    -------
    >>> truth = SparseCodes.from_dense(torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    >>> found = SparseCodes.from_dense(torch.tensor([[0.9, 0.0, 0.4, 0.1]]))
    >>> support_recovery(found, truth).tolist()
    [0.5]
    """
    if (len(codes), codes.n_atoms) != (len(truth), truth.n_atoms):
        raise ValueError(
            f"`codes` must have the rows and atoms of `truth` ({len(truth)} × {truth.n_atoms}), got "
            f"{len(codes)} × {codes.n_atoms}. Encode the same inputs with the same dictionary."
        )
    row, rank = _ranked(codes)
    wanted = truth.values.detach() != 0
    n_true = torch.bincount(_rows(truth)[wanted], minlength=len(truth))
    kept = (rank < n_true[row]) & (codes.values.detach() != 0)
    # One number per (row, atom): an atom occurs once in a row.
    named = row[kept] * codes.n_atoms + codes.atoms[kept].long()
    true = _rows(truth)[wanted] * truth.n_atoms + truth.atoms[wanted].long()
    hit = torch.bincount(named[torch.isin(named, true)] // codes.n_atoms, minlength=len(truth))
    return hit / n_true


def _rows(codes: SparseCodes) -> Tensor:
    index = torch.arange(len(codes), device=codes.device)
    return index.repeat_interleave(codes.l0)


def _ranked(codes: SparseCodes) -> tuple[Tensor, Tensor]:
    """Row of every entry, and how many entries of its row are stronger."""
    row, size = _rows(codes), codes.values.detach().abs()
    order = size.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    rank = torch.empty_like(row)
    rank[order] = torch.arange(len(row), device=row.device) - codes.offsets[row[order]]
    return row, rank
