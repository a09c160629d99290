"""Following trainings from outside: what to read of each, and redraws that never get in its way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from sae_nb.background import Task
from sae_nb.figures.theme import format_count
from sae_nb.training import AtomMotion, MotionTracker, TrainingHistory, TrainingSummary

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.training import TrainingRun

MAX_POINTS = 400
"""Per curve: more than a small plot has pixels; 45 kB per redraw of one run."""

SHARE_OF_TIME = 0.015
"""Of the processor time that redraws may take: a slow one is followed by a longer wait."""

LONGEST_REST_SECONDS = 10.0
"""After which a redraw comes however slow it is: a picture must not look as if it hung."""

POLL_SECONDS = 0.5
"""Interval of polling a run that sends no records: paused, stopped or failed between two."""

GOING = ("running", "paused", "stopping")


@dataclass(eq=False)
class Tracked:
    """The source of one set of curves: one SAE of a run, or records alone."""

    history: TrainingHistory
    """Records read so far."""

    records: Sequence[Any]
    """The list that grows."""

    run: TrainingRun | None = None
    """Run that the buttons act on; None for records without a run."""

    index: int = 0
    """Index of the SAE in the run."""

    motion: MotionTracker = field(default_factory=MotionTracker)
    """Rotation of its atoms between two looks."""

    @property
    def name(self) -> str:
        """Name of the curves in the legend."""
        return self.history.name

    @property
    def state(self) -> str:
        """State of the run; of bare records, "done" once the last step is in."""
        if self.run is not None:
            return str(self.run.state)
        last = self.records[-1] if len(self.records) else None
        return "running" if last is not None and last.step < last.steps else "done"

    @property
    def key(self) -> tuple[int, str]:
        """Changes when there is something new to draw."""
        return len(self.records), self.state

    def summary(self, *, log_x: bool) -> TrainingSummary:
        """Read what is new and return what to draw."""
        state = self.state  # before the records: a run that is done then has no more of them
        error = getattr(self.run, "error", None)
        self.history.extend(self.records)
        return self.history.summary(
            state=state,
            max_points=MAX_POINTS,
            axis="log" if log_x else "linear",
            frequency=self.frequency_now(),
            motion=self._motion(),
            error="" if error is None else " ".join(str(error).split()) or type(error).__name__,
        )

    def frequency_now(self) -> Float[np.ndarray, " n_atoms"] | None:
        """Return the share of the latest inputs on which each atom fired; None if there is no run to ask."""
        if self.run is None or not hasattr(self.run, "frequency"):
            return None
        counted = self.run.frequency(self.index)
        return np.asarray(counted.detach().cpu(), dtype=np.float32)

    @property
    def sae(self) -> SparseAutoencoder | None:
        """The SAE in training, or None."""
        if self.run is None:
            return None
        saes = self.run.sae
        return saes[self.index] if isinstance(saes, Sequence) else saes

    def _motion(self) -> AtomMotion | None:
        run, sae = self.run, self.sae
        if run is None or sae is None or not hasattr(sae, "dictionary") or not hasattr(run, "lock"):
            return None
        with run.lock:
            self.motion.look(sae.dictionary, run.step)
        return self.motion.summary()


def track(source: Any, name: str | None = None) -> list[Tracked]:
    """Return what there is to follow in whatever a person has of a training."""
    if isinstance(source, Mapping):
        found = [one for label, part in source.items() for one in track(part, str(label))]
    elif hasattr(source, "histories"):
        found = _of_run(source, name)
    elif hasattr(source, "history"):
        label = name or describe_sae(getattr(source, "sae", None))
        found = [Tracked(TrainingHistory(label), source.history)]
    elif _are_records(source):
        found = _of_records(source, name or "run")
    elif isinstance(source, Sequence) and not isinstance(source, str | bytes):
        found = [one for part in source for one in track(part, name)]
    else:
        raise TypeError(
            "`run` must be a TrainingRun, a TrainResult, a list of records, or several of these in a "
            f"list or mapping, got {type(source).__name__}. Start one with sn.start_training(…)."
        )
    _make_names_differ(found)
    return found


def _are_records(source: object) -> bool:
    if not isinstance(source, Sequence) or isinstance(source, str | bytes):
        return False
    return all(hasattr(record, "step") and hasattr(record, "loss") for record in source)


def _of_run(run: TrainingRun, name: str | None) -> list[Tracked]:
    saes = run.sae if isinstance(run.sae, Sequence) else [run.sae]
    return [
        Tracked(TrainingHistory(name or describe_sae(sae)), records, run, index)
        for index, (sae, records) in enumerate(zip(saes, run.histories, strict=True))
    ]


def _of_records(records: Sequence[Any], name: str) -> list[Tracked]:
    """Curves of a list that may hold several SAEs' records, interleaved."""
    which = sorted({getattr(record, "sae", 0) for record in records})
    if len(which) < 2:
        return [Tracked(TrainingHistory(name), records)]
    return [
        Tracked(
            TrainingHistory(f"{name} {sae}"),
            [record for record in records if getattr(record, "sae", 0) == sae],
        )
        for sae in which
    ]


def describe_sae(sae: SparseAutoencoder | None) -> str:
    """Name an SAE in a few words."""
    if sae is None:
        return "run"
    words = [type(sae).__name__]
    if hasattr(sae, "n_atoms"):
        words.append(f"{format_count(sae.n_atoms)} atoms")
    if isinstance(getattr(sae, "k", None), int):
        words.append(f"k {sae.k}")
    return ", ".join(words)


def _make_names_differ(tracked: Sequence[Tracked]) -> None:
    names = [one.name for one in tracked]
    for place, one in enumerate(tracked):
        if names.count(names[place]) > 1:
            one.history.name = f"{names[place]} ({names[: place + 1].count(names[place])})"


class Redraws:
    """Calls `draw` in a thread of its own soon after it is asked to, but never often.

    Between two calls pass at least `interval` seconds, and, while a training runs, so many that drawing
    stays below `SHARE_OF_TIME` of the processor time that the process gets: on a crowded machine it
    gets little, and a share of the wall clock would be a large share of that. Requests made meanwhile
    become one call. `ask` costs a microsecond.
    """

    def __init__(
        self,
        draw: Callable[[], bool],
        interval: Callable[[], float],
        busy: Callable[[], bool] = lambda: True,
    ) -> None:
        self._draw, self._interval, self._busy = draw, interval, busy
        self._asked, self._ended = threading.Event(), threading.Event()
        self._task = Task("redraws", self._work, stop=self._end)

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return self._task.alive

    def ask(self) -> None:
        """Have it draw, some time soon."""
        self._asked.set()

    def close(self) -> None:
        """End it; a call under way is waited for, unless it is its own."""
        self._end()
        self._task.wait(5)

    def _end(self) -> None:
        self._ended.set()
        self._asked.set()

    def _work(self) -> None:
        while True:
            self._asked.wait(POLL_SECONDS)
            if self._ended.is_set():
                return
            self._asked.clear()
            began = time.thread_time()
            if not self._draw():
                return
            self._rest(time.thread_time() - began)

    def _rest(self, cost: float) -> None:
        """Wait until the process has had its share of processor time since a call of that cost."""
        spent, until = time.process_time(), time.monotonic() + LONGEST_REST_SECONDS
        self._ended.wait(self._interval())
        while (
            self._busy()
            and time.process_time() - spent < cost / SHARE_OF_TIME
            and time.monotonic() < until
            and not self._ended.wait(POLL_SECONDS / 5)
        ):
            continue
