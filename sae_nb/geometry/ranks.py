"""Effective ranks: how many directions rows use, counted in three ways.

stable: ‖X‖_F² / σ₁² · effective: exp(−Σ p log p), p = σ² / Σσ² · of directions: an unbiased (Σλ)² / Σλ².
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_matrix


def stable_rank(x: Float[Tensor, "n d_in"]) -> float:
    """‖X‖_F² / σ₁²: 1 if all rows are parallel, n for orthonormal rows. Not centred.

    Parameters
    ----------
    x
        Rows; not all zero.

    Raises
    ------
    TypeError, ValueError
        If the rows are not a finite matrix, or all zero.

    Example
    -------
    >>> stable_rank(torch.eye(3))
    3.0
    """
    energies = _energies(x)
    return float(energies.sum() / energies.max())


def effective_rank(x: Float[Tensor, "n d_in"]) -> float:
    """The exponential of the entropy of σ² / Σσ²: how many directions share the energy. Not centred.

    Parameters
    ----------
    x
        Rows; not all zero. Centre them first for a rank of the covariance.

    Raises
    ------
    TypeError, ValueError
        If the rows are not a finite matrix, or all zero.

    Source
    ------
    Roy and Vetterli, "The effective rank", EUSIPCO 2007, on σ² instead of σ.

    Example
    -------
    >>> round(effective_rank(torch.eye(5)), 4)
    5.0
    """
    energies = _energies(x)
    p = energies / energies.sum()
    return float((-(p * p.clamp_min(1e-300).log()).sum()).exp())


def direction_dimension(x: Float[Tensor, "n d_in"]) -> float:
    """How many directions unit rows spread into: 1 / mean_{i ≠ j} ⟨u_i, u_j⟩².

    A U-statistic: the participation ratio (Σλ)² / Σλ² of the second moment E[u uᵀ], without the bias
    that few rows give it. Not centred.

    Parameters
    ----------
    x
        Rows, at least two; their norms do not count.

    Raises
    ------
    TypeError, ValueError
        If the rows are not a finite matrix of two rows or more, or one is zero.

    Example
    -------
    >>> rows = torch.randn(2000, 6, generator=torch.Generator().manual_seed(0))
    >>> round(direction_dimension(rows), 1)
    6.0
    """
    rows = check_matrix(x).double()
    if len(rows) < 2 or bool((rows.norm(dim=1) == 0).any()):
        raise ValueError(
            f"`x` must have two rows or more, none of them zero, got shape {tuple(rows.shape)}."
        )
    unit = torch.nn.functional.normalize(rows, dim=1)
    n = len(unit)
    # ‖UᵀU‖_F² is the sum of all squared cosines; the diagonal gives n of it.
    total = float((unit.T @ unit).square().sum()) - n
    return n * (n - 1) / max(total, 1e-300)


def _energies(x: Tensor) -> Float[Tensor, " rank"]:
    energies = torch.linalg.svdvals(check_matrix(x).double()).square()
    if float(energies.max()) == 0:
        raise ValueError("`x` must not be all zero: a zero matrix has no rank to measure.")
    return energies
