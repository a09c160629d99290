"""Compiling of loops: without the GIL, and kept on disk where a folder can be written."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile
from numba.extending import intrinsic

_may_compile = ContextVar("may_compile", default=True)


class NotCompiledError(RuntimeError):
    """A loop is not on disk, and nothing is to be compiled now."""


@contextmanager
def without_compiling() -> Iterator[None]:
    """Run loops that are kept on disk; one that would have to be compiled raises `NotCompiledError`.

    Where no folder can be written nothing is kept, and loops are compiled all the same.
    """
    before = _may_compile.set(False)
    try:
        yield
    finally:
        _may_compile.reset(before)


class _OneFileEach(IndexDataCacheFile):
    """A folder of compiled loops that several processes may fill at once.

    Numba numbers its files by counting those in an index, and writes the index first: two processes that
    compile one loop for float32 and float64 at the same moment both choose number 1, and from then on
    every process loads one precision's code for the other's arrays. Here there is no index: a file's name
    follows from what it holds, and it gets that name when it is whole.
    """

    def save(self, key: object, data: object) -> None:
        """Write one compiled loop."""
        self._save_data(self._named(key), data)

    def load(self, key: object) -> Any:
        """Return a compiled loop; None where it is not kept."""
        try:
            return self._load_data(self._named(key))
        except OSError:
            if _may_compile.get():
                return None
            raise NotCompiledError(self._index_name) from None

    def _named(self, key: object) -> str:
        """Of the types and the code, of the file that the loop is in, and of Numba."""
        seen = repr((numba.__version__, self._source_stamp, key)).encode()
        return self._index_name.replace(".nbi", f".{hashlib.sha256(seen).hexdigest()[:16]}.nbc")


def compiled(
    *, inner: bool = False, **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a loop with Numba, without the GIL, kept on disk where a folder can be written.

    An `inner` one is called by other loops alone. Each way in that nothing uses, from Python or from C,
    would take a third of the time of a small loop.
    """
    ways = {"nogil": True, "no_cfunc_wrapper": True, "no_cpython_wrapper": inner, **options}

    def compile_it(function: Callable[..., Any]) -> Callable[..., Any]:
        # Where run-time type checks are switched on for the package, loops arrive wrapped.
        function = inspect.unwrap(function)
        try:
            loop = numba.njit(function, cache=True, **ways)
        except RuntimeError:
            # Neither __pycache__ nor the user's cache folder can be written (a read-only image):
            # compile in every process instead.
            return numba.njit(function, **ways)
        cache = getattr(loop, "_cache", None)  # none where NUMBA_DISABLE_JIT is set
        if cache is not None:
            kept = cache._impl
            cache._cache_file = _OneFileEach(
                cache.cache_path, kept.filename_base, kept.locator.get_source_stamp()
            )
        return loop

    return compile_it


@intrinsic
def larger(_typing: object, a: Any, b: object) -> tuple[object, Callable[..., Any]] | None:
    """Return the larger of two finite numbers, in a loop that is to use vector registers.

    LLVM vectorises a running maximum only where the selection itself promises that there is no NaN, which
    `fastmath` does not reach: Numba's `max` compares under the promise and selects without it.
    """

    def generate(
        _context: object, builder: Any, _signature: object, arguments: list[object]
    ) -> object:
        promise = ("nnan", "nsz")
        above = builder.fcmp_ordered(">", *arguments, flags=promise)
        return builder.select(above, *arguments, flags=promise)

    return (a(a, a), generate) if a == b else None
