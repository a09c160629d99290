"""How many directions activations spread into: overall, and around each of them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_matrix


def covariance(x: Float[Tensor, "n d_in"]) -> Float[Tensor, "d_in d_in"]:
    """Covariance of the coordinates, in float64, a matrix for any width.

    Example
    -------
    >>> covariance(torch.tensor([[0.0], [2.0]])).tolist()
    [[2.0]]
    """
    return torch.cov(x.double().T).reshape(x.shape[1], x.shape[1])


def participation_ratio(x: Float[Tensor, "n d_in"]) -> float:
    """Number of directions that share the variance: (Σλ)² / Σλ² over eigenvalues of the covariance.

    Biased low for n below ten times the result.

    Parameters
    ----------
    x
        Rows.

    Example
    -------
    >>> round(participation_ratio(torch.randn(4000, 5, generator=torch.Generator().manual_seed(0))))
    5
    """
    eigenvalues = torch.linalg.eigvalsh(covariance(check_matrix(x))).clamp_min(0)
    return float(eigenvalues.sum().square() / eigenvalues.square().sum())


def local_dimensions(x: Float[Tensor, "n d_in"], n_neighbours: int = 20) -> Float[Tensor, " n"]:
    """Intrinsic dimension around each row, by maximum likelihood on its neighbours' distances.

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
    ValueError
        If there are not more distinct rows than neighbours.

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
    distance = torch.cdist(rows, rows)
    near = distance.topk(n_neighbours + 1, dim=1, largest=False).values[:, 1:]
    logs = (near[:, -1:] / near[:, :-1].clamp_min(1e-300)).log()
    return (n_neighbours - 2) / logs.sum(dim=1).clamp_min(1e-12)
