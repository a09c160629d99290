"""A training in a thread: what every handle to one can do, whatever is trained."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from sae_nb.training.listeners import as_list

if TYPE_CHECKING:
    from sae_nb.progress import Listener
    from sae_nb.training.control import Control
    from sae_nb.training.fair_lock import FairLock
    from sae_nb.training.records import Change

State = Literal["running", "paused", "stopping", "done", "failed"]

EXIT_PATIENCE_SECONDS = 5.0
"""How long a leaving interpreter waits for the step under way: a daemon thread that is still inside
torch when the interpreter is taken down can crash it."""


class Loop(Protocol):
    """A training that takes a turn of its control for every step."""

    control: Control
    listeners: list[Listener]
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

    Parameters
    ----------
    training
        Prepared, not begun.
    name
        Of what is trained, for the thread and the log.
    progress
        Whether a bar is shown.
    """

    def __init__(self, training: LoopT, *, name: str, progress: bool = False) -> None:
        self._training, self._name = training, name
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._work, args=(progress,), name=f"sae_nb {name}", daemon=True
        )
        self._thread.start()
        _runs.add(self)

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
        """What `wait` returns."""

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
        """What it is doing: running, paused, stopping, done, or failed."""
        if not self._thread.is_alive():
            return "failed" if self._error is not None else "done"
        if self._training.control.stop_reason is not None:
            return "stopping"
        return "paused" if self._training.control.paused else "running"

    @property
    def error(self) -> BaseException | None:
        """What ended a failed run."""
        return self._error

    def pause(self) -> None:
        """Let no further step begin; returns when the one under way is done."""
        self._training.control.pause()

    def resume(self) -> None:
        """Go on after a pause."""
        self._training.control.resume()

    def stop(self) -> None:
        """End after the step under way; `wait` then gives the result."""
        self._training.control.stop("stopped")

    def set(self, **numbers: float) -> None:
        """Change numbers from the next step on: those that `live()` names.

        Parameters
        ----------
        numbers
            Names and values.

        Raises
        ------
        TypeError, ValueError
            If a value is impossible or there is no such number; then nothing is changed.
        RuntimeError
            If the training has ended.
        """
        if self.state in ("done", "failed"):
            raise RuntimeError(
                f"Numbers can be changed while a training runs, but this one is {self.state}. Start "
                "another with the new values in its config."
            )
        self._training.set(**numbers)

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with every record from now on, in the training thread.

        Raises
        ------
        TypeError
            If it cannot be called.
        """
        self._training.listeners += as_list([listener])

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling a listener; nothing happens when it is not called any more."""
        if listener in self._training.listeners:
            self._training.listeners.remove(listener)

    def wait(self, timeout: float | None = None) -> ResultT:
        """Wait for the end and return the result; Ctrl-C ends the waiting, not the training.

        Parameters
        ----------
        timeout
            Seconds; None waits as long as it takes.

        Raises
        ------
        TimeoutError
            If it is not done by then; the training goes on.
        BaseException
            Whatever ended a failed run.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(
                f"The training is still {self.state} at step {self.step} of "
                f"{self._training.config.steps} after {timeout} s. Wait longer, or end it with "
                "`run.stop()`."
            )
        if self._error is not None:
            raise self._error
        return self._result()


_log = logging.getLogger(__name__)
_runs: weakref.WeakSet[BackgroundRun[Any, Any]] = weakref.WeakSet()


@atexit.register
def _end_runs() -> None:
    runs = [run for run in _runs if run._thread.is_alive()]
    for run in runs:
        run.stop()
    for run in runs:
        run._thread.join(EXIT_PATIENCE_SECONDS)
