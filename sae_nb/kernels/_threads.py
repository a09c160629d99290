"""Compiled loops in several threads, and what a fork leaves of Numba's own, which UMAP uses.

Loops are shared by threads of Python: a loop that Numba makes parallel takes two to four times as long
to compile, and its threads spin for cores that torch's want.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cache
from itertools import pairwise

from sae_nb.background import checkpoint

_forked_from_openmp = False


def share(loop: Callable[..., object], n: int, *arguments: object) -> None:
    """Call loop(begin, end, *arguments) for parts of 0 … n, in as many threads as torch has.

    A loop lets go of the GIL, and writes only what belongs to its part. Threads that wait are asleep, so
    that they take nothing from other work on the machine. Between two calls, work that is no longer
    needed ends.
    """
    import torch

    checkpoint()
    parts = min(torch.get_num_threads(), n)
    if parts <= 1:
        loop(0, n, *arguments)
        return
    ends = [n * part // parts for part in range(parts + 1)]
    others = [
        _helpers().submit(copy_context().run, loop, begin, end, *arguments)
        for begin, end in pairwise(ends[1:])
    ]
    try:
        loop(0, ends[1], *arguments)
    finally:
        wait(others)  # they write to the same arrays
    for other in others:
        other.result()


@cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="compiled loops")


def check_not_forked() -> None:
    """Raise where a parallel Numba function would kill this process: in a fork of one that had run it."""
    if _forked_from_openmp:
        raise RuntimeError(
            "Compiled loops must run in a process that was started afresh, and this one was forked from "
            "one in which they had run: OpenMP's threads do not survive that. Start it by spawn: "
            'multiprocessing.get_context("spawn"), DataLoader(…, multiprocessing_context="spawn"), or '
            'joblib\'s default backend "loky".'
        )


def _after_fork() -> None:
    global _forked_from_openmp
    _helpers.cache_clear()  # threads do not come along
    _forked_from_openmp = _forked_from_openmp or ("numba" in sys.modules and _layer() == "omp")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _layer() -> str | None:
    import numba

    try:
        return str(numba.threading_layer())
    except ValueError:
        # Nothing parallel has run yet, so nothing has been chosen.
        return None
