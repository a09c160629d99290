"""Every public callable whose docstring shows how it is called: right arguments, to put one wrong value into.

They are what its example hands to it (`examples`); a new function or method is called from the day it has one.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib import import_module
from typing import Any

import sae_nb_widgets as sw
from examples import anew, first_call, has_example
from values import Maker, wrong_values

import sae_nb as sn
from sae_nb.checks import Rule, rules_of


@dataclass(frozen=True)
class Call:
    """A public callable; a method takes its object as its first argument."""

    name: str
    function: Callable[..., Any]
    signature: inspect.Signature
    rules: Mapping[str, tuple[Rule, ...]]

    def wrong(self, argument: str) -> dict[str, Maker]:
        """Makers of wrong values for an argument, by their names."""
        annotation = str(self.signature.parameters[argument].annotation)
        return wrong_values(annotation, self.rules.get(argument, ()))

    def given(self) -> dict[str, Any]:
        """Arguments of a call that works; none where the example calls something else."""
        return {argument: anew(value) for argument, value in _shown(self.function).items()}


@cache
def _shown(function: Callable[..., Any]) -> dict[str, Any]:
    return first_call(function, inspect.signature(function))


def calls() -> Iterator[Call]:
    """Yield what `sae_nb`, its packages and the panels offer, each once, and the methods of the classes among it."""
    seen: set[int] = set()
    for place in _places():
        for name in sorted(getattr(place, "__all__", ())):
            thing = getattr(place, name)
            if id(thing) in seen or not callable(thing):
                continue
            seen.add(id(thing))
            called = f"{place.__name__.removeprefix('sae_nb.')}.{name}"
            if inspect.isclass(thing):
                for method, function in vars(thing).items():
                    if inspect.isfunction(function) and not method.startswith("_"):
                        yield from _call(f"{called}.{method}", function)
                if is_dataclass(thing) and not rules_of(thing):
                    continue  # what calls return is not made by hand
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield from _call(called, thing)


def _places() -> Iterator[Any]:
    yield sn
    for place in (sn, sn.studies):
        for package in pkgutil.iter_modules(place.__path__):
            if not package.name.startswith("_"):
                yield import_module(f"{place.__name__}.{package.name}")
    yield sw


def _call(name: str, function: Callable[..., Any]) -> Iterator[Call]:
    if not has_example(function) or inspect.isabstract(function):
        return
    with suppress(ValueError):  # some classes have no signature
        yield Call(name, function, inspect.signature(function), rules_of(function))
