"""A training in a thread: what every handle to one can do, whatever is trained."""

from __future__ import annotations

import logging
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from sae_nb.background import Task, checkpoint
from sae_nb.checks import checked
from sae_nb.training._records import Listeners, Stopped

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.progress import Callback
    from sae_nb.training._records import Change


State = Literal["running", "paused", "stopping", "done", "failed"]


class Loop(Protocol):
    """A training that takes a turn of its control for every step."""

    control: Control
    callbacks: Listeners
    changes: list[Change]
    step: int

    @property
    def config(self) -> Any:
        """Settings, with `steps` among them."""

    def run(self, *, progress: bool = False) -> None:
        """Train to the end, or until told to stop."""

    def set(self, **numbers: float) -> None:
        """Change live numbers between two steps."""


LoopT = TypeVar("LoopT", bound=Loop)
ResultT = TypeVar("ResultT")


class BackgroundRun(ABC, Generic[LoopT, ResultT]):
    """Handle to a training in a thread; every method may be called from any thread.

    A subclass says what its training leaves (`_result`). `TrainingRun` is the one of SAEs.

    Parameters
    ----------
    training
        A loop with `control`, `callbacks`, `changes`, `step`, `config`, `run` and `set`, which takes a turn of
        its `Control` for every step.
    name
        Of the thread, and of what is logged when it fails.
    progress
        Whether the loop shows a bar.
    """

    def __init__(self, training: LoopT, *, name: str, progress: bool = False) -> None:
        self._training, self._name = training, name
        self._error: BaseException | None = None
        self._task = Task(name, partial(self._work, progress), stop=self.stop)

    def _work(self, progress: bool) -> None:
        try:
            self._training.run(progress=progress)
        except BaseException as error:  # noqa: BLE001 - raised again by `wait`
            self._error = error
            # Said here too: nobody may be waiting.
            what, step = self._name.capitalize(), self._training.step + 1
            _log.error("%s failed at step %d: %s", what, step, error)

    @abstractmethod
    def _result(self) -> ResultT:
        """Return the result of `wait`."""

    @property
    def lock(self) -> FairLock:
        """Held during every step, handed on in turn; `with run.lock:` sits between two steps."""
        return self._training.control.lock

    @property
    def changes(self) -> tuple[Change, ...]:
        """Numbers changed while it ran."""
        return tuple(self._training.changes)

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self._training.step

    @property
    def state(self) -> State:
        """Its state: running, paused, stopping, done, or failed."""
        if not self._task.alive:
            return "failed" if self._error is not None else "done"
        if self._training.control.stop_reason is not None:
            return "stopping"
        return "paused" if self._training.control.paused else "running"

    @property
    def error(self) -> BaseException | None:
        """The error that ended a failed run."""
        return self._error

    def pause(self) -> None:
        """Pause after the step under way; returns when that is done."""
        self._training.control.pause()

    def resume(self) -> None:
        """Continue after a pause."""
        self._training.control.resume()

    def stop(self) -> None:
        """End after the step under way; `wait` then gives the result."""
        self._training.control.stop("stopped")

    def set(self, **numbers: float) -> None:
        """Change numbers from the next step on: those that `live()` names."""
        if self.state in ("done", "failed"):
            raise RuntimeError(
                f"Numbers can be changed while a training runs, but this one is {self.state}. Start "
                "another with the new values in its config."
            )
        self._training.set(**numbers)

    @checked
    def add_callback(self, callback: Callback) -> None:
        """Call `callback` with every record from now on, in the training thread."""
        self._training.callbacks += Listeners([callback])

    def remove_callback(self, callback: Callback) -> None:
        """Stop calling a callback; nothing happens when it is not called any more."""
        if callback in self._training.callbacks:
            self._training.callbacks.remove(callback)

    @checked
    def wait(self, timeout: float | None = None) -> ResultT:
        """Wait for the end and return the result; Ctrl-C ends the waiting, not the training."""
        if not self._task.wait(timeout):
            raise TimeoutError(
                f"The training is still {self.state} at step {self.step} of "
                f"{self._training.config.steps} after {timeout} s. Wait longer, or end it with "
                "`run.stop()`."
            )
        if self._error is not None:
            raise self._error
        return self._result()


_log = logging.getLogger(__name__)


