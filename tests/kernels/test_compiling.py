"""Compiled loops on disk: two processes that compile at the same moment never mix their files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from sae_nb.kernels._compiling import compiled

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
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.total


def test_two_precisions_compiled_at_once_keep_their_files_apart(
    loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second process compiles float64 while the first, with float32, is about to write."""
    one: Any = compiled()
    first, second = one(loop), one(loop)
    singles, doubles = np.ones(3, np.float32), np.ones(4)
    # Numba's own index, as the second process read it before the first wrote.
    monkeypatch.setattr(second._cache._cache_file, "_load_index", dict)
    file = first._cache._cache_file
    write = file._save_data

    def written_between(name: str, data: Any) -> None:
        second(doubles)
        write(name, data)

    monkeypatch.setattr(file, "_save_data", written_between)
    assert first(singles) == 3
    later = one(loop)
    assert later(doubles) == 4
    assert later(singles) == 3
    assert not later.stats.cache_misses  # both were found on disk, each for its own arrays


def test_a_loop_is_compiled_once_and_found_again(loop: Any) -> None:
    """By a later process: nothing is compiled a second time."""
    one: Any = compiled()
    assert one(loop)(np.ones(2)) == 2
    again = one(loop)
    assert again(np.ones(5)) == 5
    assert not again.stats.cache_misses


def test_loops_compile_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder that cannot be made costs the cache, not the result."""
    real = numba.njit

    def no_folder(function: object, **options: object) -> object:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available for file")
        return real(function, **options)

    monkeypatch.setattr(numba, "njit", no_folder)
    assert compiled()(lambda a: a + 1)(2) == 3
