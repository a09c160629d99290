"""Player: calls a function at a steady pace in a thread of its own, until it says that it is done."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Player:
    """Calls `advance` every 1 / speed seconds; never behind, because it waits after each call.

    Parameters
    ----------
    advance
        Returns whether to go on; must not raise.
    speed
        Calls per second, read before each.

    Example
    -------
    >>> calls = []
    >>> player = Player(lambda: (calls.append(1), len(calls) < 3)[1], lambda: 1000.0)
    >>> player.start()
    >>> player.wait(5.0)
    >>> len(calls), player.alive
    (3, False)
    """

    def __init__(self, advance: Callable[[], bool], speed: Callable[[], float]) -> None:
        self._advance, self._speed = advance, speed
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin; a player that runs goes on as it is."""
        if self.alive and not self._ended.is_set():
            return
        # A thread that was told to end may still be in its last call: it keeps its own flag.
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._ended,), name="sae_nb player", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Make no further call; one under way is not waited for."""
        self._ended.set()

    def wait(self, timeout: float) -> None:
        """Return when its thread has ended, or after `timeout` seconds."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self, ended: threading.Event) -> None:
        while not ended.wait(1 / self._speed()):
            if not self._advance():
                return
