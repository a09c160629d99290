"""A test imports private names of the package it is about, and of no other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
FOLDERS = {"sae_nb_widgets": "widgets", "sae_nb_studies": "studies", "sae_nb_lessons": "lessons"}
ABOUT = {"browser": "widgets", "families": "models", "reliability": "files"}
"""Packages of the folders that are not called as theirs."""


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_tests_import_private_names_of_their_own_package_alone() -> None:
    """That of a folder they lie in, or of the file's name; what is at the top of a distribution is anyone's."""
    wrong = []
    for path in sorted(TESTS.rglob("*.py")):
        own = {*path.relative_to(TESTS).parts[:-1], path.stem.removeprefix("test_")}
        own |= {ABOUT[folder] for folder in own & ABOUT.keys()}
        for name in imported(path):
            top, *inner = name.split(".")
            private = [i for i, part in enumerate(inner) if part[0] == "_" != part[:2][-1]]
            packages = inner[: private[0]] if top.startswith("sae_nb") and private else []
            if packages and own.isdisjoint({FOLDERS.get(top, ""), *packages}):
                wrong.append(f"{path.relative_to(TESTS)}: {name}")
    assert wrong == []
