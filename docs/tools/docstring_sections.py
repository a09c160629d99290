"""Docstrings of the house, made readable for Markdown: "Source" and "Example" are headings of ours."""

from __future__ import annotations

import re
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
