"""Private names stay where they are made: within their distribution, in tests within their package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FOLDERS = {"sae_nb_widgets": "widgets", "sae_nb_studies": "studies", "sae_nb_lessons": "lessons"}
ABOUT = {"browser": "widgets", "families": "models", "reliability": "files"}
"""Packages of the folders that are not called as theirs."""


IMPORT = re.compile(
    r"^ *(?:from (sae_nb[\w.]*) import (\([^)]*\)|[^\n]*)|import (sae_nb[\w.]*))", re.MULTILINE
)


def imported(path: Path) -> Iterator[str]:
    """What a file imports of this project; found by its form, which is ten times as quick as by parsing."""
    for package, names, module in IMPORT.findall(path.read_text(encoding="utf-8")):
        yield from (f"{package}.{name}" for name in re.findall(r"(\w+)(?: as \w+)?", names))
        if module:
            yield module


def private_names(folder: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """File, private name of this project, and the packages that lead to it, its distribution first."""
    for path in sorted(folder.rglob("*.py")):
        for name in imported(path):
            parts = name.split(".")
            private = [i for i, part in enumerate(parts) if part[0] == "_" != part[:2][-1]]
            if private:
                yield path.relative_to(folder), name, parts[: private[0]]


def test_tests_import_private_names_of_their_own_package_alone() -> None:
    """That of a folder they lie in, or of the file's name; what is at the top of a distribution is anyone's."""
    wrong = []
    for path, name, (top, *packages) in private_names(TESTS):
        own = {*path.parts[:-1], path.stem.removeprefix("test_")}
        own |= {ABOUT[folder] for folder in own & ABOUT.keys()}
        if packages and own.isdisjoint({FOLDERS.get(top, ""), *packages}):
            wrong.append(f"{path}: {name}")
    assert wrong == []


@pytest.mark.parametrize("own", FOLDERS)
def test_a_distribution_imports_public_names_of_the_others(own: str) -> None:
    """What builders of panels, studies and lessons need is public: `docs/architecture.md` has the list."""
    folder = next(TESTS.parent.glob(f"*/{own}"))
    # notebooks lie next to their package
    folder = folder.parent if folder.parent.name == "notebooks" else folder
    assert [f"{p}: {name}" for p, name, (top, *_) in private_names(folder) if top != own] == []
