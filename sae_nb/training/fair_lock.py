"""A lock that is handed on in the order of asking.

A thread that releases a `threading.Lock` and takes it again at once, as a training loop does
between steps, can keep others waiting for minutes. Here a panel that asks gets the next turn.
"""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class FairLock:
    """Re-entrant first-come, first-served lock, used in a `with` block.

    Example
    -------
    >>> lock = FairLock()
    >>> with lock, lock:
    ...     lock.locked
    True
    """

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
