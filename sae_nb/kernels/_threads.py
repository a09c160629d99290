"""Sharing of the machine by compiled loops: one lock, one thread count.

Numba's `workqueue` layer ends the process when two Python threads enter parallel loops together;
`omp` and `tbb` do not. Training in one thread while a panel encodes in another is our normal case.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sae_nb.background import checkpoint

_LOCK = threading.RLock()
_SAFE_LAYERS = ("omp", "tbb")
_forked_from_openmp = False


@contextmanager
def numba_lock() -> Iterator[None]:
    """Hold while a parallel Numba function runs: at most one at a time in the process.

    No lock is taken once Numba has chosen a threading layer that is safe to enter twice. Before the
    first parallel call the layer is not known, so the lock is taken.

    Example
    -------
    >>> with numba_lock():
    ...     pass
    """
    if _layer() in _SAFE_LAYERS:
        yield
        return
    with _LOCK:
        yield


@contextmanager
def parallel() -> Iterator[None]:
    """Hold the lock and give Numba as many threads as torch has.

    So `torch.set_num_threads` and OMP_NUM_THREADS govern both, and the caller's own setting of Numba's
    threads is put back. Between two launches, work that is no longer needed ends.

    Raises
    ------
    RuntimeError: In a process forked from one in which OpenMP's threads had been started: Numba would
        kill it.
    """
    import numba
    import torch

    checkpoint()
    check_not_forked()
    # torch first: asking Numba may already launch its threads.
    threads, before = torch.get_num_threads(), numba.get_num_threads()
    with numba_lock():
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        try:
            yield
        finally:
            numba.set_num_threads(before)
            # Where torch and Numba share one OpenMP runtime (Linux), Numba's first launch sets the
            # thread count of both to the number of cores.
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)


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
