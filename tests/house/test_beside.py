"""Whatever works beside the main thread starts as a Task, so that it has ended before Python is taken down."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rooms import PACKAGES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STARTS = re.compile(r"\b(?:Thread|Timer|Popen|\w+PoolExecutor|Process|Pool)\(|\batexit\.")
ALLOWED = {
    # the one place
    "sae_nb/background.py": {"Thread(", "atexit."},
    # a process, whose Task reads what it says; in that process, what ends it with its parent; and the end of
    # the one that waits for the next layout
    "sae_nb/geometry/_umap.py": {"Popen(", "Thread(", "atexit."},
    # a program that is scored: its Task reads what it writes, and both end with the task that it was given
    "sae_nb/serving/_bench_agents.py": {"Popen("},
    # the watch over a student's function: it is waited for before the block that started it ends
    "notebooks/sae_nb_lessons/exercises/_limits.py": {"Thread("},
}


def test_threads_and_processes_start_as_tasks() -> None:
    """One place starts them, and knows how to end them."""
    found: dict[str, set[str]] = {}
    for folder in PACKAGES.values():
        for file in (ROOT / folder).rglob("*.py"):
            if starts := set(STARTS.findall(file.read_text(encoding="utf-8"))):
                found[file.relative_to(ROOT).as_posix()] = starts
    assert found == ALLOWED
