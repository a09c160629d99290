"""Work off the main thread in which the newest request wins and a stale answer is dropped."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

# plotly loads its parts, and sklearn loads its two versions, each in an order of its own: one on the main
# thread while the other is loaded by a panel's work, and Python ends one of the two imports as a deadlock.
import narwhals.stable  # noqa: F401

# plotly takes pandas as soon as it is listed among the loaded modules, also while a panel's work is loading it.
import pandas  # noqa: F401

from sae_nb.background import Task, checkpoint


@dataclass(frozen=True)
class Request:
    """One piece of work: what to compute, and whom to hand the answer or the error."""

    work: Callable[[], Any]
    done: Callable[[Any], None]
    failed: Callable[[Exception], None]
    channel: str
    ticket: int


class Background:
    """Runs requests channel by channel; a request not started when a newer one comes never starts.

    Answers are handed over on the thread of the event loop that was running when this object was
    made (a notebook's main thread), or on the worker thread where there is none. `wait` hands them
    over on the calling thread, so a notebook cell can wait for its own panel.
    """

    def __init__(self, busy_changed: Callable[[bool], None]) -> None:
        self._busy_changed = busy_changed
        self._loop = _running_loop()
        self._changed = threading.Condition(threading.RLock())
        self._telling = threading.RLock()
        self._newest: dict[str, int] = {}
        self._next: dict[str, Request] = {}
        self._running: set[str] = set()
        self._answers: deque[tuple[Request, Any, Exception | None]] = deque()
        self._open = 0
        self._closed = False

    def submit(
        self,
        work: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        channel: str = "main",
    ) -> None:
        """Ask for `work`; a request on the same channel that has not started is forgotten."""
        with self._changed:
            if self._closed:
                return
            ticket = self._newest.get(channel, 0) + 1
            self._newest[channel] = ticket
            self._open += channel not in self._next
            self._next[channel] = Request(work, done, failed, channel, ticket)
            start = channel not in self._running
            self._running.add(channel)
        self._tell_busy()
        if start:
            Task(channel, partial(self._run, channel))

    def forget(self, channel: str = "main") -> None:
        """Drop what was asked for on a channel: what has not started never starts, no answer is handed on."""
        with self._changed:
            self._newest[channel] = self._newest.get(channel, 0) + 1
            dropped = self._next.pop(channel, None) is not None
        if dropped:
            self._finish_one()

    def _run(self, channel: str) -> None:
        while True:
            with self._changed:
                request = self._next.pop(channel, None)
                if request is None or self._closed:
                    self._running.discard(channel)
                    return
            checkpoint()
            answer, error = _attempt(request.work)
            checkpoint()
            with self._changed:
                self._answers.append((request, answer, error))
                self._changed.notify_all()
            self._announce()

    def _announce(self) -> None:
        loop = self._loop
        if loop is not None and loop.is_running():
            loop.call_soon_threadsafe(self.deliver)
        else:
            self.deliver()

    def deliver(self) -> None:
        """Deliver every answer that is ready; answers that a newer request made stale are dropped."""
        while True:
            with self._changed:
                if not self._answers:
                    return
                request, answer, error = self._answers.popleft()
                stale = self._closed or request.ticket != self._newest[request.channel]
            try:
                if not stale and error is not None:
                    request.failed(error)
                elif not stale:
                    self._hand_over(request, answer)
            finally:
                self._finish_one()

    @staticmethod
    def _hand_over(request: Request, answer: object) -> None:
        try:
            request.done(answer)
        except Exception as error:  # noqa: BLE001 - becomes a sentence on screen and a traceback
            request.failed(error)

    def _finish_one(self) -> None:
        with self._changed:
            self._open -= 1
            idle = self._open == 0
            self._changed.notify_all()
        if idle:
            self._tell_busy()

    def _tell_busy(self) -> None:
        # One thread at a time and read anew: what is told last must be what is so.
        with self._telling:
            self._busy_changed(self._open > 0)

    def wait(self, timeout: float = 60.0, after: threading.RLock | None = None) -> None:
        """Return when nothing is asked for any more, handing answers over on this thread.

        `after`: a lock that is held while something new may be asked for.
        """
        longest = min(timeout, threading.TIMEOUT_MAX)
        ready = after is None or after.acquire(timeout=longest)
        if ready and after is not None:
            after.release()
        while ready:
            self.deliver()
            with self._changed:
                if self._open == 0 or self._closed:
                    return
                ready = self._changed.wait_for(
                    lambda: bool(self._answers) or self._open == 0, longest
                )
        raise TimeoutError(
            f"Work in the panel must end within {timeout:g} s, and it is still running. "
            "Call wait(timeout=…) with more time."
        )

    def close(self) -> None:
        """Forget what was asked for; answers still to come are dropped."""
        with self._changed:
            self._closed = True
            self._next.clear()
            self._answers.clear()
            self._open = 0
            self._changed.notify_all()


def _attempt(work: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001 - handed to the panel, which shows and logs it
        return None, error


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
