"""Rewriting the tests' assertions once, where several processes collect the same files.

pytest rewrites a file when it is first imported and keeps the result in __pycache__. In a fresh clone
processes that start together would each rewrite all 600 files, which takes as long as collecting them.
Here each first rewrites its share, and finds those of the others when it collects.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def share(worker: int, of: int) -> list[Path]:
    """Return the files of one of several processes; together they have each file once."""
    files = [*HERE.rglob("test_*.py"), *HERE.rglob("conftest.py")]
    return sorted(files)[worker::of]


def rewrite(files: list[Path], config: pytest.Config) -> None:
    """Rewrite what pytest has not kept yet; what is out of date pytest itself replaces."""
    if sys.dont_write_bytecode:
        return
    try:
        from _pytest.assertion import rewrite as of_pytest

        state = config.stash[of_pytest.assertstate_key]
        for file in files:
            kept = of_pytest.get_cache_dir(file) / f"{file.stem}{of_pytest.PYC_TAIL}"
            if not kept.exists() and of_pytest.try_makedirs(kept.parent):
                source, code = of_pytest._rewrite_test(file, config)
                of_pytest._write_pyc(state, code, source, kept)
    except (ImportError, AttributeError, KeyError, TypeError, ValueError, SyntaxError, OSError):
        return  # another pytest, a broken test or a full disk: collection does it, or says why not
