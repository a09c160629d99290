"""Whether training steps on a GPU may use bf16 products: one setting, for the thread that sets it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Precision = Literal["auto", "float32"]
"""`auto`: bf16 products where a measurement finds them faster; `float32`: never."""

_WANTED: ContextVar[Precision] = ContextVar("precision", default="auto")


@contextmanager
def precision(wanted: Precision) -> Iterator[None]:
    """Hold the precision of training steps for a while.

    Parameters
    ----------
    wanted
        Of the products of a training step. Parameters, sums and codes that people keep are in the
        precision of the SAE either way.

    Example
    -------
    >>> with precision("float32"):
    ...     is_exact()
    True
    >>> is_exact()
    False
    """
    before = _WANTED.set(wanted)
    try:
        yield
    finally:
        _WANTED.reset(before)


def is_exact() -> bool:
    """Whether a training step has to be computed in the precision of its parameters."""
    return _WANTED.get() == "float32"
