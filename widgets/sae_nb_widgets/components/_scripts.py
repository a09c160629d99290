"""The ES module of a widget: its own files, and of the shared ones only what these use.

A module must work alone: in VS Code, in marimo, in an exported page, next to widgets whose module is late
or blocked. Therefore no module waits for another one, and each carries what it uses of `shared.js`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

from sae_nb.figures import theme
from sae_nb_widgets.components._shortening import short_names

# Left as they are: texts, templates (with one more inside at most) and patterns. An unescaped "/" opens a
# pattern where no value can end before it.
_KEPT = (
    r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|'
    r"`(?:\\.|\$\{(?:[^{}`]|`[^`]*`)*\}|[^`\\])*`|"
    r"(?:(?<=[(,=:!&|?;])|(?<=[(,=:!&|?;] ))/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+/[a-z]*"
)
_TEXTS = re.compile(_KEPT, re.DOTALL)
_COMMENT = r"\s*//[^\n]*|\s*/\*.*?\*/"
# Ends of lines that separate nothing; every statement of ours ends in a semicolon or a brace.
_JOINED = r"(?<=[{};,(\[])\s*\n\s*|\s*\n\s*(?=[})\]])"
_BLANK = r"\s*\n\s*| [+-] (?![+-])| ?[{}()\[\];,:?=<>!&|*] ?"
_PIECES = re.compile(
    f"(?P<kept>{_KEPT})|(?P<comment>{_COMMENT})|(?P<joined>{_JOINED})|(?P<blank>{_BLANK})",
    re.DOTALL,
)
# Where a shared file is cut: each function or constant, the comment above it included.
_CUT = re.compile(r"\n(?=(?://[^\n]*\n)*(?:async )?(?:function|const) \w)")
# A name that is used: not one of a property, nor of a method that takes its arguments apart.
_WORD = re.compile(r"(?<![.\w])\w+\b(?!\(\{)")
_NAME = re.compile(r"^(?:async )?(?:function|const) (\w+)", re.MULTILINE)


@cache
def read_static(name: str) -> str:
    """Return the text of a file in `static/`."""
    return resources.files("sae_nb_widgets").joinpath("static", name).read_text(encoding="utf-8")


@cache
def script(*names: str) -> str:
    """Return the ES module of the files `names`, which carries what they use of the shared ones."""
    return short_names(_whole(*names), _TEXTS)


def _whole(*names: str) -> str:
    """The same with the names of the files."""
    own = "\n".join(read_static(f"{name}.js") for name in names)
    return _without_blanks(_used(_shared_parts(), own) + own)


def _shared_parts() -> dict[str, str]:
    """The functions and constants that any module may use, by name."""
    colours = json.dumps(theme.SCRIPT_COLOURS, separators=(",", ":"))
    tokens = resources.files("sae_nb.figures").joinpath("tokens.js").read_text(encoding="utf-8")
    shared = read_static("shared.js").replace("__COLOURS__", colours)
    parts = [
        part
        for text in (read_static("hearing.js"), tokens, shared)
        for part in _CUT.split(f"\n{text}")
    ]
    named = ((_NAME.search(part), part) for part in parts)
    return {name[1]: part for name, part in named if name is not None}


def _used(parts: Mapping[str, str], text: str) -> str:
    """Return the parts that a text uses, and those that they use, in the order of the file."""
    used: set[str] = set()
    unread = [text]
    while unread:
        words = set(_WORD.findall(unread.pop()))
        new = words & parts.keys() - used
        used |= new
        unread += [parts[name] for name in new]
    return "".join(f"{part}\n" for name, part in parts.items() if name in used)


def _without_blanks(text: str) -> str:
    """Return a script without comments, indentation and spaces around signs: it is sent with every widget."""

    def shorter(piece: re.Match[str]) -> str:
        if piece["comment"] is not None or piece["joined"] is not None:
            return ""
        if piece["kept"] is not None:
            return piece[0]
        return "\n" if "\n" in piece[0] else piece[0].strip()

    return _PIECES.sub(shorter, text).strip() + "\n"
