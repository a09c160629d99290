"""What a training has done so far, small enough to be drawn again every second.

A history of n records is drawn with at most `max_points` of them, at step positions that are even
on the axis shown (linear or logarithmic); from every stretch the lowest and the highest loss stay,
so a spike that lasts one record is never drawn away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from sae_nb.summaries.training_atoms import AtomMotion
    from sae_nb.training.records import TrainRecord

Axis = Literal["linear", "log"]

COLUMNS = (
    "step",
    "tokens",
    "seconds",
    "loss",
    "r2",
    "l0",
    "dead_fraction",
    "tokens_per_second",
    "learning_rate",
)
"""What is kept of a record, in this order; a field the record does not have is NaN."""

_RECENT = 20  # records that the pace is taken from: few enough to follow a change of load


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSummary:
    """One training as plain arrays, every curve over the same `step`."""

    name: str
    """What the run is called in a legend."""

    state: str
    """One of "running", "paused", "stopping", "done", "failed", as `TrainingRun.state` says."""

    step: Int[np.ndarray, " points"]
    """Optimiser steps done when the record was made."""

    loss: Float[np.ndarray, " points"]
    """Training loss on the batch of that step."""

    r2: Float[np.ndarray, " points"]
    """Share of the batch's variance explained."""

    l0: Float[np.ndarray, " points"]
    """Atoms per row."""

    dead_fraction: Float[np.ndarray, " points"]
    """Share of atoms that have not fired for `dead_after_tokens`."""

    tokens_per_second: Float[np.ndarray, " points"]
    """Rows trained on per second."""

    learning_rate: Float[np.ndarray, " points"]
    """Adam step size in force."""

    n_records: int
    """Records the arrays were taken from."""

    steps: int
    """Steps the run was asked for; 0 when nothing is known yet."""

    tokens: int
    """Rows trained on so far."""

    seconds: float
    """Wall time so far."""

    seconds_left: float | None
    """At the pace of the last records; None while there is no pace or nothing is left."""

    best_step: int | None
    """Step of the highest R² recorded; None before the first."""

    frequency: Float[np.ndarray, " n_atoms"] | None = None
    """Share of probe rows each atom is used by, in dictionary order; None without a probe."""

    error: str = ""
    """Why the run failed, one sentence."""

    motion: AtomMotion | None = None
    """How far the atoms turn; None where nobody looked."""

    @property
    def last_step(self) -> int:
        """The newest step, 0 before the first record."""
        return int(self.step[-1]) if len(self.step) else 0


class TrainingHistory:
    """The records of one run as growing columns, so that a redraw never reads a record twice.

    Parameters
    ----------
    name
        What the run is called in a legend.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> history = TrainingHistory("k = 16")
    >>> history.extend([SimpleNamespace(step=i, steps=9, loss=1 / i, r2=0.5) for i in (1, 2, 3)])
    >>> summary = history.summary(state="running")
    >>> summary.last_step, summary.steps, summary.loss[:2].tolist()
    (3, 9, [1.0, 0.5])
    """

    def __init__(self, name: str = "run") -> None:
        self.name = name
        self._table = np.empty((64, len(COLUMNS)))
        self._n = 0
        self._steps = 0

    def __len__(self) -> int:
        return self._n

    def extend(self, records: Sequence[TrainRecord]) -> None:
        """Read what is new in `records`, a list that only grows (a shorter one starts over).

        Parameters
        ----------
        records
            Everything the run has recorded so far, not only the new part.
        """
        n_now = len(records)  # the training thread may append meanwhile
        if n_now < self._n:
            self._n = 0
        for record in records[self._n : n_now]:
            self._append(record)

    def _append(self, record: TrainRecord) -> None:
        if self._n == len(self._table):
            self._table = np.concatenate([self._table, np.empty_like(self._table)])
        self._table[self._n] = [_number(record, column) for column in COLUMNS]
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
        """What a panel draws.

        Parameters
        ----------
        state
            "running", "paused", "stopping", "done" or "failed".
        max_points
            Points per curve, ≥ 4. Ours: 600 is more than a third of a panel has pixels.
        axis
            Where the points are even: over steps or over their logarithm.
        frequency
            Share of probe rows each atom is used by.
        error
            Why the run failed, one sentence.
        motion
            How far the atoms turn.

        Returns
        -------
        TrainingSummary
            Arrays of at most `max_points` entries; the first and the newest record are among them.

        Raises
        ------
        ValueError
            When `max_points` is too small to hold a curve.
        """
        if max_points < 4:
            raise ValueError(f"`max_points` must be at least 4, got {max_points}.")
        table = self._table[: self._n]
        kept = table[_points_kept(table, max_points, axis)]
        column = {name: kept[:, i] for i, name in enumerate(COLUMNS)}
        return TrainingSummary(
            name=self.name,
            state=state,
            step=column["step"].astype(np.int64),
            **{name: column[name].astype(np.float32) for name in COLUMNS[3:]},
            n_records=self._n,
            steps=self._steps,
            tokens=int(_last(table, "tokens")),
            seconds=_last(table, "seconds"),
            seconds_left=_seconds_left(table, self._steps) if state in _GOING else None,
            best_step=_best_step(table),
            frequency=frequency,
            error=error,
            motion=motion,
        )


_GOING = ("running", "paused")


def summarise_training(
    records: Sequence[TrainRecord],
    *,
    name: str = "run",
    state: str = "done",
    max_points: int = 600,
    axis: Axis = "linear",
) -> TrainingSummary:
    """Records of a run as the arrays that a panel draws, in one call.

    Parameters
    ----------
    records
        `TrainingRun.records` or `TrainResult.history`.
    name
        What the run is called in a legend.
    state
        "running", "paused", "stopping", "done" or "failed".
    max_points
        Points per curve, ≥ 4.
    axis
        Where the points are even: over steps or over their logarithm.

    Returns
    -------
    TrainingSummary
        At most `max_points` points per curve.

    Raises
    ------
    ValueError
        When `max_points` is too small to hold a curve.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> spike = [SimpleNamespace(step=i, loss=9.0 if i == 777 else 1.0) for i in range(5000)]
    >>> summary = summarise_training(spike, max_points=100)
    >>> len(summary.step) <= 100, float(summary.loss.max())
    (True, 9.0)
    """
    history = TrainingHistory(name)
    history.extend(records)
    return history.summary(state=state, max_points=max_points, axis=axis)


def _number(record: object, column: str) -> float:
    value = getattr(record, column, None)
    return float("nan") if value is None else float(value)


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
    kept = {0, n - 1}
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        kept.add(start + int(loss[start:stop].argmin()))
        kept.add(start + int(loss[start:stop].argmax()))
    return np.array(sorted(kept))


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


def _best_step(table: Float[np.ndarray, "n columns"]) -> int | None:
    r2 = table[:, COLUMNS.index("r2")]
    if not np.isfinite(r2).any():
        return None
    return int(table[np.nanargmax(np.where(np.isfinite(r2), r2, np.nan)), COLUMNS.index("step")])
