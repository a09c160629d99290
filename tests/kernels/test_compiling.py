"""Compiled loops on disk: two processes that compile at the same moment never mix their files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sae_nb.kernels import compiled

LOOP = """
def total(values):
    s = values[0]
    for v in values[1:]:
        s += v
    return s
"""


@pytest.fixture
def loop(tmp_path: Path) -> Any:
    """A function of a module of its own, whose compiled form is kept beside it."""
    (tmp_path / "loops.py").write_text(LOOP)
    spec = importlib.util.spec_from_file_location("loops", tmp_path / "loops.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.total


def test_two_precisions_compiled_at_once_keep_their_files_apart(
    loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process compiles float64 while the first, with float32, is between its two writes."""
    first, second = compiled()(loop), compiled()(loop)
    singles, doubles = np.ones(3, np.float32), np.ones(4)
    file, its_index = first._cache._cache_file, first._cache._cache_file._save_index
    monkeypatch.setattr(second._cache._cache_file, "_load_index", dict)  # read before the first wrote

    def written_by_both(overloads: dict[Any, str]) -> None:
        its_index(overloads)
        second(doubles)

    monkeypatch.setattr(file, "_save_index", written_by_both)
    assert first(singles) == 3
    later = compiled()(loop)
    assert later(doubles) == 4 and later(singles) == 3
    assert sum(later.stats.cache_hits.values()) >= 1  # one of the two was found on disk, and was right


def test_a_loop_is_compiled_once_and_found_again(loop: Any) -> None:
    """By a later process: nothing is compiled a second time."""
    assert compiled()(loop)(np.ones(2)) == 2
    again = compiled()(loop)
    assert again(np.ones(5)) == 5
    assert not again.stats.cache_misses
