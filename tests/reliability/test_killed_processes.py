"""Captures, trainings, saves and sites that are killed again and again end as if nothing had been.

`SAE_NB_KILLS=50 pytest tests/reliability/test_killed_processes.py` kills each that often; the default is 10.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

KILLS = int(os.environ.get("SAE_NB_KILLS", "10"))
SCRIPT = Path(__file__).with_name("killing.py")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


def series(work: str, folder: Path) -> dict[str, Any]:
    """What a series of kills showed."""
    command = [sys.executable, str(SCRIPT), work, str(KILLS), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.timeout(60 + 60 * KILLS)
@pytest.mark.parametrize("work", ["capture", "training", "saving", "site"])
def test_killed_at_drawn_moments_it_ends_the_same(work: str, tmp_path: Path) -> None:
    """After each kill a reader finds whole things or none, and never less than before; the next start goes
    on; every run that ends is equal to an unbroken one byte for byte, with nothing temporary left."""
    found = series(work, tmp_path)
    assert found["wrong"] == []
    assert found["kills"] == KILLS
    assert min(found["in_a_write"], found["by_clock"], found["runs"], found["leftovers"]) > 0
    print(found)
