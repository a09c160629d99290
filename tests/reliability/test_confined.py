"""A day's work writes only where it was told to, listens to nobody, asks nobody, and tells nothing of the
machine, its user or its environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from confined import PLANTED

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

ELSEWHERE = {
    "__pycache__": "compiled kernels, which Numba keeps beside their source so that the next start is quick",
    "null": "the null device",
}
"""Names outside the folder and the temporary folder that may be written to, and why."""

LEFT_BEHIND = {"torchinductor_": "an empty folder that torch makes when an optimiser is first used"}
"""What may be left in the temporary folder, and by whom."""


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a day's work did, in a process with odd names all around it."""
    place = tmp_path_factory.mktemp(f"{PLANTED}-place")
    folders = {name: place / name for name in ("home", "temporary", "work", "given")}
    for folder in folders.values():
        folder.mkdir()
    names = ("USER", "LOGNAME", "USERNAME", "HOSTNAME", "API_TOKEN")
    odd = {name: f"{PLANTED}-{name.lower()}" for name in names}
    more = {"HOME": str(folders["home"]), "TMPDIR": str(folders["temporary"])}
    more |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    # What torch set in this process, should it have compiled something, is no wish of a user's.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TORCH")}
    script = Path(__file__).with_name("confined.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folders["given"])],
        env=ours | odd | more,
        cwd=folders["work"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]) | folders | {"place": place}


def contents(folder: Path) -> list[Path]:
    """Every file and folder in it."""
    return sorted(folder.rglob("*"))


def test_nothing_is_written_elsewhere(day: dict[str, Any]) -> None:
    """Not at home, not in the working folder; temporary files are gone; what is beside is listed here."""
    allowed = [os.path.realpath(day[name]) for name in ("given", "temporary")]
    assert any(path.startswith(allowed[0]) for path in day["written"])
    others = [
        path
        for path in day["written"]
        if not any(path == one or path.startswith(one + os.sep) for one in allowed)
        and not set(Path(path).parts) & set(ELSEWHERE)
    ]
    assert others == []
    assert contents(day["home"]) == contents(day["work"]) == []
    left = [
        one
        for one in contents(day["temporary"])
        if not one.name.startswith(tuple(LEFT_BEHIND)) or contents(one)
    ]
    assert left == []
    assert [one for one in contents(day["given"]) if one.name.startswith(".")] == []


def test_nobody_is_listened_to_or_asked(day: dict[str, Any]) -> None:
    """No socket is bound, and none connects; not even on loopback."""
    assert day["bound"] == []
    assert day["connected"] == []


def test_no_file_tells_of_the_machine(day: dict[str, Any]) -> None:
    """No byte of what was saved holds a value of the environment, a host or user name, or a path."""
    files = [one for one in contents(day["given"]) if one.is_file()]
    kinds = {one.suffix for one in files}
    assert kinds >= {".json", ".safetensors", ".html"}
    words = [PLANTED.encode(), str(day["place"]).encode(), str(ROOT).encode(), sys.prefix.encode()]
    told = [
        f"{one.relative_to(day['given'])}: {word.decode()}"
        for one in files
        for word in words
        if word in one.read_bytes()
    ]
    assert told == []
