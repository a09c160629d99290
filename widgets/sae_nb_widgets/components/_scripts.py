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
    own = "\n".join(read_static(f"{name}.js") for name in names)
    lines = (line.strip() for line in (_used(_shared_parts(), own) + own).splitlines())
    # Comments and indentation are for who reads the files: the module is sent with every widget.
    return "\n".join(line for line in lines if line and not line.startswith("//")) + "\n"


@cache
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