# -------------------------------------------------------------------------------------------------
# How other threads and Ctrl-C steer a training loop: always between two steps, never inside one.

_CLAIMS = threading.Lock()
_claimed: set[int] = set()  # ids of SAEs in training; their loops keep them alive


class Control:
    """Pause, resume and stop for one training loop, which takes a `turn` for every step.

    Example
    -------
    >>> control = Control()
    >>> with control.turn() as go_on:
    ...     go_on
    True
    >>> control.stop("stopped")
    >>> with control.turn() as go_on:
    ...     go_on, control.stop_reason
    (False, 'stopped')
    """

    def __init__(self) -> None:
        self.lock = FairLock()
        self.stop_reason: Stopped | None = None
        self.paused_seconds = 0.0
        self._go = threading.Event()
        self._go.set()

    @property
    def paused(self) -> bool:
        """Whether no step may begin."""
        return not self._go.is_set()

    def pause(self) -> None:
        """Let no step begin; returns once the one under way is done."""
        with self.lock:
            self._go.clear()

    def resume(self) -> None:
        """Let steps begin again."""
        self._go.set()

    def stop(self, reason: Stopped) -> None:
        """End the loop before its next step; the first reason given counts."""
        self.stop_reason = self.stop_reason or reason
        self._go.set()

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Hold the lock for one step, after any pause; gives False when the loop must end."""
        checkpoint()
        while True:
            with self.lock:
                if self.stop_reason is not None or self._go.is_set():
                    yield self.stop_reason is None
                    return
            began = time.perf_counter()
            # Short waits, so that a stop asked for in a signal handler (which must not take locks)
            # is seen while paused.
            while not self._go.wait(0.1) and self.stop_reason is None:
                continue
            self.paused_seconds += time.perf_counter() - began

    @contextmanager
    def deferred_interrupts(self) -> Iterator[None]:
        """Turn the first Ctrl-C of the block into a stop between two steps; a second one interrupts at once."""
        ours = threading.current_thread() is threading.main_thread()
        if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return

        def on_interrupt(number: int, frame: FrameType | None) -> None:
            if self.stop_reason is not None:
                signal.default_int_handler(number, frame)
            self.stop_reason = "interrupted"

        previous = signal.signal(signal.SIGINT, on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)


def claim(saes: Sequence[SparseAutoencoder]) -> None:
    """Mark SAEs as being trained."""
    ids = {id(sae) for sae in saes}
    if len(ids) < len(saes):
        raise ValueError(
            "`sae` must list different SAEs, got the same one twice. Train a copy: copy.deepcopy(sae)."
        )
    with _CLAIMS:
        if ids & _claimed:
            busy = next(sae for sae in saes if id(sae) in _claimed)
            raise RuntimeError(
                f"An SAE can be trained by one run at a time, and this {type(busy).__name__} is being "
                "trained already. Wait for that run (`run.wait()`) or end it (`run.stop()`)."
            )
        _claimed.update(ids)


def release(saes: Sequence[SparseAutoencoder]) -> None:
    """Take back `claim`."""
    with _CLAIMS:
        _claimed.difference_update(id(sae) for sae in saes)


# -------------------------------------------------------------------------------------------------
# A lock that is handed on in the order of asking.
#
# A thread that releases a `threading.Lock` and takes it again at once, as a training loop does
# between steps, can keep others waiting for minutes. Here a panel that asks gets the next turn.


class FairLock:
    """Re-entrant first-come, first-served lock, used in a `with` block."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._queue: deque[object] = deque()  # the head holds the lock
        self._owner: int | None = None
        self._depth = 0

    @property
    def locked(self) -> bool:
        """Whether a thread holds it."""
        return self._owner is not None

    def __enter__(self) -> FairLock:
        me, place = threading.get_ident(), object()
        with self._condition:
            if self._owner != me:
                self._queue.append(place)
                try:
                    while self._queue[0] is not place:
                        self._condition.wait()
                    self._owner = me
                except BaseException:
                    # Ctrl-C while waiting: leave the queue, or nobody behind would get a turn.
                    self._queue.remove(place)
                    self._condition.notify_all()
                    raise
            self._depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._condition:
            self._depth -= 1
            if self._depth == 0:
                self._owner = None
                self._queue.popleft()
                self._condition.notify_all()
