"""Rows made of a few points on planted manifolds, each in a subspace of its own.

x = Σ_{i ∈ S} γ_i(θ_i) V_i + ε: θ_i are the coordinates of a point on manifold i, γ_i(θ_i) the point, in the
unit ball of at most three dimensions, and V_i the directions those dimensions become.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.checks import Count, Seed, at_least, check_count, check_memory, checked, one_of
from sae_nb.data import Record

Points = Float[Tensor, "n p"]
Places = Float[Tensor, "n 2"]

TUBE = 0.4
"""Radius of the torus' tube relative to that of its ring; half the width of a Möbius band. Ours."""


class Shape(NamedTuple):
    """A manifold: how its coordinates follow from two uniform numbers, and its points from them."""

    n_coordinates: int
    n_dimensions: int
    angles: tuple[bool, ...]
    """Coordinates that are angles: from 0 to 2π, where they begin again."""
    drawn: Callable[[Places], Places]
    point: Callable[[Places], Points]


def _angle(u: Tensor) -> Tensor:
    return 2 * math.pi * u


def _either_way(u: Tensor) -> Tensor:
    return 2 * u - 1


def _stacked(*columns: Tensor) -> Tensor:
    return torch.stack(columns, dim=1)


def _sphere(theta: Places) -> Points:
    angle, height = theta.T
    ring = (1 - height.square()).clamp_min(0).sqrt()
    return _stacked(ring * angle.cos(), ring * angle.sin(), height)


def _torus(theta: Places) -> Points:
    ring, tube = theta.T
    radius = 1 + TUBE * tube.cos()
    points = _stacked(radius * ring.cos(), radius * ring.sin(), TUBE * tube.sin())
    return points / (1 + TUBE)


def _moebius(theta: Places) -> Points:
    ring, across = theta.T
    half = ring / 2
    radius = 1 + TUBE * across * half.cos()
    points = _stacked(radius * ring.cos(), radius * ring.sin(), TUBE * across * half.sin())
    return points / (1 + TUBE)


def _swiss_roll(theta: Places) -> Points:
    along, height = theta.T
    turn = 1.5 * math.pi * (2 + along)
    points = _stacked(turn * turn.cos(), 4.5 * math.pi * height, turn * turn.sin())
    return points / (4.5 * math.pi * math.sqrt(2))


def _helix(theta: Places) -> Points:
    along = theta[:, 0]
    turn = 2 * math.pi * along
    return _stacked(turn.cos(), turn.sin(), along) / math.sqrt(2)


def _disk(u: Places) -> Places:
    radius, angle = u[:, 0].sqrt(), _angle(u[:, 1])
    return _stacked(radius * angle.cos(), radius * angle.sin())


def _both(
    first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]
) -> Callable[[Places], Places]:
    return lambda u: _stacked(first(u[:, 0]), second(u[:, 1]))


def _first(drawn: Callable[[Tensor], Tensor]) -> Callable[[Places], Places]:
    return lambda u: _stacked(drawn(u[:, 0]), torch.zeros(len(u)))


_SHAPES = {
    "circle": Shape(
        1, 2, (True,), _first(_angle), lambda t: _stacked(t[:, 0].cos(), t[:, 0].sin())
    ),
    "sphere": Shape(2, 3, (True, False), _both(_angle, _either_way), _sphere),
    "torus": Shape(2, 3, (True, True), _both(_angle, _angle), _torus),
    "moebius": Shape(2, 3, (True, False), _both(_angle, _either_way), _moebius),
    "swiss roll": Shape(2, 3, (False, False), _both(_either_way, _either_way), _swiss_roll),
    "helix": Shape(1, 3, (False,), _first(_either_way), _helix),
    "disk": Shape(2, 2, (False, False), _disk, lambda t: t),
    "segment": Shape(1, 1, (False,), _first(_either_way), lambda t: t[:, :1]),
}

SHAPES = tuple(_SHAPES)
"""Names of the eight families of manifolds that `planted_manifolds` knows."""


