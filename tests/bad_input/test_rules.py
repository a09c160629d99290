"""Rules in annotations: every public call refuses what its rules do not permit, and takes what they do.

Wrong values are made from the rule itself, so a parameter with a rule is tested from the day it has one.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from values import inside, outside

import sae_nb as sn
from sae_nb import checks
from sae_nb.checks import Each, Rule, rules_of
from sae_nb.exports import exports_of

NAMED = ("Count", "Resamples", "Seed", "Share", "Weight", "Positive")
PLACES = (sn, sn.studies)
PACKAGES = [
    f"{place.__name__}.{package.name}"
    for place in PLACES
    for package in pkgutil.iter_modules(place.__path__)
    if package.ispkg and package.name != "studies"
]
MEANT = {"Annotated": Annotated, **{name: getattr(checks, name) for name in NAMED}}
WRITTEN = re.compile(rf"\b({'|'.join(MEANT)})\b")


@dataclass(frozen=True)
class Call:
    """A public function, method or class."""

    name: str
    call: Callable[..., Any]
    needs_self: bool = False

    def refusal(self, argument: str, value: Any) -> Exception | None:
        """What calling it with that argument raises; the others, looked at later, are not even made."""
        given = {argument: value}
        for name, parameter in list(inspect.signature(self.call).parameters.items())[
            self.needs_self :
        ]:
            needed = parameter.default is parameter.empty
            several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if needed and not several and name != argument:
                given[name] = object()
        try:
            self.call(*[object()] * self.needs_self, **given)
        except (TypeError, ValueError) as error:
            return error
        return None


def public_calls(package: str) -> Iterator[Call]:
    """Yield what a package offers to be called: functions, classes, and the public methods of those.

    What it offers to other packages alone is among them, if it checks its arguments.
    """
    module = import_module(package)
    offered = {name for name, home in exports_of(package).items() if home.startswith(f"{package}.")}
    for name in sorted({*module.__all__, *offered}):
        thing = getattr(module, name)
        if name not in module.__all__ and not hasattr(thing, "__wrapped__"):
            continue
        if inspect.isfunction(thing):
            yield Call(name, thing)
        if not inspect.isclass(thing):
            continue
        if not inspect.isabstract(thing):
            yield Call(name, thing)
        for method, found in inspect.getmembers(thing, callable):
            if not method.startswith("_") and hasattr(found, "__wrapped__"):
                plain = inspect.isfunction(inspect.getattr_static(thing, method))
                yield Call(f"{name}.{method}", found, needs_self=plain)


def ruled(package: str) -> Iterator[tuple[Call, str, tuple[Rule, ...]]]:
    """Yield each call of a package with each parameter that has a rule, and its rules."""
    for one in public_calls(package):
        for argument, rules in rules_of(one.call).items():
            yield one, argument, rules


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_rule_does_not_permit_is_refused(package: str) -> None:
    """By name, with rule and value, before any work: the other arguments of these calls are no good either."""
    wrong = []
    for one, argument, rules in ruled(package):
        refused = 0
        for value in [value for rule in rules for value in outside(rule)]:
            error = one.refusal(argument, value)
            form = rf"`{argument}(\[0\])?` must .*, got "
            if error is not None and re.match(form, str(error), re.DOTALL):
                refused += 1
            elif len(rules) == 1:
                wrong.append(f"{one.name} | {argument} | {value!r:.40}: {error}")
        if not refused:
            wrong.append(f"{one.name} | {argument}: nothing is refused")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_rule_permits_is_taken(package: str) -> None:
    """The ends too, where they are permitted."""
    for _, argument, rules in ruled(package):
        for rule in rules:
            for value in inside(rule):
                each = zip(value, [rule.rule]) if isinstance(rule, Each) else [(value, rule)]
                for entry, its_rule in each:
                    assert its_rule.check(entry, name=argument) == entry


@pytest.mark.parametrize("package", PACKAGES)
def test_a_written_rule_is_checked(package: str) -> None:
    """None stands in a signature that `checked` does not read."""
    idle = []
    for one in public_calls(package):
        try:
            parameters = inspect.signature(one.call).parameters
        except (TypeError, ValueError):
            continue
        here = getattr(inspect.unwrap(one.call), "__globals__", {})
        idle += [
            f"{one.name} | {name}"
            for name, parameter in parameters.items()
            for word in WRITTEN.findall(str(parameter.annotation))
            if here.get(word) is MEANT[word] and name not in rules_of(one.call)
        ]
    assert not idle, "\n".join(idle)
