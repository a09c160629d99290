"""The state of a training so far, small enough to be drawn again every second, and how atoms turn.

A history of n records is drawn with at most `max_points` of them, at step positions that are even
on the axis shown (linear or logarithmic); from every stretch the lowest and the highest loss stay,
so a spike that lasts one record is never drawn away.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_count

if TYPE_CHECKING:
    from sae_nb.training._records import TrainRecord


# -------------------------------------------------------------------------------------------------
# How far atoms turn while an SAE is trained.
#
# Motion of atom j between two looks at steps s < s′: arccos⟨d_j(s), d_j(s′)⟩ · 100 / (s′ − s), degrees
# per hundred steps. Atoms that go on turning are not learned yet, and dead ones hardly turn at all.


MOST_NUMBERS = 8_000_000
"""Entries of a dictionary that one look reads; of a larger one every k-th atom is followed."""

MOST_LOOKS = 400
"""Kept for the curves; then every second one is forgotten."""

PER_STEPS = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomMotion:
    """Rotation of atoms, in degrees per hundred steps."""

    per_atom: Float[np.ndarray, " n_atoms"]
    """Between the last two looks; NaN for atoms that are not followed."""

    step: Int[np.ndarray, " looks"]
    """Steps at which the curves below were measured."""

    median: Float[np.ndarray, " looks"]
    """Half of the atoms turned no more than this."""

    p90: Float[np.ndarray, " looks"]
    """Nine in ten of them turned no more than this."""


class MotionTracker:
    """Remembers how far the atoms of a dictionary turned between one look and the next."""

    def __init__(self) -> None:
        self._rows: Tensor | None = None
        self._step = -1
        self._n_atoms = 0
        self._per_atom: Float[np.ndarray, " n_atoms"] | None = None
        self._looks: list[tuple[int, float, float]] = []

    def look(self, dictionary: Float[Tensor, "n_atoms d_in"], step: int) -> None:
        """Measure what has turned since the last look; a look at the same step changes nothing."""
        if step == self._step:
            return
        every = max(-(-dictionary.numel() // MOST_NUMBERS), 1)
        rows = torch.nn.functional.normalize(dictionary.detach()[::every].float(), dim=1).cpu()
        if self._rows is not None and step > self._step and rows.shape == self._rows.shape:
            self._measure(rows, self._rows, step, every)
        self._rows, self._step, self._n_atoms = rows, step, len(dictionary)

    def _measure(self, rows: Tensor, before: Tensor, step: int, every: int) -> None:
        # The half-angle form is exact for small angles, where the arc cosine of 1 − ε is not.
        chord = (rows - before).norm(dim=1).clamp(max=2.0)
        degrees = torch.rad2deg(2 * torch.asin(chord / 2)).numpy() * PER_STEPS / (step - self._step)
        self._per_atom = np.full(self._n_atoms, np.nan, dtype=np.float32)
        self._per_atom[::every] = degrees
        middle, high = np.quantile(degrees, (0.5, 0.9))
        self._looks.append((step, float(middle), float(high)))
        if len(self._looks) > MOST_LOOKS:
            self._looks = self._looks[::2]

    def summary(self) -> AtomMotion | None:
        """Return what was measured; None before the second look."""
        if self._per_atom is None:
            return None
        step, *angles = np.array(self._looks, dtype=np.float64).T
        median, p90 = (angle.astype(np.float32) for angle in angles)
        return AtomMotion(
            per_atom=self._per_atom, step=step.astype(np.int64), median=median, p90=p90
        )


# -------------------------------------------------------------------------------------------------
# What a training has done so far, small enough to be drawn again every second.


Axis = Literal["linear", "log"]

# What is kept of a record, in this order; a field that the record does not have is NaN.
COLUMNS = (
    "step", "tokens", "seconds",
    "loss", "r2", "l0", "dead_fraction", "tokens_per_second", "learning_rate",
)  # fmt: skip

_STEADY = 5  # records whose median counts, where one batch must not decide
_RECENT = 20  # records that the pace is taken from: few enough to follow a change of load

N_STRETCHES = 20
"""Parts of a run whose medians are compared: one batch is too noisy."""

FLAT_WITHIN = 0.05
"""A part is level with the newest one where what it leaves unexplained differs by no more than this
share. Ours."""

FLAT_FROM = 4
"""Parts in a row that have to be level before a curve is called flat: a fifth of the run. Ours."""

PAST_BEST = 0.2
"""Of a run: how long ago the best step must be for training on not to help. Ours."""

Trend = Literal["unknown", "improving", "flat", "worsening"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSummary:
    """One training as plain arrays, every curve over the same `step`."""

    name: str
    state: str
    """One of "running", "paused", "stopping", "done", "failed", as in `TrainingRun.state`."""

    step: Int[np.ndarray, " points"]
    """Optimiser steps done when the record was made."""

    loss: Float[np.ndarray, " points"]
    r2: Float[np.ndarray, " points"]
    """Share of the batch's variance explained."""

    l0: Float[np.ndarray, " points"]
    dead_fraction: Float[np.ndarray, " points"]
    """Share of atoms that have not fired for `dead_after_tokens`."""

    tokens_per_second: Float[np.ndarray, " points"]
    learning_rate: Float[np.ndarray, " points"]
    n_records: int
    """Records the arrays were taken from."""

    steps: int
    """Steps the run was asked for; 0 when nothing is known yet."""

    tokens: int
    seconds: float
    """Wall time so far."""

    seconds_left: float | None
    """At the pace of the last records; None while there is no pace or nothing is left."""

    best_step: int | None
    """Step of the highest R² among the five records in a row whose median is highest: one lucky batch does
    not decide. None before the first.
    """

    trend: Trend = "unknown"
    """Present trend of R², by medians over twentieths of the run: the unexplained share of the last
    four differs by at most 5 % ("flat"), or the last is lower than the fifth to last ("improving"), or
    the last two are higher by more than 5 % and the loss is not lower ("worsening"), else "unknown".
    Before twenty records
    "improving" if it fell by more than 5 % over the last five, else "unknown".
    """

    flat_since: int | None = None
    """Step since when R² has been flat; None where it is not."""

    gain: float = math.nan
    """By how much R² rose over the last fifth of the run, or the last five of fewer than twenty records."""

    frequency: Float[np.ndarray, " n_atoms"] | None = None
    """Share of probe rows each atom is used by, in dictionary order; None without a probe."""

    error: str = ""
    """Reason why the run failed, one sentence."""

    motion: AtomMotion | None = None
    """Rotation of the atoms; None if not measured."""

    fixed_r2: float | None = None
    """R² at the last look on rows that stay the same; None where there are none."""

    looks: tuple[tuple[int, float], ...] = ()
    """Step and R² of every look at those rows, in order."""

    held_out: bool = False
    """Whether none of those rows is trained on."""

    passes: float | None = None
    """Times that each row was drawn; None where rows are read as they come."""

    def on_fixed_rows(
        self, looks: Sequence[tuple[int, float]], *, held_out: bool = False
    ) -> TrainingSummary:
        """Return the summary with R² and, from twenty looks on, its trend, of rows that stay the same.

        `looks` are step and R² at every look, in order; without any the summary stays as it is. `held_out`:
        whether none of the rows is trained on.
        """
        if not looks:
            return self
        found = replace(self, fixed_r2=looks[-1][1], looks=tuple(looks), held_out=held_out)
        if len(looks) < N_STRETCHES:
            return found
        step, r2 = (np.array(column, np.float64) for column in zip(*looks))
        trend, flat_since, gain = r2_trend(step, r2, -r2)
        return replace(found, trend=trend, flat_since=flat_since, gain=gain)

    @property
    def r2_now(self) -> float:
        """R² on the rows that stay the same, else the median of the last five batches."""
        return self.batch_r2 if self.fixed_r2 is None else self.fixed_r2

    @property
    def batch_r2(self) -> float:
        """R² on the rows trained on: the median of the last five batches."""
        return self.batch_r2_at(self.last_step)

    def batch_r2_at(self, step: int) -> float:
        """Return R² on the rows trained on at a step: the median of the five batches that end there."""
        last = self.r2[self.step <= step][-_STEADY:]
        return float(np.nanmedian(last)) if np.isfinite(last).any() else math.nan

    @property
    def best_look(self) -> tuple[int, float] | None:
        """Step and R² of the look at which rows that stay the same were explained best, the first of equals."""
        known = [look for look in self.looks if math.isfinite(look[1])]
        return max(known, key=lambda look: look[1]) if known else None

    @property
    def past_best(self) -> bool:
        """Whether training on does not help: rows not trained on were explained best more than a fifth of the
        run ago, have lost more since than two looks differ by, and batches are explained better than then.
        """
        best = self.best_look
        if best is None or not self.held_out or len(self.looks) < N_STRETCHES:
            return False
        step, r2 = (np.array(column, np.float64) for column in zip(*self.looks))
        since = r2[step >= best[0]]
        long_ago = step[-1] - best[0] > PAST_BEST * step[-1]
        fell = best[1] - since[-1] > np.abs(np.diff(since)).max(initial=0)
        return bool(long_ago and fell and self.batch_r2 > self.batch_r2_at(best[0]))

    @property
    def last_step(self) -> int:
        """The newest step, 0 before the first record."""
        return int(self.step[-1]) if len(self.step) else 0


