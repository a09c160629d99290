"""Pages of the reference: sections of docstrings made readable for Markdown, `**options` written out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

# griffe knows "Examples"; "Source" would become a Markdown heading of its own in the contents.
EXAMPLE = re.compile(r"^Example\n-+$", re.MULTILINE)
SOURCE = re.compile(r"^Source\n-+\n", re.MULTILINE)
# "ValueError: If …" in one line; griffe wants the text below the name.
RAISED = re.compile(r"^([A-Z]\w+(?:, [A-Z]\w+)*): ")
RETURNED = re.compile(r"^((?:Returns|Yields)\n-+\n)((?:\S.*(?:\n|\Z))+)(?! )", re.MULTILINE)
UNDERLINE = re.compile(r"-{3,}")
CODE_SPAN = re.compile(r"(`[^`]*`)")
# What Markdown or HTML would take for markup. Equations are plain text here.
MARKUP = re.compile(r"([_*\[\]])")


class DocstringSections(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Of modules, classes, functions and attributes alike."""
        if obj.docstring is not None:
            returns = getattr(obj, "returns", None) or getattr(obj, "annotation", None)
            obj.docstring.value = for_markdown(obj.docstring.value, str(returns or "Any"))


def for_markdown(text: str, returns: str = "Any") -> str:
    r"""The docstring with our sections named as griffe knows them, and equations kept as they are.

    `returns`: what the signature says; griffe wants it above a sentence about the result.

    Example
    -------
    >>> for_markdown("z_j is [u]₊, as in `z_j`.")
    'z\\_j is \\[u\\]₊, as in `z_j`.'
    """
    text = SOURCE.sub("**Source**\n\n", EXAMPLE.sub("Examples\n--------", text))
    text = RETURNED.sub(lambda found: _under(returns, found), text)
    lines = text.splitlines()
    section = ""
    kept = []
    for number, line in enumerate(lines):
        if UNDERLINE.fullmatch(line) and number:
            section = lines[number - 1]
        if section == "Raises" and RAISED.match(line):
            name, line = line.split(": ", 1)
            kept.append(name)
            line = f"    {line}"
        kept.append(line if _is_code(line, section, lines, number) else _escaped(line))
    return "\n".join(kept)


def _under(returns: str, found: re.Match[str]) -> str:
    lines = found[2].splitlines(keepends=True)
    return "".join([found[1], f"{returns}\n", *(f"    {line}" for line in lines)])


def _is_code(line: str, section: str, lines: list[str], number: int) -> bool:
    """Examples, names of parameters, headings of sections and tables stay untouched."""
    follows = lines[number + 1] if number + 1 < len(lines) else ""
    named = section in {"Parameters", "Raises", "Returns", "Yields"} and not line.startswith(" ")
    heading = UNDERLINE.fullmatch(follows) is not None
    return section == "Examples" or named or heading or "**Source**" in line or "|--" in line


def _escaped(line: str) -> str:
    parts = CODE_SPAN.split(line)
    parts[::2] = [MARKUP.sub(r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return "".join(parts)


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
