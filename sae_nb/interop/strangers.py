"""Strangers: a reader of another library's files meets whatever is in them with a named error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

UNLIKE = (KeyError, AttributeError, TypeError, IndexError, RuntimeError, ArithmeticError)
"""What comes of a value of another kind, shape or size than the library writes."""


def named_errors(read: Callable[P, R]) -> Callable[P, R]:
    """A reader whose errors all name the file: what it did not foresee becomes a ValueError.

    Parameters
    ----------
    read
        Takes a path first. What it raises by itself, with a rule, is left as it is.

    Example
    -------
    >>> @named_errors
    ... def read_width(path):
    ...     return {"d_in": 4}["d_sae"]
    >>> try:
    ...     read_width("some/folder")
    ... except ValueError as error:
    ...     print(str(error)[:60])
    'some/folder' must hold an SAE as its library writes it, and
    """

    @functools.wraps(read)
    def named(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(*args, **kwargs)
        except UNLIKE as error:
            path = args[0] if args else next(iter(kwargs.values()), None)
            raise ValueError(
                f"{str(path)!r} must hold an SAE as its library writes it, and does not "
                f"({type(error).__name__}: {error}). It may have been altered, or written by a version "
                "we do not know; download it again."
            ) from error

    return named