class TrainingHistory:
    """The records of one run as growing columns, so that a redraw never reads a record twice."""

    def __init__(self, name: str = "run") -> None:
        self.name = name
        self._table = np.empty((64, len(COLUMNS)))
        self._n = 0
        self._steps = 0
        self._growing = threading.Lock()

    def __len__(self) -> int:
        return self._n

    def extend(self, records: Sequence[TrainRecord]) -> None:
        """Read what is new in `records`, a list that only grows (a shorter one starts over)."""
        # Two threads that redraw at once must not both add the same record.
        with self._growing:
            n_now = len(records)  # the training thread may append meanwhile
            if n_now < self._n:
                self._n = 0
            for record in records[self._n : n_now]:
                if self._n == len(self._table):
                    self._table = np.concatenate([self._table, np.empty_like(self._table)])
                row = [getattr(record, column, None) for column in COLUMNS]
                self._table[self._n] = [math.nan if value is None else value for value in row]
                self._steps = int(getattr(record, "steps", 0) or 0)
                self._n += 1

    def summary(
        self,
        *,
        state: str,
        max_points: int = 600,
        axis: Axis = "linear",
        frequency: Float[np.ndarray, " n_atoms"] | None = None,
        error: str = "",
        motion: AtomMotion | None = None,
    ) -> TrainingSummary:
        """Return the summary that a panel draws.

        `max_points`: Points per curve, ≥ 4. Ours: 600 is more than a third of a panel has pixels.
        """
        check_count(max_points, name="max_points", at_least=4)
        with self._growing:
            table = self._table[: self._n]
        column = dict(zip(COLUMNS, table[_points_kept(table, max_points, axis)].T, strict=True))
        step, r2 = table[:, COLUMNS.index("step")], table[:, COLUMNS.index("r2")]
        trend, flat_since, gain = r2_trend(step, r2, table[:, COLUMNS.index("loss")])
        going = state in ("running", "paused")
        return TrainingSummary(
            name=self.name,
            state=state,
            step=column["step"].astype(np.int64),
            **{name: column[name].astype(np.float32) for name in COLUMNS[3:]},
            n_records=self._n,
            steps=self._steps,
            tokens=int(_last(table, "tokens")),
            seconds=_last(table, "seconds"),
            seconds_left=_seconds_left(table, self._steps) if going else None,
            best_step=_best_step(step, r2),
            trend=trend,
            flat_since=flat_since,
            gain=gain,
            frequency=frequency,
            error=error,
            motion=motion,
        )


