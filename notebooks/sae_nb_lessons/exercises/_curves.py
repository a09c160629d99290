"""Exercises of notebook 36: a closed curve by least squares, a move along it, and what a path through all words shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor, words
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

N_LEFT_OUT = 26
LONGEST = 40
"""Words that a claim takes at least."""

# --- 36.1: a closed curve by least squares ---------------------------------------------------------


def _angles(u: Tensor, frequencies: Sequence[int], period: float) -> Tensor:
    return 2 * torch.pi * u[:, None] * torch.tensor(frequencies).double() / period


def _waves(u: Tensor, frequencies: Sequence[int], period: float) -> Tensor:
    turn = _angles(u, frequencies, period)
    return torch.cat([torch.ones(len(u), 1).double(), turn.cos(), turn.sin()], dim=1)


def _solved(terms: Tensor, means: Tensor) -> Tensor:
    found: Tensor = torch.linalg.lstsq(terms, means).solution
    return found


def _fitted(
    means: Tensor, values: Tensor, frequencies: Sequence[int], period: float, at: Tensor
) -> Tensor:
    return _waves(at, frequencies, period) @ _solved(_waves(values, frequencies, period), means)


def _fit_slips() -> tuple[Slip, ...]:
    def made(way: str, means: Tensor, u: Tensor, f: Sequence[int], p: float, at: Tensor) -> Tensor:
        def through(terms: Callable[[Tensor], Tensor]) -> Tensor:
            return terms(at) @ _solved(terms(u), means)

        def part(*columns: int) -> Tensor:
            n = len(f)
            kept = [slice(0, 1), slice(1, n + 1), slice(n + 1, 2 * n + 1)]
            return through(lambda v: torch.cat([_waves(v, f, p)[:, kept[c]] for c in columns], 1))

        terms = _waves(u, f, p)
        weights = _solved(terms, means)
        ways: dict[str, Callable[[], Tensor]] = {
            "constant": lambda: part(1, 2),
            "cosines": lambda: part(0, 1),
            "sines": lambda: part(0, 2),
            "turn": lambda: through(lambda v: _waves(v, f, 2 * torch.pi * p)),
            "period": lambda: through(lambda v: _waves(v, f, 1.0)),
            "first": lambda: _fitted(means, u, f[:1], p, at),
            "lowest": lambda: _fitted(means, u, range(1, len(f) + 1), p, at),
            "values": lambda: terms @ weights,
            "weights": lambda: weights,
            "unsolved": lambda: _waves(at, f, p) @ (terms.T @ means),
            "shares": lambda: _waves(at, f, p) @ (terms.T @ means) / len(u),
            "off": lambda: _fitted(means, u, f, p, at) - means.mean(dim=0),
            "nearest": lambda: means[(at[:, None] - u[None]).abs().argmin(dim=1)],
        }  # fmt: skip
        return ways[way]()

    told = {
        "constant": ("Your curve must go around the origin: the column of ones is missing.", "Its weight is the middle of the curve."),
        "cosines": ("You have cosines alone, and a curve that comes back on its own way.", "A cosine and a sine for each frequency."),
        "sines": ("You have sines alone, and a curve that comes back on its own way.", "A cosine and a sine for each frequency."),
        "turn": ("An angle is 2π times the turns; the 2π is missing.", "`2 * torch.pi * f * values / period`."),
        "period": ("`period` is not used: f turns are made in one step of the coordinate, not in one period.", "`2 * torch.pi * f * values / period`."),
        "first": ("You use the first frequency alone.", "Two columns for each of `frequencies`."),
        "lowest": ("You use the frequencies 1, 2, … instead of those in `frequencies`.", "Loop over `frequencies`, not over their number."),
        "values": ("You return the curve at `values`; asked is the curve at `at`.", "The same columns of `at`, times the weights."),
        "weights": ("You return the weights; asked are points of the curve.", "The columns of `at`, times the weights."),
        "unsolved": ("Columns transposed times means are sums of products, not the weights of least squares.", "`torch.linalg.lstsq(columns, means).solution`."),
        "shares": ("Means of products are the weights only where the columns are orthogonal and of length 1; these are not.", "`torch.linalg.lstsq(columns, means).solution`."),
        "off": ("The middle of the means is subtracted and not added again.", "The column of ones takes care of it."),
        "nearest": ("You return the nearest mean that is known. Between them, a curve has points of its own.", "Fit weights, then put the columns of `at` in."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_fit(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, frequencies, period, seed in ((9, [2, 5], 13.0, 0), (15, [3, 1, 7], 17.0, 1)):
        draws = torch.Generator().manual_seed(seed)
        values = (torch.rand(n, generator=draws).double() * period).sort().values
        means = torch.randn(n, 4, generator=draws).double() + 1
        at = torch.rand(6, generator=draws).double() * period
        cases[f"{n} means and the frequencies {frequencies}"] = (
            means, values, frequencies, period, at,
        )  # fmt: skip
    return diagnose(mine, _fitted, cases, _fit_slips(), atol=1e-6)


# --- 36.3: along it --------------------------------------------------------------------------------


def _nearest(x: Tensor, points: Tensor) -> Tensor:
    return torch.cdist(x, points).argmin(dim=1)


def _moved(x: Tensor, points: Tensor, steps: int) -> Tensor:
    here = _nearest(x, points)
    return x + points[(here + steps) % len(points)] - points[here]


def _move_slips() -> tuple[Slip, ...]:
    def made(way: str, x: Tensor, points: Tensor, steps: int) -> Tensor:
        here, k = _nearest(x, points), len(points)
        there = (here + steps) % k
        aligned = (x @ points.T).argmax(dim=1)
        turned = torch.cosine_similarity(x[:, None], points[None], dim=2).argmax(dim=1)
        ways: dict[str, Callable[[], Tensor]] = {
            "snapped": lambda: points[there],
            "still": lambda: x,
            "here": lambda: points[here],
            "backwards": lambda: _moved(x, points, -steps),
            "negative": lambda: x - points[there] + points[here],
            "added": lambda: x + points[there],
            "ended": lambda: x + points[(here + steps).clamp(0, k - 1)] - points[here],
            "product": lambda: x + points[(aligned + steps) % k] - points[aligned],
            "turned to": lambda: x + points[(turned + steps) % k] - points[turned],
            "size": lambda: _moved(x, points, abs(steps)),
            "farthest": lambda: _farthest(x, points, steps),
            "same": lambda: x + points[(here[0] + steps) % k] - points[here[0]],
            "start": lambda: x + points[steps % k] - points[0],
            "to": lambda: x + points[steps % k] - points[here],
            "straight": lambda: x + steps * (points[(here + 1) % k] - points[here]),
            "one": lambda: _moved(x, points, 1),
        }
        return ways[way]()

    told = {
        "snapped": ("Your rows end on the curve: what was off it is lost.", "Add the difference of two points to x."),
        "still": ("Nothing has moved.", "Add `points[there] - points[here]`."),
        "here": ("These are the nearest points; asked is x, moved.", "Add `points[there] - points[here]` to x."),
        "backwards": ("You go the other way around.", "`(here + steps) % len(points)`."),
        "negative": ("The difference has the wrong sign: from where x is, to where it shall be.", "`+ points[there] - points[here]`."),
        "added": ("A point is added; asked is to add the way from one point to another.", "Subtract `points[here]`."),
        "ended": ("The curve is closed: after the last point comes the first.", "`% len(points)`."),
        "product": ("The largest product finds the point that points the same way and is long, not the nearest.", "The smallest distance: `torch.cdist(x, points).argmin(dim=1)`."),
        "turned to": ("The largest cosine finds the point that points the same way, not the nearest.", "The smallest distance: `torch.cdist(x, points).argmin(dim=1)`."),
        "size": ("You go forward where `steps` is below 0.", "`(here + steps) % len(points)`."),
        "farthest": ("You take the point that is farthest.", "`argmin` of the distances."),
        "same": ("All rows move as the first one does; each has a nearest point of its own.", "`argmin(dim=1)`."),
        "start": ("All rows move as if they were at the first point.", "Find the nearest point of each row first."),
        "to": ("All rows go to the same point; asked is so many steps from where each one is.", "`(here + steps) % len(points)`."),
        "straight": ("You go straight on from the first step; the curve bends.", "Take the point that is `steps` further."),
        "one": ("`steps` is not used: you go one step.", "`(here + steps) % len(points)`."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _farthest(x: Tensor, points: Tensor, steps: int) -> Tensor:
    here = torch.cdist(x, points).argmax(dim=1)
    return x + points[(here + steps) % len(points)] - points[here]


def _judge_moved(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for k, steps, seed in ((12, 3, 0), (20, 7, 1), (9, -4, 2)):
        draws = torch.Generator().manual_seed(seed)
        turn = 2 * torch.pi * torch.arange(k).double()[:, None] / k
        shape = torch.randn(4, 5, generator=draws).double() * torch.tensor([[3.0], [3], [1], [1]])
        points = torch.cat([turn.cos(), turn.sin(), (2 * turn).cos(), (2 * turn).sin()], 1) @ shape
        rows = torch.cat([torch.randperm(k, generator=draws)[:4], torch.tensor([k - 1])])
        off = 0.1 * torch.randn(5, 5, generator=draws).double()
        points = points + 2
        x = points[rows] + off
        x[0] *= 0.6
        cases[f"{k} points and {steps} steps"] = (x, points, steps)
    return diagnose(mine, _moved, cases, _move_slips(), atol=1e-6)


# --- 36.2 and 36.4: predictions --------------------------------------------------------------------


def on_the_chord() -> float:
    """Return how many of 26 left-out sums are read right in the middle between their neighbours."""
    from sae_nb_lessons.studies.curves import left_out

    return left_out(0)["chord"]


def animals_between() -> float:
    """Return the recorded share of animals between two others that are read right on a curve through all."""
    from sae_nb_studies.reproductions import recorded

    return float(recorded("curve_words").of("animals: between, curve").mean)


TASKS = tasks(
    "curves",
    {
        "36.1": Answer(
            function(
                tensor("points", "d"),
                takes="means (n, d), values (n,), frequencies, period and at (points,)",
            ),
            judge=_judge_fit,
        ),
        "36.2": Answer(number(0, N_LEFT_OUT), measure=on_the_chord),
        "36.3": Answer(
            function(tensor("n", "d"), takes="x (n, d), points (k, d) and steps"),
            judge=_judge_moved,
        ),
        "36.4": Answer(number(0, 1), measure=animals_between),
        "36.5": Answer(words(LONGEST)),
    },
)
