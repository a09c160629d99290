"""No network and little memory: what the visitors of `binder_load.py` are confined to, and watched by."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

GROUPS = Path("/sys/fs/cgroup")
MIB = 2**20
OUTSIDE = ("192.0.2.1", 80)
"""An address that nobody has (RFC 5737): with a network, asking for it times out or is refused by a router;
without one, there is no way to it."""


def without_network() -> list[str] | None:
    """A command prefix that puts what follows into a network of its own; None where that is not allowed."""
    for prefix in (["unshare", "-n"], ["unshare", "-r", "-n"]):
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
                return prefix
    return None


def loopback_up() -> None:
    """Switch the loopback interface on: a new network has it, but down."""
    with socket.socket() as s:
        flags = struct.pack("16sH14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(s, 0x8914, flags)  # SIOCSIFFLAGS


def network() -> str:
    """Whether there is a way out, found by trying."""
    with socket.socket() as s:
        s.settimeout(2)
        try:
            s.connect(OUTSIDE)
        except TimeoutError:
            return "there is one"
        except OSError as error:
            return f"none but loopback ({error.strerror})"
    return "there is one"


def limiter() -> str:
    """What holds a visitor to the limit."""
    with group(MIB) as made:
        if made is None:
            return "watching resident memory, with a kill above it"
        return f"a control group ({'v1' if (made / 'memory.limit_in_bytes').is_file() else 'v2'})"


@contextlib.contextmanager
def group(limit: int) -> Iterator[Path | None]:
    """A memory control group of its own, removed afterwards; None where none can be made."""
    parent = GROUPS / "memory" if (GROUPS / "memory").is_dir() else GROUPS
    made = parent / f"binder_load_{os.getpid()}"
    name = "memory.limit_in_bytes" if parent != GROUPS else "memory.max"
    try:
        made.mkdir()
        (made / name).write_text(str(limit))
    except OSError:
        with contextlib.suppress(OSError):
            made.rmdir()
        yield None
        return
    try:
        yield made
    finally:
        until(lambda: not members(made), 10)
        with contextlib.suppress(OSError):
            made.rmdir()


def members(made: Path) -> list[int]:
    """Processes of a control group."""
    return [int(line) for line in (made / "cgroup.procs").read_text().split()]


def highest(made: Path) -> tuple[float, int]:
    """MiB charged to a control group at its peak, and how often the limit was reached."""
    if (made / "memory.max_usage_in_bytes").is_file():
        count = int((made / "memory.failcnt").read_text())
        return int((made / "memory.max_usage_in_bytes").read_text()) / MIB, count
    events = dict(line.split() for line in (made / "memory.events").read_text().splitlines())
    return int((made / "memory.peak").read_text()) / MIB, int(events["max"])


class Watch(threading.Thread):
    """Adds up resident memory and processor seconds of a process and all it started, five times a second."""

    def __init__(self, pid: int, limit: int | None) -> None:
        super().__init__(daemon=True)
        self.pid, self.limit, self.peak, self.stopped = pid, limit, 0, threading.Event()
        self.seen: set[Any] = set()
        self.seconds: dict[Any, float] = {}

    def run(self) -> None:
        """Until told to stop; kills above the limit where no control group does."""
        while not self.stopped.wait(0.2):
            now = sum(self._resident(process) for process in self._all())
            self.peak = max(self.peak, now)
            if self.limit is not None and now > self.limit:
                os.killpg(self.pid, signal.SIGKILL)

    def _all(self) -> set[Any]:
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.pid)
            self.seen |= {top, *top.children(recursive=True)}
        return self.seen

    def _resident(self, process: Any) -> int:
        import psutil

        try:
            self.seconds[process] = sum(process.cpu_times()[:2])  # as user and as system
            return int(process.memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def left(self) -> list[Any]:
        """Those that still run; processes that ended and were replaced are not taken for them."""
        import psutil

        return [p for p in self.seen if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def until(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds, at most so long; return whether it does."""
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return held