def _best_step(step: Float[np.ndarray, " n"], r2: Float[np.ndarray, " n"]) -> int | None:
    """Return the step of the highest R² among the five records in a row whose median is highest."""
    known = np.isfinite(r2)
    if not known.any():
        return None
    step, r2 = step[known], r2[known]
    width = min(_STEADY, len(r2))
    steady = np.median(np.lib.stride_tricks.sliding_window_view(r2, width), axis=1)
    best = int(steady.argmax())
    return int(step[best + int(r2[best : best + width].argmax())])


def r2_trend(
    step: Float[np.ndarray, " n"], r2: Float[np.ndarray, " n"], loss: Float[np.ndarray, " n"]
) -> tuple[Trend, int | None, float]:
    """Return what R² does now, since which step it has been flat, and its gain: see `TrainingSummary.trend`."""
    known = np.isfinite(r2)
    step, unexplained, loss = step[known], 1 - r2[known], loss[known]
    if len(step) < N_STRETCHES:
        return _early_trend(unexplained)
    parts = np.array_split(np.arange(len(step)), N_STRETCHES)
    medians = np.array([np.median(unexplained[part]) for part in parts])
    before, now = medians[-1 - FLAT_FROM], medians[-1]
    gain = float(before - now)
    level = np.abs(medians - now) <= FLAT_WITHIN * abs(now)
    first = N_STRETCHES - int(level[::-1].cumprod().sum())
    if N_STRETCHES - first >= FLAT_FROM:
        return "flat", int(step[parts[first][0]]), gain
    if gain > 0:
        return "improving", None, gain
    # One noisy part is no reason to change anything: the last two have to be clearly worse, and the loss
    # must not contradict them. Batches that vary less are harder to explain, whatever was learned.
    losses = [np.median(loss[part]) for part in parts]
    falls = max(losses[-2:]) < losses[-1 - FLAT_FROM]
    worse = medians[-2:].min() > (1 + FLAT_WITHIN) * before and not falls
    return ("worsening" if worse else "unknown"), None, gain