@dataclass(frozen=True, repr=False)
class PlantedManifolds(Record):
    """Rows (noise included), and where on which manifold each of their parts lies.

    Parameters
    ----------
    active, shapes
        Manifolds of each row, and the family of each.
    theta
        Coordinates on each manifold, zero where it is not active and past those that it has: angles in
        [0, 2π) or numbers in [−1, 1]; see `planted_manifolds`.
    directions
        V: a row for each dimension of a manifold, zero past those that it has.

    Example
    -------
    >>> planted = planted_manifolds(5, shapes=("circle", "torus", "segment"))
    >>> planted.active.sum(dim=1).tolist()
    [2, 2, 2, 2, 2]
    """

    x: Float[Tensor, "n d_in"]
    active: Bool[Tensor, "n n_manifolds"]
    theta: Float[Tensor, "n n_manifolds 2"]
    directions: Float[Tensor, "n_manifolds p d_in"]
    shapes: tuple[str, ...]

    shared = ("directions", "shapes")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the manifolds: their families, numbered where there are several of one."""
        found: list[str] = []
        for i, shape in enumerate(self.shapes):
            several = self.shapes.count(shape) > 1
            found.append(f"{shape} {self.shapes[:i].count(shape) + 1}" if several else shape)
        return tuple(found)

    @property
    def n_dimensions(self) -> tuple[int, ...]:
        """Dimensions of the subspace of each manifold: 2 of a circle, 3 of a torus."""
        return tuple(_SHAPES[shape].n_dimensions for shape in self.shapes)

    @checked
    def part(self, i: int) -> Float[Tensor, "n d_in"]:
        """Return what manifold i adds to each row: γ_i(θ_i) V_i, zero where it is not active."""
        check_count(i, name="i", at_least=0, at_most=len(self.shapes) - 1)
        points = _points(self.shapes[i], self.theta[:, i], self.active[:, i])
        return points @ self.directions[i, : points.shape[1]]

    @checked
    def place(self, i: int) -> tuple[Float[Tensor, "n m"], tuple[bool, ...]]:
        """Return coordinates of each row on manifold i, and which of them are angles.

        Of a sphere it is the point itself, three numbers: an angle means nothing at a pole.
        """
        check_count(i, name="i", at_least=0, at_most=len(self.shapes) - 1)
        shape = _SHAPES[self.shapes[i]]
        if shape is _SHAPES["sphere"]:
            return shape.point(self.theta[:, i]), (False,) * 3
        return self.theta[:, i, : shape.n_coordinates], shape.angles


@checked
def planted_manifolds(
    n: Count,
    *,
    shapes: Sequence[str] = ("circle",) * 8 + ("segment",) * 4,
    n_active: Count = 2,
    d_in: int = 32,
    noise: Annotated[float, at_least(0)] = 0.01,
    seed: Seed = 0,
    draw: int = 0,
) -> PlantedManifolds:
    """Draw rows made of points on a few of many manifolds.

    Coordinates are drawn evenly. All points lie in the unit ball, a circle and a sphere on its surface.

    | family | coordinates | dimensions |
    |---|---|---|
    | circle | angle | 2 |
    | sphere | angle, height | 3 |
    | torus | angle of the ring, angle of the tube | 3 |
    | moebius | angle of the ring, place across the band | 3 |
    | swiss roll | place along one and a half turns, height | 3 |
    | helix | place along two turns | 3 |
    | disk | two numbers with x² + y² ≤ 1 | 2 |
    | segment | place | 1 |

    Parameters
    ----------
    shapes
        The family of each manifold, of `sn.data.SHAPES`; a name may come several times. Their
        subspaces are random, so they overlap where d_in is small. The paper has SHAPES * 6 in d_in=128.
    n_active
        |S|, manifolds per row, each set equally likely.
    noise
        Standard deviation per coordinate.
    seed, draw
        Of the subspaces; and of the rows, so that training and test rows share their subspaces.

    Raises
    ------
    ValueError: If a family is unknown, more manifolds are active than there are, or d_in is too narrow for one
        of them.

    Source
    ------
    The model of arXiv 2604.28119 and its eight families; their sizes are ours.

    Example
    -------
    >>> planted = planted_manifolds(100, shapes=SHAPES, noise=0.0)
    >>> torch.allclose(sum(planted.part(i) for i in range(8)), planted.x, atol=1e-5)
    True
    """
    n_manifolds = len(shapes)
    chosen = tuple(one_of(shape, SHAPES, name="shapes") for shape in shapes)
    if not 1 <= n_active <= n_manifolds:
        raise ValueError(
            f"`n_active` must be at most the {n_manifolds} manifolds there are, got {n_active}."
        )
    widest = max(2, *(_SHAPES[shape].n_dimensions for shape in chosen))
    d_in = check_count(d_in, name="d_in", at_least=widest)
    what = f"`planted_manifolds(n={n})`"
    check_memory(4 * n * (2 * d_in + 6 * n_manifolds), what, "Ask for fewer rows.")
    planes = torch.randn(n_manifolds, d_in, widest, generator=torch.Generator().manual_seed(seed))
    directions = torch.linalg.qr(planes).Q.mT.contiguous()
    drawn = torch.Generator().manual_seed(1_000_003 * (seed + 1) + draw)
    order = torch.rand(n, n_manifolds, generator=drawn).argsort(dim=1)
    active = order < n_active
    first = torch.rand(n, n_manifolds, generator=drawn)
    x = noise * torch.randn(n, d_in, generator=drawn)
    uniform = torch.stack([first, torch.rand(n, n_manifolds, generator=drawn)], dim=2)
    theta = torch.zeros(n, n_manifolds, 2)
    for i, shape in enumerate(chosen):
        directions[i, _SHAPES[shape].n_dimensions :] = 0
        theta[:, i] = _SHAPES[shape].drawn(uniform[:, i]) * active[:, i, None]
        points = _points(shape, theta[:, i], active[:, i])
        x += points @ directions[i, : points.shape[1]]
    return PlantedManifolds(x=x, active=active, theta=theta, directions=directions, shapes=chosen)


def _points(shape: str, theta: Places, active: Bool[Tensor, " n"]) -> Points:
    return _SHAPES[shape].point(theta) * active[:, None]
