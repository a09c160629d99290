"""How other threads and Ctrl-C steer a training loop: always between two steps, never inside one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from sae_nb.training.fair_lock import FairLock
from sae_nb.training.records import Stopped

if TYPE_CHECKING:
    from sae_nb.architectures.base import SparseAutoencoder

_CLAIMS = threading.Lock()
_claimed: set[int] = set()  # ids of SAEs in training; their loops keep them alive


class Control:
    """Pause, resume and stop for one training loop, which takes a `turn` for every step."""

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
def deferred_interrupts(control: Control) -> Iterator[None]:
    """Turn the first Ctrl-C into a stop between two steps; a second one interrupts at once.

    Parameters
    ----------
    control
        Of the loop in this block. Outside the main thread, or under a signal handler of the user's
        own, nothing is changed.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if control.stop_reason is not None:
            signal.default_int_handler(number, frame)
        control.stop_reason = "interrupted"

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def claim(saes: Sequence[SparseAutoencoder]) -> None:
    """Mark SAEs as being trained.

    Raises
    ------
    ValueError
        If one is listed twice.
    RuntimeError
        If one is being trained already.
    """
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
