"""Work next to the main thread: it has a name, gives way when asked, and has ended before Python is
taken down.

A thread that is still inside torch while the interpreter goes away takes the process with it (code 134). So
every thread and process of the toolkit starts as a `Task`. When Python ends, however it came to that, each is
asked to stop and waited for; a step under way is done first.

A child that was forked has no tasks, and torch computes in it with one thread: OpenMP's threads are not forked,
and a second one would block forever.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from types import FrameType
from typing import Any, TypeVar

SILENT_SECONDS = 5.0
"""Seconds an ending process waits before it reports what it waits for."""

_tasks: dict[Task, None] = {}  # under way, in the order in which they began
_awaited: set[Future[Any]] = set()
"""Futures that a thread is waiting for."""

_here = threading.local()
_ending = False


Result = TypeVar("Result")


class GivenUp(BaseException):
    """Ends work that is no longer waited for; it passes through `except Exception`."""


class Task:
    """A thread that runs `work`, and all it takes to end it.

    Parameters
    ----------
    name
        Name of the thread; an ending process reports it while it waits.
    work
        The work; an error is printed as that of any thread.
    stop
        Function that asks it to end: harmless when called again or too late. Without one its work ends
        at the next `checkpoint` that it comes by once the process ends.

    Examples
    --------
    >>> seen = []
    >>> task = Task("counting", lambda: seen.append(1))
    >>> task.wait(), task.alive, seen
    (True, False, [1])
    """

    def __init__(
        self, name: str, work: Callable[[], None], stop: Callable[[], None] | None = None
    ) -> None:
        self.name, self._work, self._stop = f"sae_nb {name}", work, stop
        self._ended = threading.Event()
        _tasks[self] = None
        self._thread = threading.Thread(target=self._run, name=self.name)
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had
            del _tasks[self]
            raise

    def _run(self) -> None:
        _here.gives_way = self._stop is None
        try:
            with contextlib.suppress(GivenUp):  # the thread's own way out of an ending process
                self._work()
        finally:
            self._ended.set()
            _tasks.pop(self, None)

    @property
    def alive(self) -> bool:
        """Whether its work continues."""
        return not self._ended.is_set()

    def stop(self) -> None:
        """Request termination (non-blocking) if a stop function was given."""
        if self._stop is not None:
            self._stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Return whether it has ended, after `timeout` seconds at the latest; False at once in its own thread.

        Ctrl-C ends the waiting alone. (After a Ctrl-C in `Thread.join`, Python 3.11 takes the thread for
        ended.)
        """
        return self._thread is not threading.current_thread() and self._ended.wait(
            None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
        )


def checkpoint() -> None:
    """Mark a point between two steps of long work: here it ends in a process that is ending.

    Raises
    ------
    GivenUp: In the thread of a `Task` without a `stop` of its own, once the interpreter is ending.

    Examples
    --------
    >>> checkpoint()  # nothing happens as long as the process goes on
    """
    if _ending and getattr(_here, "gives_way", False):
        raise GivenUp


def result_of(future: Future[Result]) -> Result:
    """Return what a future comes to hold, without looking for it time and again.

    Examples
    --------
    >>> future = Future()
    >>> future.set_result(3)
    >>> result_of(future)
    3
    """
    _awaited.add(future)
    try:
        if _ending:
            future.cancel()
        return future.result()
    except CancelledError:
        raise GivenUp from None
    finally:
        _awaited.discard(future)


def _end_all() -> None:
    """Ask and wait until nothing is under way, also for what begins meanwhile."""
    global _ending
    _ending = True
    for future in list(_awaited):
        future.cancel()
    began, reported = time.monotonic(), False

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        if reported:
            os._exit(128 + signal.SIGINT)

    with _interrupts(on_interrupt):
        while _tasks:
            for task in list(_tasks):
                task.stop()
            for task in list(_tasks):
                task.wait(0.1)
            if not reported and time.monotonic() - began > SILENT_SECONDS:
                reported = True
                names = ", ".join(task.name for task in list(_tasks))
                sys.stderr.write(f"Waiting for a step of: {names}. Ctrl-C ends at once.\n")
    _remember_interrupt()


@contextlib.contextmanager
def _interrupts(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle Ctrl-C otherwise: a KeyboardInterrupt here would leave threads behind, in mid-step."""
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not raises or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _remember_interrupt() -> None:
    """Let a script that Ctrl-C ended end by SIGINT: Python forgets it (code 1) if a thread runs `exec` then."""
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1"):
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102


def _after_fork() -> None:
    _tasks.clear()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)  # as torch's own DataLoader does in its workers


# Before the threads are joined and before any `atexit`: what torch, Numba and ipykernel take down there is
# still there for a last step. By `atexit` too: a Ctrl-C just before the first can cost it.
# After `concurrent.futures`, whose threads share compiled loops: then this comes first.
importlib.import_module("concurrent.futures.thread")
threading._register_atexit(_end_all)  # type: ignore[attr-defined]
atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
