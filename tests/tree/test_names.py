"""What stands outside the packages and is run by hand imports names that are there."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sae_nb", "sae_nb_widgets", "sae_nb_lessons")
FILES = sorted(
    file
    for folder in ("benchmarks", "binder", "docs", "notebooks")
    for file in (ROOT / folder).rglob("*.py")
    if "sae_nb_lessons" not in file.parts
)


def _imported(file: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            for alias in node.names:
                yield str(node.module), alias.name


def _is_there(module: str, name: str) -> bool:
    if hasattr(importlib.import_module(module), name):
        return True
    try:
        importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_imported_is_there(file: Path) -> None:
    """Benchmarks and the like are no package: type checkers do not read all of them."""
    missing = [pair for pair in _imported(file) if not _is_there(*pair)]
    assert not missing
