"""The prose of the house: docstrings, labels, errors, pages, notebooks and tables, each with its place."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
# Names of files and of things that people type keep theirs.
CODE = re.compile(r"^```.*?^```|`[^`\n]*`|\]\([^)]*\)|<[^>]+>|\{\{.*?\}\}", re.S | re.M)
# They list old names, are written by programs, or quote what was measured before.
SPARED = {
    "upgrade.md",
    "metrics.md",
    "reliability.md",
    "interop.md",
    "scale.md",
    "CHANGELOG.md",
}
# Folders of bundled models and SAEs, whose cards are part of them.
WRITTEN = {"weights", "saes"}
PACKAGES = ("sae_nb", "widgets/sae_nb_widgets", "notebooks/sae_nb_lessons")
EXAMPLE = re.compile(r"^ *>>>.*?(?=^ *$|\Z)", re.S | re.M)
# A sentence ends at its mark, a paragraph, a list item or a heading's underline.
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9`“(*])|\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.) ?)")


class Prose(NamedTuple):
    """One text without the code in it; of a docstring also what it documents."""

    file: str
    line: int
    text: str
    kind: str = ""

    def sentences(self) -> Iterator[str]:
        """Each on one line."""
        for sentence in SENTENCE.split(self.text):
            yield " ".join(sentence.split())


def docstrings() -> Iterator[Prose]:
    """Of modules, classes and functions, and the strings below the fields of a class."""
    for file, tree in _python():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            for place, one in enumerate(node.body):
                if not isinstance(one, ast.Expr) or not isinstance(one.value, ast.Constant):
                    continue
                if isinstance(one.value.value, str):
                    text = EXAMPLE.sub("", one.value.value)
                    kind = "field" if place else _kind(node)
                    yield Prose(file, one.lineno, CODE.sub("…", text), kind)


def _kind(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    if not isinstance(node, ast.FunctionDef):
        return type(node).__name__
    marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
    if "property" in marks or "overload" in marks:
        return "property"
    return "private" if node.name.startswith("_") else "function"


def errors() -> Iterator[Prose]:
    """What `raise` writes in the library."""
    for file, tree in _python("sae_nb"):
        raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc]
        for node in raised:
            parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            text = "".join(part for part in parts if isinstance(part, str))
            yield Prose(file, node.lineno, CODE.sub("…", text))


def pages() -> Iterator[Prose]:
    """Of the documentation, and the READMEs."""
    rooms = [path for package in PACKAGES for path in (ROOT / package).glob("**/README.md")]
    rooms = [path for path in rooms if not WRITTEN & set(path.parts)]
    files = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "notebooks" / "README.md"]
    for file in sorted([*files, *rooms]):
        if file.name not in SPARED:
            text = file.read_text(encoding="utf-8")
            yield Prose(file.relative_to(ROOT).as_posix(), 1, CODE.sub("…", text))


def notebooks() -> Iterator[Prose]:
    """Prose and comments; the cells' code may use the names that there are."""
    for file in sorted((ROOT / "notebooks").glob("*.py")):
        lines = file.read_text(encoding="utf-8").splitlines()
        prose = "\n".join(line[2:] if line.startswith("# ") else "" for line in lines)
        yield Prose(file.relative_to(ROOT).as_posix(), 1, CODE.sub("…", prose))


def tables() -> Iterator[Prose]:
    """Claims, exercises, definitions."""
    folders = [ROOT / "notebooks" / "sae_nb_lessons", ROOT / "sae_nb"]
    for file in sorted(path for folder in folders for path in folder.rglob("*.toml")):
        texts = _texts(tomllib.loads(file.read_text(encoding="utf-8")))
        yield Prose(file.relative_to(ROOT).as_posix(), 1, "\n".join(texts))


def _texts(table: Any, key: str = "") -> Iterator[str]:
    """Every text of a table, but those that name a number of an artefact."""
    if isinstance(table, dict):
        for name, value in table.items():
            yield from _texts(value, name)
    elif isinstance(table, list):
        for value in table:
            yield from _texts(value, key)
    elif isinstance(table, str) and key not in {"minus", "number", "name", "paper"}:
        yield CODE.sub("…", table)


def _python(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages or PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), _tree(file)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


SOURCES: dict[str, Callable[[], Iterator[Prose]]] = {
    "docstrings": docstrings,
    "errors": errors,
    "pages": pages,
    "notebooks": notebooks,
    "tables": tables,
}
