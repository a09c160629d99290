"""A long day in one kernel leaves nothing behind: memory, threads, open files, widgets."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("long_use.py")
WARM = 4
"""Rounds until caches, pools and compiled code are there."""

MIB_A_ROUND = 3.0
"""Fifty rounds had no trend, but single ones vary by 11 MiB (standard deviation): the medians of six then
differ by less than 18 with room to spare. A panel forgotten in every round shows as widgets first."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_rounds_leave_nothing_behind() -> None:
    """Captures, trainings and five panels on two models, again and again."""
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--rounds", "16"]
    done = subprocess.run(command, env=one_thread, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    left = json.loads(done.stdout)[WARM:]
    for what in ("threads", "files", "widgets"):
        assert len({round_[what] for round_ in left}) == 1, (what, left)
    half = len(left) // 2
    early, late = ([r["mib"] for r in part] for part in (left[:half], left[half:]))
    growth = (statistics.median(late) - statistics.median(early)) / half
    assert growth < MIB_A_ROUND, left
