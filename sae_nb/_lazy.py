"""Doors: the `__init__` of a room names what it offers, once, and imports it on first use."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

Door = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]


def door(module: str) -> Door:
    """Return `__getattr__`, `__dir__` and `__all__` of a module, read from its `if TYPE_CHECKING:`.

    Type checkers and editors follow the imports written there; nothing is imported before a name is
    used. A second block names what only the other rooms read: it is found, but not listed.
    """
    first, *others = (_imports(block) for block in _blocks(module))
    homes = {name: home for block in (first, *others) for name, home in block.items()}
    public = sorted(name for name, home in first.items() if home != module)

    def find(name: str) -> Any:
        if name not in homes:
            from difflib import get_close_matches

            near = get_close_matches(name, first, n=3)
            there = f"Did you mean {near}?" if near else f"It has {', '.join(sorted(first))}."
            raise AttributeError(f"module {module!r} has no attribute {name!r}. {there}")
        home = homes[name]
        if home == module:  # a room inside this one
            return import_module(f"{module}.{name}")
        value = getattr(import_module(home), name)
        setattr(sys.modules[module], name, value)
        return value

    return find, lambda: sorted(first), public


def _blocks(module: str) -> list[ast.If]:
    loader: Any = sys.modules[module].__loader__
    body = ast.parse(loader.get_source(module)).body
    return [node for node in body if isinstance(node, ast.If)]


def _imports(block: ast.If) -> dict[str, str]:
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}
