"""A curve through the states of an ordered concept: days, numbers, angles, residues.

The states of each value u of a coordinate are averaged; a least-squares curve c(u) goes through the
averages, a closed one in sines and cosines, an open one in cubic splines. Its order is chosen by leaving values
out, and it is judged there next to the chord and to curves through shuffled values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, Seed, check_matrix, checked
from sae_nb.findings import Finding, column

if TYPE_CHECKING:
    from sae_nb.activations import Activations

N_GRID = 2048
"""Points at which a curve is written out to find the nearest."""

N_PATH, N_DRAWN = 129, 512
"""Points of a way along a curve, and of a curve, in a picture."""

GAIN = 0.01
"""A frequency more must raise R² at left-out values by this much."""


class Curve(Finding):
    """A curve through the states of an ordered concept, and how well it foretells values left out."""

    hook_point: str | None
    model_name: str | None
    """Where its states were read; None if they were given as rows."""

    closed: bool
    period: float | None
    """Of the coordinate, if closed."""

    order: tuple[int, ...]
    """Closed: frequencies, in turns per period. Open: one number, of spline pieces."""

    knots: Float[np.ndarray, " knots"]
    mean: Float[Tensor, " d_in"]
    weights: Float[Tensor, "terms d_in"]
    """c(u) = mean + terms(u) @ weights."""

    values: Float[np.ndarray, " values"] = field(metadata=column("coordinate", index=True))
    """Values of the coordinate that the states have."""

    states: Float[Tensor, "values d_in"]
    """Mean state of each."""

    error: Float[np.ndarray, " values"] = field(metadata=column("curve"))
    """Distance of each value's mean state to a curve that was fitted without it, in model units."""

    chord: Float[np.ndarray, " values"] = field(metadata=column("chord"))
    """The same of the straight line between its two neighbours; NaN at the ends of an open curve."""

    r2: float
    """Share of the variance between values that the curve foretells at left-out values."""

    r2_chord: float
    """That of the straight line between neighbours, at the same values."""

    r2_shuffled: float
    """Largest of `n_shuffled` curves through shuffled values, each of its own best order."""

    r2_other: float
    """That of a curve of the other kind, closed for open or open for closed."""

    n_shuffled: int

    @property
    def headline(self) -> str:
        """What it foretells; first, if another reading of the coordinate fits better."""
        kind, other = ("closed", "open") if self.closed else ("open", "closed")
        doubt = ""
        if self.r2 <= self.r2_shuffled:
            doubt = "no better than through shuffled values; "
        elif self.r2_other > self.r2:
            doubt = f"a curve that is {other} fits better ({self.r2_other:.2f}); "
        terms = f"frequencies {list(self.order)}" if self.closed else f"{self.order[0]} pieces"
        return (
            f"{doubt}{kind}, {terms}, through {len(self.values)} values; left-out values: R² {self.r2:.2f} "
            f"(chord {self.r2_chord:.2f}, best of {self.n_shuffled} shuffled {self.r2_shuffled:.2f})"
        )

    def at(self, u: float | Sequence[float] | Tensor) -> Float[Tensor, "*batch d_in"]:
        """Return c(u), the state at a value of the coordinate."""
        return self._at(torch.as_tensor(u, dtype=torch.float64)).to(self.mean.dtype)

    def _at(self, u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch d_in"]:
        terms = _terms(u.flatten().numpy(), self.order, self.period, self.knots)
        found = self.mean.double() + torch.from_numpy(terms) @ self.weights.double()
        return found.reshape(*u.shape, -1)

    def nearest(self, x: Float[Tensor, "*batch d_in"]) -> tuple[Tensor, Tensor]:
        """Return the coordinate u of the nearest point of the curve, and the distance to it."""
        rows = x.detach().reshape(-1, x.shape[-1]).double().cpu()
        grid, points = self.grid
        where = torch.cdist(rows, points).argmin(dim=1)
        u = grid[where]
        step = float(grid[1] - grid[0])
        for _ in range(20):  # halve the step around the best: c is smooth at the grid's distance
            tried = torch.stack([u - step, u, u + step], dim=1)
            if not self.closed:
                tried = tried.clamp(float(grid[0]), float(grid[-1]))
            far = (self._at(tried) - rows[:, None]).norm(dim=-1)
            u = tried.gather(1, far.argmin(dim=1, keepdim=True))[:, 0]
            step /= 2
        distance = (self._at(u) - rows).norm(dim=-1)
        if self.closed:
            u = u.remainder(self.period or 0.0)
        return u.reshape(x.shape[:-1]), distance.reshape(x.shape[:-1])

    @property
    def grid(self) -> tuple[Float[Tensor, " points"], Float[Tensor, "points d_in"]]:
        """Values of the coordinate from end to end, and the curve there."""
        low, high = float(self.values[0]), float(self.values[-1])
        if self.closed:
            high = low + float(self.period or 0.0)
        u = torch.linspace(low, high, N_GRID + 1, dtype=torch.float64)
        return u, self._at(u)

    @property
    def drawn(self) -> Float[Tensor, "points d_in"]:
        """Points from end to end, as many as a picture shows."""
        return self.grid[1][:: N_GRID // N_DRAWN]

    @property
    def _axes(self) -> tuple[Tensor, Tensor, list[float]]:
        """Middle of the curve, its two largest axes, and their shares of its extent."""
        line = self.drawn[:-1]  # the last point of a closed one is its first
        centre = line.mean(dim=0)
        _, size, axes = torch.linalg.svd(line - centre, full_matrices=False)
        return centre, axes[:2], (size**2 / (size**2).sum())[:2].tolist()

    def shadow(self, x: Float[Tensor, "n d_in"]) -> Float[np.ndarray, "n 2"]:
        """Return places of states in the curve's two largest axes."""
        centre, axes, _ = self._axes
        return np.asarray((x.double() - centre) @ axes.T)

    def ring(self, x: Float[Tensor, "n d_in"]) -> Float[np.ndarray, "n 2"]:
        """Return places of states by the widest frequency of a closed curve, by which it is a circle.

        They are its cosine and sine as least squares reads them from a state: what other frequencies add is not
        in them. In the two largest axes a curve of several frequencies is a tangle.
        """
        if not self.closed:
            raise ValueError(
                "`ring` is of closed curves, got an open one. Use shadow, or closed=True."
            )
        waves, n = self.weights[1:].double(), len(self.order)
        widest = int(waves.norm(dim=1).reshape(2, n).amin(dim=0).argmax())
        read = (x.double() - self.mean.double() - self.weights[0].double()) @ torch.linalg.pinv(
            waves
        )
        return np.asarray(read[:, [widest, widest + n]])

    @property
    def length(self) -> float:
        """Length from end to end, of a closed curve once around, in model units."""
        return float(self.grid[1].diff(dim=0).norm(dim=1).sum())

    def path(self, start: float, to: float) -> Float[Tensor, " points"]:
        """Return values of the coordinate from one to another; on a closed curve the shorter way round."""
        by = to - start
        if self.period is not None:
            by = (by + self.period / 2) % self.period - self.period / 2
        return start + torch.linspace(0, by, N_PATH, dtype=torch.float64)

    @checked
    def plot(
        self,
        start: float | None = None,
        to: float | None = None,
        names: Sequence[str] | None = None,
    ) -> Any:
        """Draw the curve in its two largest axes, with the mean states and the way from one value to another.

        The way is drawn along the curve and as the chord, which a straight push takes. It is a shadow: a curve
        of several frequencies needs more axes, whose share the titles leave.

        Parameters
        ----------
        start
            Where the way begins. None: at the first value.
        to
            Where it ends. None: a slider over the values moves the end.
        names
            Of the values, such as days. None: the values.

        Raises
        ------
        ValueError: If there is not a name for each value, or `start` or `to` lies beyond an open curve's ends.

        Example
        -------
        >>> import torch
        >>> u = torch.arange(8.0)
        >>> x = torch.stack([(u * torch.pi / 4).cos(), (u * torch.pi / 4).sin()], dim=1)
        >>> figure = curve(x, u, closed=True).plot(0, 2)
        >>> [trace.name for trace in figure.data]
        ['curve', 'states', 'along the curve', 'chord']
        """
        from sae_nb.figures import curve_with_chord

        values = self.values.tolist()
        if names is not None and len(names) != len(values):
            raise ValueError(
                f"`names` must have one for each of {len(values)} values, got {len(names)}."
            )
        first = values[0] if start is None else start
        for name, u in (("start", first), ("to", first if to is None else to)):
            if not self.closed and not values[0] <= u <= values[-1]:
                raise ValueError(
                    f"`{name}` must be between {values[0]:g} and {values[-1]:g}, the ends of an open curve, "
                    f"got {u:g}."
                )
        ends = values if to is None else [to]
        ways = [self._at(self.path(first, end)) for end in ends]
        return curve_with_chord(
            self.shadow(self.drawn),
            self.shadow(self.states),
            [self.shadow(way) for way in ways],
            names=[f"{u:g}" for u in values] if names is None else list(names),
            ends=[f"{u:g}" for u in ends] if to is not None or names is None else list(names),
            shares=self._axes[2],
        )


@checked
def curve(
    acts: Activations | Float[Tensor, "n d_in"],
    coordinate: Sequence[float] | np.ndarray | Tensor,
    *,
    closed: bool = False,
    period: float | None = None,
    order: int | Sequence[int] | None = None,
    n_shuffled: Count = 20,
    seed: Seed = 0,
) -> Curve:
    """Fit a curve through the mean states of the values of a coordinate.

    Parameters
    ----------
    acts
        Rows of a concept that is ordered, such as the last tokens of texts about days.
    coordinate
        Value of each row.
    closed
        Whether the last value comes before the first again, as of days and angles.
    period
        Of a closed coordinate. None: one step more than from the smallest value to the largest.
    order
        Closed: frequencies, in turns per period, or how many of the lowest. Open: pieces of the spline. None:
        the order whose curves foretell left-out values best; frequencies are added one at a time.
    n_shuffled
        Control: shufflings of the values.

    Raises
    ------
    ValueError: If there are fewer than four values, or more terms than values.

    Source
    ------
    Curves for steering: "Manifold steering", arXiv 2605.05115. Ours chooses the order by left-out values and
    shows chord, shuffled values and the other kind next to it.

    Example
    -------
    >>> import torch
    >>> u = torch.arange(12.0)
    >>> x = torch.stack([(u * torch.pi / 6).cos(), (u * torch.pi / 6).sin()], dim=1)
    >>> c = curve(x, u, closed=True)
    >>> round(c.length, 2), c.order, torch.allclose(c.at(3.0), x[3], atol=1e-5)
    (6.28, (1,), True)
    """
    rows = getattr(acts, "x", acts)
    x = check_matrix(rows, name="acts").detach().double().cpu()
    values, mean = _means(x, coordinate)
    n = len(values)
    if period is not None and not closed:
        raise ValueError(
            f"`period` is for closed curves, got {period} and closed=False. Pass closed=True."
        )
    if closed:
        period = _checked_period(values, period)
    centre = mean.mean(axis=0)
    # Distances and fits are the same in coordinates of the span, of which there are fewer than values.
    u, s, basis = np.linalg.svd(mean - centre, full_matrices=False)
    y = u * s
    chosen = _order(values, y, period, order)
    knots = _knots(values, chosen, period)
    terms = _terms(values, chosen, period, knots)
    weights = np.linalg.lstsq(terms, y, rcond=None)[0]
    residual = _left_out(terms, y)
    chord = _chords(values, y, period)
    known = np.isfinite(chord)
    rng = np.random.default_rng(seed)
    shuffled = [_best_r2(values, rng.permutation(y), period, order) for _ in range(n_shuffled)]
    other = None if closed else _checked_period(values, None)
    return Curve(
        hook_point=getattr(acts, "hook_point", None),
        model_name=getattr(acts, "model_name", None),
        closed=closed,
        period=period,
        order=chosen,
        knots=knots,
        mean=torch.from_numpy(centre).float(),
        weights=torch.from_numpy(weights @ basis).float(),
        values=values,
        states=torch.from_numpy(mean).float(),
        error=np.linalg.norm(residual, axis=1),
        chord=chord,
        r2=_r2(residual, y),
        r2_chord=float(1 - (chord[known] ** 2).sum() / (y[known] ** 2).sum()),
        r2_shuffled=max(shuffled, default=float("nan")),
        r2_other=_best_r2(values, y, other, None) if n >= 6 else float("nan"),
        n_shuffled=n_shuffled,
    )


def _means(
    x: Tensor, coordinate: Sequence[float] | np.ndarray | Tensor
) -> tuple[Float[np.ndarray, " values"], Float[np.ndarray, "values d_in"]]:
    given = torch.as_tensor(np.asarray(coordinate), dtype=torch.float64).flatten()
    if len(given) != len(x):
        raise ValueError(
            f"`coordinate` must have a value for each of {len(x)} rows, got {len(given)}."
        )
    if not bool(given.isfinite().all()):
        raise ValueError("`coordinate` must be finite, got NaN or infinity.")
    values, which = torch.unique(given, return_inverse=True)
    if len(values) < 4:
        raise ValueError(
            f"`coordinate` must have at least 4 different values, got {len(values)}: a curve through so few is "
            "a line or a circle whatever they are. Use sn.direction for two."
        )
    sums = torch.zeros(len(values), x.shape[1], dtype=x.dtype).index_add(0, which, x)
    mean = sums / torch.bincount(which)[:, None]
    if not float((mean - mean.mean(dim=0)).abs().max()) > 0:
        raise ValueError(
            "`acts` must differ between values of `coordinate`, got the same mean at all."
        )
    return values.numpy(), mean.numpy()


def _checked_period(values: np.ndarray, period: float | None) -> float:
    extent = float(values[-1] - values[0])
    if period is None:
        return extent + float(np.diff(values).min())
    if not extent < period < np.inf:
        raise ValueError(
            f"`period` must be finite and larger than the extent of `coordinate`, {extent:g}, got {period:g}. "
            "Values one period apart are the same."
        )
    return float(period)


def _terms(
    u: Float[np.ndarray, " n"], order: Sequence[int], period: float | None, knots: np.ndarray
) -> Float[np.ndarray, "n terms"]:
    """The columns that are fitted: 1, and sines and cosines or splines."""
    if period is not None:
        angle = 2 * np.pi * u[:, None] * np.asarray(order)[None] / period
        return np.concatenate([np.ones((len(u), 1)), np.cos(angle), np.sin(angle)], axis=1)
    from scipy.interpolate import BSpline

    inside = np.clip(u, knots[0], knots[-1])
    return np.asarray(BSpline.design_matrix(inside, knots, 3).toarray())


def _knots(
    values: np.ndarray, order: Sequence[int], period: float | None
) -> Float[np.ndarray, " knots"]:
    if period is not None:
        return np.empty(0)
    inner = np.quantile(values, np.linspace(0, 1, order[0] + 1))
    return np.concatenate([[inner[0]] * 3, inner, [inner[-1]] * 3])


def _left_out(
    terms: Float[np.ndarray, "n t"], y: Float[np.ndarray, "n r"]
) -> Float[np.ndarray, "n r"]:
    """Residual of each row to the fit without it: e / (1 − h), h the row's own leverage."""
    q, r = np.linalg.qr(terms)
    if np.abs(np.diag(r)).min() < 1e-9 * np.abs(np.diag(r)).max():
        return np.full_like(y, np.inf)  # the values do not determine so many terms
    leverage = (q**2).sum(axis=1, keepdims=True)
    return np.divide(
        y - q @ (q.T @ y), 1 - leverage, out=np.full_like(y, np.inf), where=leverage < 1 - 1e-9
    )


def _r2(residual: np.ndarray, y: np.ndarray) -> float:
    return float(1 - (residual**2).sum() / (y**2).sum())


def _tried(values: np.ndarray, y: np.ndarray, period: float | None, order: Sequence[int]) -> float:
    return _r2(_left_out(_terms(values, order, period, _knots(values, order, period)), y), y)


def _order(
    values: np.ndarray, y: np.ndarray, period: float | None, order: int | Sequence[int] | None
) -> tuple[int, ...]:
    """The order that is asked for, or the best on left-out values."""
    n = len(values)
    most = (n - 2) // 2 if period is not None else n - 4
    if order is not None:
        listed = [int(order)] if isinstance(order, int | np.integer) else [int(k) for k in order]
        if period is not None and isinstance(order, int | np.integer):
            listed = list(range(1, listed[0] + 1))
        terms = len(listed) if period is not None else listed[0]
        if not 1 <= terms <= most or min(listed) < 1 or (period is None and len(listed) > 1):
            raise ValueError(
                f"`order` must be 1 to {most} {'frequencies' if period else 'pieces'} for {n} values, got "
                f"{order!r}. Fewer terms than values leave something to foretell."
            )
        return tuple(listed)
    if period is None:
        return (max(range(1, max(most, 1) + 1), key=lambda k: _tried(values, y, None, (k,))),)
    chosen: tuple[int, ...] = ()
    best = -np.inf
    closest = np.diff(values, append=values[0] + period).min()  # the way over the end counts too
    known = range(1, int(period / closest / 2) + 1)
    for _ in range(most):
        tried = {k: _tried(values, y, period, (*chosen, k)) for k in known if k not in chosen}
        k = max(tried, key=lambda one: tried[one])
        if not tried[k] > best + GAIN:
            break
        chosen, best = (*chosen, k), tried[k]
    return chosen or (1,)


def _best_r2(
    values: np.ndarray, y: np.ndarray, period: float | None, order: int | Sequence[int] | None
) -> float:
    return _tried(values, y, period, _order(values, y, period, order))


def _chords(
    values: np.ndarray, y: np.ndarray, period: float | None
) -> Float[np.ndarray, " values"]:
    """Distance of each mean to the straight line between its neighbours, at its own place between them."""
    if period is not None:
        values = np.concatenate([[values[-1] - period], values, [values[0] + period]])
        y = np.concatenate([y[-1:], y, y[:1]])
    share = ((values[1:-1] - values[:-2]) / (values[2:] - values[:-2]))[:, None]
    found = np.linalg.norm(y[1:-1] - (1 - share) * y[:-2] - share * y[2:], axis=1)
    return found if period is not None else np.concatenate([[np.nan], found, [np.nan]])
