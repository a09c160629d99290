"""A limit on the time and the side effects of a student's function."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

SECONDS = 20.0
"""Longest that one call of a student's function may take."""

TRAINING = 120.0
"""Longest that one call may take which trains: seconds on an idle core, half a minute and more on a shared one."""

AGAIN = 1.0
"""Seconds after which a function that caught the interruption is interrupted again."""


class TooLong(BaseException):
    """Raised inside a function whose time is over; not an Exception, so that `except Exception` lets it pass."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `TooLong` in the block if it takes longer."""
    alarm = hasattr(signal, "setitimer")
    main = threading.current_thread() is threading.main_thread()
    with _by_alarm(seconds) if alarm and main else _by_thread(seconds):
        yield


@contextmanager
def _by_alarm(seconds: float) -> Iterator[None]:
    """Interrupt by a signal, which also ends a sleep; an alarm that was set before continues afterwards."""

    def ring(*_: object) -> None:
        raise TooLong

    handler, began = signal.signal(signal.SIGALRM, ring), time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler or signal.SIG_DFL)
        if left:
            left = max(left - (time.monotonic() - began), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval)


@contextmanager
def _by_thread(seconds: float) -> Iterator[None]:
    """Interrupt from another thread, where there is no alarm: on Windows, and outside the main thread."""
    done, thread = threading.Event(), threading.get_ident()

    def ring() -> None:
        wait = seconds
        while not done.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread), ctypes.py_object(TooLong)
            )
            wait = AGAIN

    watch = threading.Thread(target=ring, daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


@contextmanager
def torch_as_it_was() -> Iterator[None]:
    """Restore torch's random state, number type and gradient mode after the block."""
    kind, grads = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_default_dtype(kind)
        torch.set_grad_enabled(grads)


def copies(given: Sequence[Any]) -> list[Any]:
    """Copy the tensors and arrays of a call; None for everything else."""
    return [
        value.detach().clone()
        if isinstance(value, Tensor)
        else value.copy()
        if isinstance(value, np.ndarray)
        else None
        for value in given
    ]


def changed(given: Sequence[Any], before: Sequence[Any]) -> int | None:
    """Return the position of the first tensor or array that differs from its copy, or None."""
    for place, (value, kept) in enumerate(zip(given, before, strict=True)):
        if isinstance(value, Tensor):
            now = value.detach()
            if now.shape != kept.shape or not torch.equal(now.nan_to_num(), kept.nan_to_num()):
                return place
        elif isinstance(value, np.ndarray) and not np.array_equal(value, kept):
            return place
    return None
