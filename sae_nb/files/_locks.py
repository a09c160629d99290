"""One writer at a time: locks on folders and files that end with the process that holds them.

The system gives them back when a process dies, so a kill leaves no stale lock, and nothing is written
that would have to be tidied. Windows locks no folders, and some network drives know no locks: there the
last writer wins, with whole files. The `filelock` package cannot do this: it opens its lock for
writing, which a folder refuses, and a lock file next to the folder would neither move with it when two
folders change places nor be gone after a kill.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sae_nb.files._exchange import named_write_errors


class Lock:
    """A file or folder that is held until `release`, or until the lock is garbage collected."""

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        self._handle: int | None = None
        if os.name == "nt":
            return
        import fcntl

        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            raise
        except OSError:
            # A drive without locks.
            os.close(handle)
            return
        self._handle = handle
        self._close = weakref.finalize(self, os.close, handle)

    @property
    def is_held(self) -> bool:
        """Whether the system knows of the lock; false on systems and drives without locks."""
        return self._handle is not None

    def holds(self, path: Path) -> bool:
        """Return whether the held file still has that name."""
        if self._handle is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._handle), path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let go; a second time does nothing."""
        if self._handle is not None:
            self._close()
            self._handle = None


def hold_folder(folder: Path, refusal: str) -> Lock:
    """Hold a folder for one writer, making it where it is missing; `refusal` is what others are told."""
    with named_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        return Lock(folder)
    except BlockingIOError:
        raise ValueError(refusal) from None


@contextmanager
def holding_folder(
    folder: Path, refusal: str | None = None, *, on_wait: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold a folder for the block; waits for its present holder, and says so by `on_wait`, if there is no
    `refusal`.
    """
    if refusal is None:
        lock = _wait_for(folder, on_wait)
    else:
        lock = hold_folder(folder, refusal)
    try:
        yield
    finally:
        lock.release()


def _wait_for(folder: Path, on_wait: Callable[[], None] | None = None) -> Lock:
    wait = False
    while True:
        with named_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = Lock(folder, wait=wait)
        except BlockingIOError:
            wait = True
            if on_wait is not None:
                on_wait()
            continue
        except FileNotFoundError:
            continue
        # Whoever held it may have put another folder in its place: that one counts now.
        if not lock.is_held or lock.holds(folder):
            return lock
        lock.release()
