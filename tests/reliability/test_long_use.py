"""A long day in one kernel leaves nothing behind: memory, threads, open files, widgets."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("long_use.py")
WARM = 4
"""Rounds until caches, pools and compiled code are there."""

MIB_A_ROUND = 0.5
"""Seventy rounds in one arena of memory grew by .008 MiB a round, readings .05 MiB from a line (standard
deviation). In an arena per thread nothing grew either, but readings were 9 MiB apart: which thread's arena
keeps its free pages is chance, so the day is lived in one."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_rounds_leave_nothing_behind() -> None:
    """Captures, trainings and five panels on two models, again and again."""
    steady = os.environ | {
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
    }
    command = [sys.executable, str(SCRIPT), "--rounds", "9"]
    done = subprocess.run(command, env=steady, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    left = json.loads(done.stdout)[WARM:]
    for what in ("threads", "files", "widgets"):
        assert len({round_[what] for round_ in left}) == 1, (what, left)
    half = len(left) // 2
    early, late = ([r["mib"] for r in part] for part in (left[:half], left[half:]))
    growth = (statistics.median(late) - statistics.median(early)) / half
    assert growth < MIB_A_ROUND, left
