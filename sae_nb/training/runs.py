"""Training in a thread: look at it, tune it, pause it and stop it while the notebook stays free."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from sae_nb.progress import Listener
from sae_nb.training.config import TrainConfig
from sae_nb.training.control import release
from sae_nb.training.listeners import Listeners, as_list
from sae_nb.training.loop import Training

if TYPE_CHECKING:
    from jaxtyping import Float

    from sae_nb.activations import ActivationSource
    from sae_nb.architectures.base import SparseAutoencoder
    from sae_nb.training.fair_lock import FairLock
    from sae_nb.training.records import Change, History, TrainRecord, TrainResult

State = Literal["running", "paused", "stopping", "done", "failed"]

EXIT_PATIENCE_SECONDS = 5.0
"""How long a leaving interpreter waits for the step under way: a daemon thread that is still inside
torch when the interpreter is taken down can crash it."""


def start_training(
    sae: SparseAutoencoder | Sequence[SparseAutoencoder],
    data: ActivationSource | Tensor,
    config: TrainConfig | None = None,
    *,
    listeners: Listeners = None,
    progress: bool = False,
    resume: bool = True,
) -> TrainingRun:
    """Train in a thread and return at once.

    Parameters
    ----------
    sae, data, config, resume
        As for `train`; whatever is wrong with them is raised here, before the thread starts.
    listeners
        Called with every `TrainRecord`, in the thread.
    progress
        Whether a bar is shown too.

    Returns
    -------
    TrainingRun
        The handle. The thread does not keep the interpreter alive.

    Raises
    ------
    TypeError, ValueError
        As for `train`.
    RuntimeError
        If an SAE is being trained already.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> run = start_training(sn.TopK(d_in=8, n_atoms=16, k=2), x, TrainConfig(steps=20))
    >>> run.wait(60).steps, run.state
    (20, 'done')
    """
    training = Training(sae, data, config or TrainConfig(), listeners=listeners, resume=resume)
    return TrainingRun(training, several=isinstance(sae, Sequence), progress=progress)


class TrainingRun:
    """A training in a thread, made by `start_training`; every method may be called from any thread.

    `set(learning_rate=v)` replaces the peak of the schedule: from the next step on the learning
    rate is v times the share that warm-up or decay leave of it, so between the two it is v itself.
    Other live numbers (a sparsity weight, k) are those the SAE names. Every change is kept in
    `.changes`, shows in the records, and is part of the checkpoints.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> run = start_training(sn.TopK(d_in=8, n_atoms=16, k=2), x, TrainConfig(steps=10**6))
    >>> run.pause()
    >>> run.set(learning_rate=0.002)
    >>> run.state, run.live()["learning_rate"], run.snapshot().training
    ('paused', 0.002, False)
    >>> run.stop()
    >>> run.wait(60).stopped
    'stopped'
    """

    def __init__(self, training: Training, *, several: bool, progress: bool) -> None:
        self._training, self._several = training, several
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._work, args=(progress,), name="sae_nb training", daemon=True
        )
        try:
            self._thread.start()
        except BaseException:
            release(training.saes)
            raise
        _runs.add(self)

    def _work(self, progress: bool) -> None:
        try:
            self._training.run(progress=progress)
        except BaseException as error:  # noqa: BLE001 - raised again by `wait`
            self._error = error
            # Said here too: nobody may be waiting.
            _log.error("Training failed at step %d: %s", self._training.step + 1, error)

    @property
    def sae(self) -> SparseAutoencoder | list[SparseAutoencoder]:
        """What was passed. While it trains its weights change under you: see `snapshot`."""
        return list(self._training.saes) if self._several else self._training.saes[0]

    @property
    def config(self) -> TrainConfig:
        """The settings."""
        return self._training.config

    @property
    def lock(self) -> FairLock:
        """Held during every step, handed on in turn; `with run.lock:` sits between two steps."""
        return self._training.control.lock

    @property
    def records(self) -> list[TrainRecord]:
        """Every record so far: a live list that only grows, SAE after SAE within a step."""
        return self._training.records

    @property
    def histories(self) -> list[History]:
        """Records by SAE: one live list each."""
        return [learner.history for learner in self._training.learners]

    @property
    def changes(self) -> tuple[Change, ...]:
        """Numbers changed while it ran."""
        return tuple(self._training.changes)

    def live(self, index: int = 0) -> dict[str, float]:
        """Numbers that `set` can change, as they are now: the peak learning rate and the SAE's own.

        Parameters
        ----------
        index
            Which of several SAEs.
        """
        return self._training.learners[index].live()

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
        """Change numbers from the next step on: `learning_rate`, and those the SAE names.

        Parameters
        ----------
        numbers
            Names and values. With several SAEs they apply to all of them.

        Raises
        ------
        TypeError, ValueError
            If a value is impossible or the SAE has no such number; then nothing is changed.
        RuntimeError
            If the training has ended.
        """
        if self.state in ("done", "failed"):
            raise RuntimeError(
                f"Numbers can be changed while a training runs, but this one is {self.state}. Start "
                "another with the new values in its config."
            )
        self._training.set(**numbers)

    def snapshot(self, index: int = 0) -> SparseAutoencoder:
        """Copy of an SAE with the weights between two steps, in eval mode: safe to encode with.

        Parameters
        ----------
        index
            Which of several SAEs.
        """
        with self.lock:
            copy = deepcopy(self._training.saes[index])
        return copy.eval()

    def frequency(self, index: int = 0) -> Float[Tensor, " n_atoms"]:
        """Share of recent rows on which each atom fired, counted while training.

        Parameters
        ----------
        index
            Which of several SAEs.
        """
        with self.lock:
            return self._training.learners[index].dead.frequency

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

    def wait(self, timeout: float | None = None) -> TrainResult | list[TrainResult]:
        """Wait for the end and return the result; Ctrl-C ends the waiting, not the training.

        Parameters
        ----------
        timeout
            Seconds; None waits as long as it takes.

        Returns
        -------
        TrainResult
            As of `train`; a list for a list of SAEs.

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
                f"The training is still {self.state} at step {self.step} of {self.config.steps} "
                f"after {timeout} s. Wait longer, or end it with `run.stop()`."
            )
        if self._error is not None:
            raise self._error
        results = self._training.results()
        return results if self._several else results[0]

    def __repr__(self) -> str:
        names = ", ".join(type(sae).__name__ for sae in self._training.saes)
        return f"TrainingRun({names}, {self.state}, step {self.step} of {self.config.steps})"


_log = logging.getLogger(__name__)
_runs: weakref.WeakSet[TrainingRun] = weakref.WeakSet()


@atexit.register
def _end_runs() -> None:
    runs = [run for run in _runs if run._thread.is_alive()]
    for run in runs:
        run.stop()
    for run in runs:
        run._thread.join(EXIT_PATIENCE_SECONDS)
