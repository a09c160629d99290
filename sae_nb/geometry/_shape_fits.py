"""Is there a line, a ring or a sheet in the contributions of a group of atoms, and is it there on other rows?

y = z_g D_g, row by row, in an orthonormal basis of the span of D_g. Everything is fitted on half of the rows
and judged on the others.
"""

from __future__ import annotations

from itertools import combinations
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Int

Kind = Literal["ring", "line", "sheet", "cluster", "none"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DIMENSION: dict[Kind, int] = {"ring": 1, "line": 1, "sheet": 2, "cluster": 0, "none": -1}

SPANS = 0.9
"""Share of the variance that the dimensions counted for a group hold. Ours."""

LEAST_FIT = 0.8
"""Share of the variance of the other rows that a shape must explain. Ours."""

LEAST_ORDER = 0.5
"""Share of the variance of places that must follow from which atom is strongest: else all atoms of the group
lie at the same place, and say how much of one thing there is. Ours."""

HOLE, MOST_INSIDE = 0.5, 0.05
"""Of a ring at most this share of rows lies nearer to its centre than half the median radius; of a disk an
eighth does. Ours."""

ARC, LEAST_IN_ARC, STRONG = 0.25, 0.02, 0.5
"""A ring goes all the way round: every quarter of it holds this share of the rows, where even rows give .25.
Rows count whose contribution is at least half of a large one: an open chain of atoms that fire above a
threshold closes through zero, where none of them fires. Ours."""

HARMONICS, POWERS = 3, 3
"""Of the closed curve through a ring; of the open curve through a line."""


class Fit(NamedTuple):
    """One shape in the contributions of a group."""

    kind: Kind
    r2: float
    """Share of the other rows' variance that the shape explains; of a cluster, of their energy that its one
    point explains."""

    place: Float[np.ndarray, " rows"]
    """Of each row: along a line in standard deviations, around a ring from 0 to 1, else the first axis."""

    holds: bool
    """Whether everything but the control speaks for it."""


def span_of(
    y: Float[np.ndarray, "rows m"],
) -> tuple[int, Float[np.ndarray, " m"], Float[np.ndarray, "m m"]]:
    """Return how many principal axes hold most of the variance, the mean, and all axes as columns."""
    centre = y.mean(axis=0)
    energies, axes = np.linalg.eigh(np.atleast_2d(np.cov(y.T)))
    energies, axes = energies[::-1].clip(0), axes[:, ::-1]
    p = int(np.searchsorted(energies.cumsum(), SPANS * energies.sum())) + 1
    return min(p, len(energies)), centre, axes


def fits_of(
    first: Float[np.ndarray, "rows m"],
    other: Float[np.ndarray, "others m"],
    strongest: Int[np.ndarray, " others"],
) -> dict[Kind, Fit]:
    """Return how each kind of shape fits; places are of the first rows, then of the others.

    Parameters
    ----------
    first, other
        Contributions on the rows that are fitted, and on those that judge.
    strongest
        The atom of the group that is strongest in each row that judges.
    """
    p, centre, axes = span_of(first)
    u, v = (first - centre) @ axes, (other - centre) @ axes
    found: dict[Kind, Fit] = {"line": _line(u, v, strongest)}
    size = np.linalg.norm(other, axis=1)
    strong = size >= STRONG * np.quantile(size, 0.9)
    planes = list(combinations(range(min(max(p, 2), 3, u.shape[1])), 2))
    if planes:
        found["ring"] = max((_ring(u, v, strongest, strong, plane) for plane in planes), key=_rank)
        found["sheet"] = _sheet(u, v, strongest, p)
    mean = first.mean(axis=0)
    held = 1 - ((other - mean) ** 2).sum() / (other**2).sum()
    found["cluster"] = Fit(
        "cluster", float(held), np.concatenate([u[:, 0], v[:, 0]]), held >= LEAST_FIT
    )
    return found


def _rank(fit: Fit) -> tuple[bool, float]:
    return fit.holds, fit.r2


def _line(u: np.ndarray, v: np.ndarray, strongest: np.ndarray) -> Fit:
    """An open curve over the first axis."""
    scale = u[:, 0].std() or 1.0
    s, t = u[:, 0] / scale, v[:, 0] / scale
    t = t.clip(s.min(), s.max())
    r2 = _explained(np.vander(s, POWERS + 1), u, np.vander(t, POWERS + 1), v)
    ordered = _by_atom(t[:, None], strongest)
    return Fit("line", r2, np.concatenate([s, t]), r2 >= LEAST_FIT and ordered >= LEAST_ORDER)


def _ring(
    u: np.ndarray,
    v: np.ndarray,
    strongest: np.ndarray,
    strong: np.ndarray,
    plane: tuple[int, int],
) -> Fit:
    """A closed curve over the angle in a plane of two axes, around the circle nearest to the rows."""
    pair = list(plane)
    x = u[:, pair]
    # |x − c|² = R² is linear in c and R² − |c|² (Kåsa, 1976)
    terms = np.column_stack([2 * x, np.ones(len(x))])
    middle = np.linalg.lstsq(terms, (x**2).sum(axis=1), rcond=None)[0][:2]
    radius = np.median(np.linalg.norm(x - middle, axis=1))
    angle, out = (np.arctan2(*(y[:, pair] - middle).T[::-1]) for y in (u, v))
    inside = float((np.linalg.norm(v[:, pair] - middle, axis=1) < HOLE * radius).mean())
    r2 = _explained(_waves(angle), u, _waves(out), v)
    ordered = _by_atom(np.column_stack([np.cos(out), np.sin(out)]), strongest)
    round_ = _least_arc(out[strong]) >= LEAST_IN_ARC and inside <= MOST_INSIDE
    places = np.concatenate([angle, out]) / (2 * np.pi) % 1.0
    return Fit("ring", r2, places, bool(r2 >= LEAST_FIT and round_ and ordered >= LEAST_ORDER))


def _sheet(u: np.ndarray, v: np.ndarray, strongest: np.ndarray, p: int) -> Fit:
    """A plane; of what spans three dimensions the sphere nearest to the rows, if they leave its middle free."""
    ordered = _by_atom(v[:, : max(p, 2)], strongest)
    places = np.concatenate([u[:, 0], v[:, 0]])
    flat = 1 - (v[:, 2:] ** 2).sum() / (v**2).sum()
    if p <= 2 or u.shape[1] < 3:
        holds = p == 2 and flat >= LEAST_FIT and ordered >= LEAST_ORDER
        return Fit("sheet", float(flat), places, bool(holds))
    x, w = u[:, :3], v[:, :3]
    terms = np.column_stack([2 * x, np.ones(len(x))])
    *middle, rest = np.linalg.lstsq(terms, (x**2).sum(axis=1), rcond=None)[0]
    radius = np.sqrt(max(rest + np.square(middle).sum(), 0.0))
    far = np.linalg.norm(w - middle, axis=1)
    left = ((far - radius) ** 2).sum() + (v[:, 3:] ** 2).sum()
    r2 = 1 - left / (v**2).sum()
    hollow = (far < HOLE * radius).mean() <= MOST_INSIDE
    holds = p == 3 and r2 >= LEAST_FIT and hollow and ordered >= LEAST_ORDER
    return Fit("sheet", float(r2), places, bool(holds))


def _waves(angle: np.ndarray) -> np.ndarray:
    turns = angle[:, None] * np.arange(1, HARMONICS + 1)
    return np.concatenate([np.ones((len(angle), 1)), np.cos(turns), np.sin(turns)], axis=1)


def _explained(terms: np.ndarray, u: np.ndarray, others: np.ndarray, v: np.ndarray) -> float:
    """R² on the other rows of a regression that was fitted on the first."""
    weights = np.linalg.lstsq(terms, u, rcond=None)[0]
    return float(1 - ((v - others @ weights) ** 2).sum() / (v**2).sum())


def _by_atom(place: Float[np.ndarray, "rows axes"], strongest: Int[np.ndarray, " rows"]) -> float:
    """Share of the variance of places that the mean place of the strongest atom's rows explains."""
    _, which = np.unique(strongest, return_inverse=True)
    sums = np.zeros((which.max() + 1, place.shape[1]))
    np.add.at(sums, which, place)
    means = sums / np.bincount(which)[:, None]
    varied = ((place - place.mean(axis=0)) ** 2).sum()
    return float(1 - ((place - means[which]) ** 2).sum() / varied) if varied > 0 else 0.0


def _least_arc(angle: Float[np.ndarray, " rows"]) -> float:
    """Smallest share of rows in a quarter of the circle, of 36 quarters."""
    turns = np.sort(angle / (2 * np.pi) % 1.0)
    turns = np.concatenate([turns, turns + 1])
    begin = np.arange(36) / 36
    inside = np.searchsorted(turns, begin + ARC) - np.searchsorted(turns, begin)
    return float(inside.min() / max(len(angle), 1))
