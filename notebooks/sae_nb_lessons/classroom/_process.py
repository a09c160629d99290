"""A process for a student's cells: begun and ended by the one who marks, asked by lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

KEPT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "PYTHONPATH", "VIRTUAL_ENV"),
    *("XDG_CACHE_HOME", "SAE_NB_CACHE", "HF_HOME", "HF_HUB_CACHE", "NUMBA_CACHE_DIR"),
)
"""Variables that the process sees, besides those of `SET`: no key, no token."""

SET = {
    "OMP_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "agg",
}
LONGEST_REPLY = 100_000_000
"""Bytes; the process of a longer reply is ended."""


class Ended(BaseException):
    """The process ended, or took too long and was ended; its text says which. No Exception, as `NotPlain`."""


class Process:
    """One child in an empty folder of its own, with no keys in its environment; ended with all that it began."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sae_nb_mark"))
        own = {"SAE_NB_COURSE": str(self._folder), "IPYTHONDIR": str(self._folder / ".ipython")}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "sae_nb_lessons.classroom._student"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            env={name: os.environ[name] for name in KEPT if name in os.environ} | SET | own,
            start_new_session=True,
        )
        self._replies: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, *request: Any, seconds: float) -> dict[str, Any]:
        """Return the reply to a request.

        Raises
        ------
        Ended
            If there is none in time, or none at all.
        """
        try:
            self._child.stdin.write(json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]
            self._child.stdin.flush()  # type: ignore[union-attr]
            line = self._replies.get(timeout=seconds)
        except queue.Empty:
            self.end()
            raise Ended(f"it had not ended after {seconds:.0f} s") from None
        except OSError:
            line = b""
        except BaseException:
            self.end()  # interrupted while it works: its next reply would be to this request
            raise
        try:
            reply = json.loads(line)
            if isinstance(reply, dict):
                return reply
        except ValueError:
            pass
        self.end()
        raise Ended("it ended the process that it ran in")

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._child.poll() is None

    def end(self) -> None:
        """End it with all that it began, and remove its folder."""
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._child.pid, signal.SIGKILL)
            else:
                self._child.kill()
        self._child.wait()
        self._reader.join()
        for pipe in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self) -> None:
        out = self._child.stdout
        while out is not None and (line := out.readline(LONGEST_REPLY)):
            self._replies.put(line)
        self._replies.put(b"")
