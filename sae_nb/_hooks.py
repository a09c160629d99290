"""Hooks: what a package asks of one that stands above it.

The lower package declares a hook, with the types of the question, and calls it; the higher one sets the answer
when it is imported. Which package that is only `sae_nb` says, which stands above both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

Answer = TypeVar("Answer", bound=Callable[..., object])

_importing: dict[str, Callable[[], object]] = {}
"""By a hook's name, what imports the package that sets its answer."""


class Hook(Generic[P, R]):
    """A function that a higher package brings.

    Example
    -------
    >>> double: Hook[[int], int] = Hook("twice a number")
    >>> double.answer(lambda n: 2 * n)(1), double(4)
    (2, 8)
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._answer: Callable[P, R] | None = None

    def answer(self, function: Callable[P, R]) -> Callable[P, R]:
        """Set what answers; to be written above the function as a decorator."""
        self._answer = function
        return function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self._answer is None:
            _importing[self.name]()
        if self._answer is None:
            raise RuntimeError(f"The hook {self.name!r} must be answered, got no answer.")
        return self._answer(*args, **kwargs)


def answered_by(**importing: Callable[[], object]) -> None:
    """Say what imports the package that answers each hook."""
    _importing.update(importing)