def _early_trend(unexplained: Float[np.ndarray, " n"]) -> tuple[Trend, None, float]:
    """Return the trend of R² in a run too short for parts: only a clear gain over its last records counts."""
    if len(unexplained) <= FLAT_FROM:
        return "unknown", None, math.nan
    now, before = float(unexplained[-1]), float(unexplained[-1 - FLAT_FROM])
    gained = now < before - FLAT_WITHIN * abs(before)
    return ("improving" if gained else "unknown"), None, before - now


def _last(table: Float[np.ndarray, "n columns"], column: str) -> float:
    value = table[-1, COLUMNS.index(column)] if len(table) else 0.0
    return float(value) if np.isfinite(value) else 0.0


def _points_kept(
    table: Float[np.ndarray, "n columns"], max_points: int, axis: Axis
) -> Int[np.ndarray, " points"]:
    """Rows to draw: first, newest, and the extremes of the loss in every stretch of the axis."""
    n = len(table)
    if n <= max_points:
        return np.arange(n)
    position = table[:, COLUMNS.index("step")]
    if axis == "log":
        position = np.log10(np.maximum(position, 1.0))
    # The training may repeat a step number after a resume; the axis position must not go back.
    position = np.maximum.accumulate(position)
    edges = np.linspace(position[0], position[-1], (max_points - 2) // 2 + 1)[:-1]
    starts = np.unique(np.searchsorted(position, edges))
    # A loss that is not a number must be seen, so it counts as the highest.
    loss = np.nan_to_num(table[:, COLUMNS.index("loss")], nan=np.inf)
    points = {0, n - 1}
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        points |= {start + int(loss[start:stop].argmin()), start + int(loss[start:stop].argmax())}
    return np.array(sorted(points))


def _seconds_left(table: Float[np.ndarray, "n columns"], steps: int) -> float | None:
    """Median pace of the last records times the steps left: a pause does not count as slow."""
    recent = table[-_RECENT:]
    step, seconds = recent[:, COLUMNS.index("step")], recent[:, COLUMNS.index("seconds")]
    done = np.diff(step)
    pace = np.diff(seconds)[done > 0] / done[done > 0]
    pace = pace[np.isfinite(pace)]
    if not len(pace):
        return None
    return float(np.median(pace) * max(steps - step[-1], 0))
