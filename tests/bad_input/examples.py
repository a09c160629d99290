"""Calls that are right, taken from the documentation: what the example below a function hands to it.

An example is run line by line up to the first call of what it explains; the arguments of that call are kept.
"""

from __future__ import annotations

import contextlib
import copy
import doctest
import inspect
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from unittest import mock

import torch
from torch import nn

KEPT = "kept"
"""Folder, next to that of the calls, of what examples write."""


class _Folder:
    """A temporary folder that is still there after its example."""

    def __init__(self, *_: object, **__: object) -> None:
        self.name = tempfile.mkdtemp()

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *_: object) -> None:
        pass

    cleanup = __exit__


def has_example(thing: Any) -> bool:
    """Return whether the docstring shows how it is called."""
    return ">>>" in (inspect.unwrap(thing).__doc__ or "")


def first_call(thing: Any, signature: inspect.Signature) -> dict[str, Any]:
    """Return the arguments with which its example first calls a function or class; none if it never does."""
    codes = set(_codes(thing))
    found: list[dict[str, Any]] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in codes and not found:
            made = next(iter(frame.f_locals.values()), None)
            if not isinstance(thing, type) or isinstance(made, thing) or made is thing:
                found.append(_written(frame.f_locals, signature))

    for line in _lines(thing):
        sys.setprofile(note)
        try:
            line()
        finally:
            sys.setprofile(None)
        if found:
            break
    return found[0] if found else {}


def _codes(thing: Any) -> Iterator[CodeType]:
    """The code that runs when it is called: of a class `__init__`, or `__new__` where that is all."""
    makers = (thing.__init__, thing.__new__) if isinstance(thing, type) else (thing,)
    for maker in makers:
        function = inspect.unwrap(getattr(maker, "__func__", maker))
        if hasattr(function, "__code__"):
            yield function.__code__
            return


def _lines(doc: Any) -> Iterator[Callable[[], None]]:
    """Run each statement of an example when asked; one that shows an error is left out."""
    written = inspect.unwrap(doc)
    names = dict(vars(sys.modules[written.__module__]))
    folder = Path.cwd().parent / KEPT
    folder.mkdir(exist_ok=True)
    for line in doctest.DocTestParser().get_examples(inspect.getdoc(written) or ""):
        if line.exc_msg is not None or doctest.SKIP in line.options:
            continue

        def run(source: str = line.source) -> None:
            with (
                mock.patch.object(tempfile, "TemporaryDirectory", _Folder),
                mock.patch.object(tempfile, "tempdir", str(folder)),
                contextlib.redirect_stdout(io.StringIO()),
            ):
                exec(compile(source, "<example>", "single"), names)

        yield run


def _written(given: dict[str, Any], signature: inspect.Signature) -> dict[str, Any]:
    """Of what a frame holds the arguments, without defaults; a place yet to be written is named anew."""
    arguments: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if name not in given or given[name] is parameter.default:
            continue
        value = given[name]
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= value
        elif parameter.kind is parameter.VAR_POSITIONAL:
            if value:
                arguments[name] = value[0]
        elif (
            isinstance(value, str | Path)
            and str(value).startswith("/")
            and not Path(value).exists()
        ):
            arguments[name] = type(value)(Path(value).name)
        else:
            arguments[name] = value
    return arguments


def anew(value: Any) -> Any:
    """Return a copy of what a call may change: tensors, SAEs, lists and dicts of them, generators."""
    from sae_nb.models import LiveModel

    match value:
        case LiveModel():
            return value
        case torch.Generator():
            return value.clone_state()
        case dict():
            return {key: anew(entry) for key, entry in value.items()}
        case list():
            return [anew(entry) for entry in value]
        case torch.Tensor() | nn.Module():
            return copy.deepcopy(value)
    return value
