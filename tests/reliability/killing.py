"""SIGKILL at drawn moments: works that are killed and started again until they are done.

Run `python tests/reliability/killing.py WORK KILLS FOLDER`; prints what was found as JSON. One process
imports torch and forks a child for each life: a start costs milliseconds in place of seconds.

The moments are, in turn: before a file operation and in the middle of a file's bytes, both drawn over the
operations of an unbroken run; and from outside, drawn over its duration.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# One thread, and a layer of Numba's that may be forked.
os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
os.environ["NUMBA_THREADING_LAYER"] = "workqueue"

LONGEST_LIFE_SECONDS = 60.0
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}
"""Audit events that count as moments; fsync, the writing itself and exchanged names are added."""


@dataclass(frozen=True)
class Work:
    """Something that writes to a folder and can be started again."""

    name: str

    run: Callable[[Path], Any]
    """Do it, or go on with it."""

    look: Callable[[Path], int]
    """Read the folder as a stranger would; raises if anything there is half-written. How far it is."""

    result: Callable[[Path], Any]
    """What counts at the end, to be compared with an unbroken run."""


@dataclass
class Found:
    """What a series of kills showed."""

    kills: int = 0
    """Lives ended by SIGKILL."""

    in_a_write: int = 0
    """Of these, in the middle of the bytes of a file."""

    by_clock: int = 0
    """Of these, from outside at a drawn time."""

    runs: int = 0
    """Runs that came to their end after kills, each compared with the unbroken one."""

    leftovers: int = 0
    """Temporary names seen right after a kill; the end is checked to have none."""

    wrong: list[str] = field(default_factory=list)
    """What should not be."""


def kill_series(work: Work, kills: int, folder: Path, seed: int = 0) -> Found:
    """Kill `work` that many times and compare every run that ends with an unbroken one."""
    draw = random.Random(f"{work.name} {seed}")
    moments, seconds = _unbroken(work, folder)
    expected = work.result(folder / "unbroken")
    found, run = Found(), folder / "run-0"
    while found.kills < kills:
        reached = _forked(work.look, run) if run.exists() else 0
        way = found.kills % 3
        if way < 2:
            ended = _live(work, run, draw.randrange(moments), middle=way == 1)
        else:
            ended = _live(work, run, after_seconds=draw.uniform(0, seconds))
        if ended == "done":
            run = _ended(work, run, expected, found)
            continue
        found.kills += 1
        found.in_a_write += ended == "in a write"
        found.by_clock += ended == "by the clock"
        found.leftovers += sum(one.name.startswith(".") for one in run.rglob("*"))
        now = _forked(work.look, run) if run.exists() else 0
        if isinstance(now, str) or isinstance(reached, str) or now < reached:
            found.wrong.append(f"kill {found.kills}: {reached} → {now}")
    if run.exists():
        _live(work, run)
        _ended(work, run, expected, found)
    return found


def _ended(work: Work, run: Path, expected: Any, found: Found) -> Path:
    found.runs += 1
    if work.result(run) != expected:
        found.wrong.append(f"run {found.runs} differs from the unbroken one")
    left = [one.name for one in run.rglob("*") if one.name.startswith(".")]
    if left or [one.name for one in run.parent.iterdir() if one.name.startswith(".")]:
        found.wrong.append(f"run {found.runs} left {left}")
    shutil.rmtree(run)
    return run.with_name(f"run-{found.runs}")


def _unbroken(work: Work, folder: Path) -> tuple[int, float]:
    """File operations and seconds of a run without a kill."""
    work.run(folder / "warm")  # what is imported on first use is then shared by the children
    counted = _forked(_count, work, folder / "unbroken")
    began = time.perf_counter()
    _live(work, folder / "timed")
    return int(counted), time.perf_counter() - began


def _count(work: Work, folder: Path) -> int:
    trap = _Trap(None)
    work.run(folder)
    return trap.seen


def _live(
    work: Work,
    folder: Path,
    moment: int | None = None,
    *,
    middle: bool = False,
    after_seconds: float | None = None,
) -> str:
    """One life: until it is done, its own moment comes, or its time is over."""
    child = os.fork()
    if child == 0:
        _die_with_a_word(lambda: _begin(work, folder, moment, middle=middle))
    end = time.monotonic() + (LONGEST_LIFE_SECONDS if after_seconds is None else after_seconds)
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.0005)
    struck = ended[0] == 0
    if struck:
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    if os.WIFEXITED(ended[1]):
        if os.WEXITSTATUS(ended[1]):
            raise RuntimeError(f"{work.name} failed in {folder.name}")
        return "done"
    if struck:
        if after_seconds is None:
            raise RuntimeError(f"{work.name} hangs in {folder.name}")
        return "by the clock"
    return "in a write" if middle else "before an operation"


def _begin(work: Work, folder: Path, moment: int | None, *, middle: bool) -> None:
    if moment is not None:
        _Trap(moment, middle=middle)
    work.run(folder)


def _forked(call: Callable[..., int], *arguments: Any) -> Any:
    """What `call` gives in a child, or how it failed, in words."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            told: Any = call(*arguments)
        except Exception as error:  # noqa: BLE001 - told to the parent
            told = f"{type(error).__name__}: {error}"
        os.write(write, json.dumps(told).encode()[:4096])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = json.loads(pipe.read())
    os.waitpid(child, 0)
    return told


def _die_with_a_word(call: Callable[[], None]) -> None:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - a child must not go on as its parent
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


class _Trap:
    """Counts file operations in this process, and kills it at one of them."""

    def __init__(self, moment: int | None, *, middle: bool = False) -> None:
        self.seen, self.moment, self.middle = 0, moment, middle
        self.is_quiet = False
        sys.addaudithook(self._audit)
        for place, name in ((os, "fsync"), (Path, "write_bytes")):
            self._watch(place, name)
        from sae_nb.files import _exchange as swapping

        self._watch(swapping, "_exchange")

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in OPERATIONS and not (event == "open" and _only_reads(arguments)):
            self._moment()

    def _watch(self, place: Any, name: str) -> None:
        original = getattr(place, name)

        def watched(*arguments: Any) -> Any:
            if name == "write_bytes" and self.middle and self._is_due(within=6):
                # Dies in the middle of the bytes of the next file that is written.
                with arguments[0].open("wb") as file:
                    file.write(arguments[1][: max(1, len(arguments[1]) // 2)])
                os.kill(os.getpid(), signal.SIGKILL)
            self._moment()
            return original(*arguments)

        setattr(place, name, watched)

    def _moment(self) -> None:
        if not self.middle and self._is_due(within=0):
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += 1

    def _is_due(self, *, within: int) -> bool:
        return self.moment is not None and self.seen + within >= self.moment


def _only_reads(arguments: tuple[Any, ...]) -> bool:
    mode, flags = arguments[1], arguments[2]
    if isinstance(mode, str):
        return not set(mode) & set("wax+")
    return not flags & (os.O_WRONLY | os.O_RDWR)


def main() -> None:
    """Kill one work and print what was found."""
    sys.path.append(str(Path(__file__).parents[2]))
    from killed_works import WORKS

    name, kills, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    began = time.perf_counter()
    found = kill_series(WORKS[name], kills, folder)
    print(json.dumps(vars(found) | {"seconds": round(time.perf_counter() - began, 1)}))


if __name__ == "__main__":
    main()
