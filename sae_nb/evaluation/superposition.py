"""How much room a feature has when many share few dimensions, and when it pays to share.

D_i = ‖w_i‖² / Σ_j ⟨ŵ_i, w_j⟩², ŵ = w / ‖w‖.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_matrix
from sae_nb.data.sparse_inputs import check_sparsity


def feature_dimensionality(
    directions: Float[Tensor, "n_features n_hidden"],
) -> Float[Tensor, " n_features"]:
    """Share of a hidden dimension that each feature has to itself.

    D_i = ‖w_i‖² / Σ_j ⟨ŵ_i, w_j⟩²: 1 for a direction orthogonal to all others, ½ in an antipodal
    pair, 2/5 in a pentagon, 0 for a feature that is not stored. All together never exceed the rank of
    W, and reach it exactly where each w_i is an eigenvector of WWᵀ (Cauchy–Schwarz).

    Parameters
    ----------
    directions
        Row i is where feature i lives.

    Returns
    -------
    Tensor
        In [0, 1].

    Raises
    ------
    TypeError, ValueError
        If `directions` is no finite matrix.

    Source
    ------
    Elhage et al., "Toy models of superposition", 2022, arXiv 2209.10652, section 5.

    Example
    -------
    >>> feature_dimensionality(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]])).tolist()
    [0.5, 0.5, 1.0]
    """
    check_matrix(directions, name="directions")
    squared = directions.square().sum(dim=1)
    overlap = (directions @ directions.T).square().sum(dim=1)
    return torch.where(squared > 0, squared.square() / overlap.clamp_min(1e-30), 0.0)


def interference(
    directions: Float[Tensor, "n_features n_hidden"],
) -> Float[Tensor, " n_features"]:
    """What the other features say where one feature is read: Σ_{j≠i} ⟨ŵ_i, w_j⟩².

    Parameters
    ----------
    directions
        Row i is where feature i lives.

    Returns
    -------
    Tensor
        0 for a feature that is alone in its direction, or not stored.

    Raises
    ------
    TypeError, ValueError
        If `directions` is no finite matrix.

    Source
    ------
    Elhage et al., "Toy models of superposition", 2022, arXiv 2209.10652, section 3.

    Example
    -------
    >>> interference(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]])).tolist()
    [1.0, 1.0, 0.0]
    """
    check_matrix(directions, name="directions")
    unit = torch.nn.functional.normalize(directions, dim=1)
    others = (unit @ directions.T).square()
    return others.sum(dim=1) - others.diagonal()


def dedicated_loss(sparsity: float, importance_ratio: float = 1.0) -> float:
    """Loss of two features in one dimension when it is given to the first alone.

    The other is answered with its mean p / 2, p = 1 − S, so what is lost is its variance:
    r (p / 3 − p² / 4).

    Parameters
    ----------
    sparsity
        S, the chance that a feature is off.
    importance_ratio
        r, importance of the second feature; the first has 1.

    Source
    ------
    Elhage et al., "Toy models of superposition", 2022, arXiv 2209.10652, section 4; the integrals are
    ours.

    Example
    -------
    >>> round(dedicated_loss(0.0), 4)  # the variance of a uniform number
    0.0833
    """
    density = 1 - check_sparsity(sparsity)
    return importance_ratio * (density / 3 - density**2 / 4)


def antipodal_loss(sparsity: float, importance_ratio: float = 1.0) -> float:
    """Loss of two features in one dimension when they share it: W = [1, −1], b = 0.

    Nothing is lost unless both are on (chance p²); then each answer is off by the smaller of the two,
    or is 0 where it is the smaller: (1 + r) p² E[min²] = (1 + r) p² / 6.

    Parameters
    ----------
    sparsity, importance_ratio
        As for `dedicated_loss`.

    Source
    ------
    Elhage et al., "Toy models of superposition", 2022, arXiv 2209.10652, section 4; the integrals are
    ours.

    Example
    -------
    >>> antipodal_loss(0.9) < dedicated_loss(0.9)
    True
    """
    density = 1 - check_sparsity(sparsity)
    return (1 + importance_ratio) * density**2 / 6


def critical_sparsity(importance_ratio: float = 1.0) -> float:
    """Sparsity above which sharing the one dimension loses less than giving it to one feature.

    `dedicated_loss` = `antipodal_loss` at p = 1 − S = 4r / (2 + 5r): 3/7 for equal features. A trained
    toy may also bend either answer a little, so its own change lies near this, not on it.

    Parameters
    ----------
    importance_ratio
        As for `dedicated_loss`, above 0.

    Raises
    ------
    ValueError
        If `importance_ratio` is not positive.

    Example
    -------
    >>> round(critical_sparsity(), 4)
    0.4286
    """
    if not importance_ratio > 0:
        raise ValueError(f"`importance_ratio` must be positive, got {importance_ratio}.")
    return max(1 - 4 * importance_ratio / (2 + 5 * importance_ratio), 0.0)
