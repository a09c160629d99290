"""Number of directions that rows use: effective ranks, dimensions around each row, what of one each has."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_matrix, checked

# -------------------------------------------------------------------------------------------------
# Effective ranks: how many directions rows use, counted in two ways.
#
# stable: ‖X‖_F² / σ₁² · effective: exp(−Σ p log p), p = σ² / Σσ².


@checked
def stable_rank(x: Float[Tensor, "n d_in"]) -> float:
    """‖X‖_F² / σ₁²: 1 if all rows are parallel, n for orthonormal rows. Not centred.

    Raises
    ------
    ValueError: If all rows are zero.

    Example
    -------
    >>> stable_rank(torch.eye(3))
    3.0
    """
    energies = _energies(x)
    return float(energies.sum() / energies.max())


@checked
def effective_rank(x: Float[Tensor, "n d_in"]) -> float:
    """Return the exponential of the entropy of σ² / Σσ²: how many directions share the energy.

    Not centred: centre rows first for a rank of the covariance.

    Raises
    ------
    ValueError: If all rows are zero.

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


def _energies(x: Tensor) -> Float[Tensor, " rank"]:
    return nonzero_energies(torch.linalg.svdvals(check_matrix(x).double()))


def nonzero_energies(sigma: Float[Tensor, " rank"]) -> Float[Tensor, " rank"]:
    """Return σ², of a matrix that is not all zero."""
    energies = sigma.square()
    if float(energies.max()) == 0:
        raise ValueError("`x` must not be all zero: a zero matrix has no rank to measure.")
    return energies


# -------------------------------------------------------------------------------------------------
# How many directions activations spread into: overall, and around each of them.


def covariance(x: Float[Tensor, "n d_in"]) -> Float[Tensor, "d_in d_in"]:
    """Return covariance of the coordinates, in float64, a matrix for any width."""
    return torch.cov(x.double().T).reshape(x.shape[1], x.shape[1])


@checked
def participation_ratio(x: Float[Tensor, "n d_in"]) -> float:
    """Return number of directions that share the variance: (Σλ)² / Σλ² over eigenvalues of the covariance.

    Biased low for n below ten times the result.

    Example
    -------
    >>> round(participation_ratio(torch.randn(4000, 5, generator=torch.Generator().manual_seed(0))))
    5
    """
    rows = check_matrix(x)
    if len(rows) < 2:
        raise ValueError(f"`x` must have at least two rows to vary, got {len(rows)}.")
    eigenvalues = torch.linalg.eigvalsh(covariance(rows)).clamp_min(0)
    return float(eigenvalues.sum().square() / eigenvalues.square().sum())


@checked
def local_dimensions(x: Float[Tensor, "n d_in"], n_neighbours: int = 20) -> Float[Tensor, " n"]:
    """Return intrinsic dimension around each row, by maximum likelihood on its neighbours' distances.

    m_i = [ mean_{j < k} log(T_k / T_j) ]⁻¹, with T_j the distance to neighbour j. Rows that coincide
    with others are left out.

    Parameters
    ----------
    x
        Rows; every pair is compared.
    n_neighbours
        k.

    Raises
    ------
    ValueError: If there are not more distinct rows than neighbours.

    Source
    ------
    Levina and Bickel, "Maximum likelihood estimation of intrinsic dimension", NIPS 2004, with the
    k − 2 of MacKay and Ghahramani.

    Example
    -------
    >>> flat = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) @ torch.eye(2, 10)
    >>> round(float(local_dimensions(flat).median()), 1)
    1.9
    """
    rows = torch.unique(check_matrix(x).double(), dim=0)
    if len(rows) <= n_neighbours:
        raise ValueError(
            f"`x` must have more than n_neighbours={n_neighbours} distinct rows, got {len(rows)}. Pass "
            "more rows or fewer neighbours."
        )
    # Of differences: products lose neighbours that are near against the rows' distance from the origin.
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    near = distance.topk(n_neighbours + 1, dim=1, largest=False).values[:, 1:]
    return dimension_of_distances(near)


def dimension_of_distances(near: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """Return `local_dimensions` of rows by their distances to k neighbours, rising."""
    logs = (near[:, -1:] / near[:, :-1]).log()
    return (near.shape[1] - 2) / logs.sum(dim=1).clamp_min(1e-12)


# -------------------------------------------------------------------------------------------------
# How much room a feature has when many share few dimensions.


@checked
def feature_dimensionality(directions: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Return share of a hidden dimension that each feature has to itself.

    D_i = ‖w_i‖² / Σ_j ⟨ŵ_i, w_j⟩², row w_i being where feature i lives: 1 for a direction orthogonal to
    all others, ½ in an antipodal pair, 2/5 in a pentagon, 0 for a feature that is not stored. All
    together never exceed the rank of W, and reach it exactly where each w_i is an eigenvector of WWᵀ
    (Cauchy–Schwarz).

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


@checked
def interference(directions: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Measure what the other features add where one feature is read: Σ_{j≠i} ⟨ŵ_i, w_j⟩².

    It is 0 for a feature that is alone in its direction, or not stored.

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
