"""Rows made of a few points on planted circles and segments, each in a subspace of its own.

x = Σ_{i ∈ S} γ_i(θ_i) V_i + ε, γ(θ) = (cos θ, sin θ) on a circle, γ(θ) = θ on a segment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.data.records import Record


@dataclass(frozen=True, repr=False)
class PlantedManifolds(Record):
    """Rows, and where on which manifold each of their parts lies.

    Parameters
    ----------
    x
        Rows, noise included.
    active
        Which manifolds a row is made of; circles come first.
    theta
        Place on each manifold: an angle in [0, 2π), or a number in [−1, 1]; 0 where it is not active.
    directions
        V: two rows per circle, one per segment (its second row is zero).
    n_circles
        How many are circles.

    Example
    -------
    >>> planted = planted_manifolds(5, n_circles=2, n_segments=1)
    >>> planted.active.sum(dim=1).tolist()
    [2, 2, 2, 2, 2]
    """

    x: Float[Tensor, "n d_in"]
    active: Bool[Tensor, "n n_manifolds"]
    theta: Float[Tensor, "n n_manifolds"]
    directions: Float[Tensor, "n_manifolds 2 d_in"]
    n_circles: int

    def part(self, i: int) -> Float[Tensor, "n d_in"]:
        """What manifold i adds to each row: γ_i(θ_i) V_i, zero where it is not active.

        Parameters
        ----------
        i
            Manifold.
        """
        return _points(self.theta[:, i], self.active[:, i], i < self.n_circles) @ self.directions[i]


def planted_manifolds(
    n: int,
    *,
    n_circles: int = 8,
    n_segments: int = 4,
    n_active: int = 2,
    d_in: int = 32,
    noise: float = 0.01,
    seed: int = 0,
    draw: int = 0,
) -> PlantedManifolds:
    """Draw rows made of points on a few of many manifolds.

    Parameters
    ----------
    n
        Rows.
    n_circles, n_segments
        Manifolds; their subspaces are random, so they overlap where d_in is small.
    n_active
        |S|, manifolds per row, each set equally likely.
    d_in
        Width.
    noise
        Standard deviation per coordinate.
    seed
        Of the subspaces.
    draw
        Of the rows, so that training and test rows share their subspaces.

    Raises
    ------
    TypeError, ValueError
        If a size is out of range.

    Source
    ------
    The model of arXiv 2604.28119, with two of its eight families.

    Example
    -------
    >>> planted = planted_manifolds(100, noise=0.0)
    >>> torch.allclose(sum(planted.part(i) for i in range(12)), planted.x, atol=1e-5)
    True
    """
    n, d_in = check_count(n, name="n"), check_count(d_in, name="d_in", at_least=2)
    n_circles = check_count(n_circles, name="n_circles", at_least=0)
    n_manifolds = n_circles + check_count(n_segments, name="n_segments", at_least=0)
    if check_count(n_active, name="n_active") > n_manifolds:
        raise ValueError(
            f"`n_active` must be at most the {n_manifolds} manifolds there are, got {n_active}."
        )
    if not noise >= 0:
        raise ValueError(f"`noise` must be at least 0, got {noise}.")
    fixed = torch.Generator().manual_seed(seed)
    planes = torch.randn(n_manifolds, d_in, 2, generator=fixed)
    directions = torch.linalg.qr(planes).Q.mT.contiguous()
    directions[n_circles:, 1] = 0
    drawn = torch.Generator().manual_seed(1_000_003 * (seed + 1) + draw)
    order = torch.rand(n, n_manifolds, generator=drawn).argsort(dim=1)
    active = order < n_active
    uniform = torch.rand(n, n_manifolds, generator=drawn)
    theta = torch.cat([2 * math.pi * uniform[:, :n_circles], 2 * uniform[:, n_circles:] - 1], dim=1)
    theta = theta * active
    x = noise * torch.randn(n, d_in, generator=drawn)
    for i in range(n_manifolds):
        x += _points(theta[:, i], active[:, i], i < n_circles) @ directions[i]
    return PlantedManifolds(
        x=x, active=active, theta=theta, directions=directions, n_circles=n_circles
    )


def _points(theta: Tensor, active: Tensor, circle: bool) -> Float[Tensor, "n 2"]:
    points = (
        torch.stack([theta.cos(), theta.sin()], dim=1)
        if circle
        else torch.stack([theta, torch.zeros_like(theta)], dim=1)
    )
    return points * active[:, None]
