"""Signatures on the pages of the reference: options that a data class declares, written out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import griffe


class SpelledOut(griffe.Extension):
    """Replaces `**options` by the fields of the data class that the function's decorator names."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Of every function of a package, once all of it is read."""
        for function in _functions(pkg):
            options = _options_of(function)
            if options is not None:
                function.parameters = griffe.Parameters(
                    *list(function.parameters)[:-1], *_fields_of(options)
                )


def _functions(module: griffe.Module) -> Iterator[griffe.Function]:
    for member in module.members.values():
        if isinstance(member, griffe.Module):
            yield from _functions(member)
        elif isinstance(member, griffe.Function):
            yield member


def _options_of(function: griffe.Function) -> griffe.Class | None:
    """The one argument of a decorator, if it is a class and the function takes `**options`."""
    parameters = list(function.parameters)
    if not parameters or parameters[-1].kind is not griffe.ParameterKind.var_keyword:
        return None
    for decorator in function.decorators:
        call = decorator.value
        if isinstance(call, griffe.ExprCall) and len(call.arguments) == 1:
            named = function.module.members.get(str(call.arguments[0]))
            target = named.final_target if isinstance(named, griffe.Alias) else named
            if isinstance(target, griffe.Class):
                return target
    return None


def _fields_of(options: griffe.Class) -> list[griffe.Parameter]:
    found: dict[str, griffe.Parameter] = {}
    for one in (*reversed(options.mro()), options):
        for name, field in one.members.items():
            if isinstance(field, griffe.Attribute) and "instance-attribute" in field.labels:
                found[name] = griffe.Parameter(
                    name,
                    annotation=field.annotation,
                    kind=griffe.ParameterKind.keyword_only,
                    default=field.value,
                )
    return list(found.values())
