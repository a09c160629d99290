"""Around what a module has, and gone without a trace, in whatever order things are taken out again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from typing import Any, SupportsIndex, cast

from torch import nn

Around = Callable[..., Any]
"""(what would have run, its arguments …) → what it gives instead."""


def put_around(module: nn.Module, run: Around, *, first: bool = False) -> Callable[[], None]:
    """Put something around a module's forward, beneath nnsight, once; return what takes it out.

    `first`: beneath all else that is there.
    """
    controller: Any = module.forward
    if not isinstance(controller.state, _Beneath):
        controller.state = _Beneath(controller.state)
    _put_in(controller.state.runs, run, first=first)

    def undo() -> None:
        if isinstance(controller.state, _Beneath) and not _left(controller.state.runs, run):
            controller.state = controller.state.state

    return undo


def around_generate(module: nn.Module, run: Around) -> Callable[[], None]:
    """Put something around a module's `generate`, once; return what takes it out."""
    generate = cast(Any, module).generate
    own = generate if isinstance(generate, _Generate) else _Generate(generate)
    _put_in(own.runs, run)
    vars(module)["generate"] = own

    def undo() -> None:
        if not _left(own.runs, run):
            vars(module).pop("generate", None)

    return undo


def _put_in(runs: list[Around], run: Around, *, first: bool = False) -> None:
    if run not in runs:
        runs.insert(0 if first else len(runs), run)


def _left(runs: list[Around], run: Around) -> list[Around]:
    """Take one out, where it is still in; return the others."""
    if run in runs:
        runs.remove(run)
    return runs


class _Beneath:
    """nnsight's state of a module, with more around the forward that it runs."""

    def __init__(self, state: Any) -> None:
        self.state = state
        self.runs: list[Around] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self.state, name)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """A copy of the module is without edits."""
        return self.state.__reduce_ex__(protocol)

    def body(self, module: nn.Module, *args: object, **kwargs: object) -> object:
        """Run nnsight's code between a module's input and its output."""
        return _composed(partial(self.state.body, module), self.runs)(*args, **kwargs)


class _Generate:
    """A module's `generate`, with more around it."""

    def __init__(self, generate: Around) -> None:
        self.generate = generate
        self.runs: list[Around] = []
        update_wrapper(self, generate)

    def __call__(self, *args: object, **kwargs: object) -> object:
        return _composed(self.generate, self.runs)(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Around:
        """A copy of the module generates by itself."""
        return copy.deepcopy(self.generate, memo)


def _composed(call: Around, runs: Sequence[Around]) -> Around:
    for run in runs:
        call = partial(run, call)
    return call
