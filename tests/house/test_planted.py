"""Whoever breaks a rule of the house is told: one violation of each kind, planted in a copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from rooms import PACKAGES, House, circles, room_graph

ROOT = Path(__file__).parents[2]
CONTRACTS = Path("tests") / "house" / "contracts.py"
UNTOUCHED = "nothing planted"

# What is written at the end of which file, and which contract must say so.
PLANTED = {
    UNTOUCHED: ("sae_nb/files/__init__.py", "", ""),
    "past a door": (
        "sae_nb/evaluation/__init__.py",
        "from sae_nb.codes import {private} as planted",
        "A room is entered by its door",
    ),
    "past a panel's door": (
        "widgets/sae_nb_widgets/{panel}/__init__.py",
        "from sae_nb.codes import {private} as planted",
        "A room is entered by its door",
    ),
    "upward": (
        "sae_nb/files/__init__.py",
        "from sae_nb import training as planted",
        "Imports between rooms point down",
    ),
    "upward in a function": (
        "sae_nb/codes/__init__.py",
        "def planted():\n    import sae_nb.evaluation",
        "Imports between rooms point down",
    ),
    "a study in the tool": (
        "sae_nb/summaries/__init__.py",
        "from sae_nb.studies import circuits as planted",
        "Imports between rooms point down",
    ),
    "a study in the tool, in a function": (
        "sae_nb/evaluation/__init__.py",
        "def planted():\n    import sae_nb.studies.evaluation",
        "Imports between rooms point down",
    ),
    "a higher study in a lower one": (
        "sae_nb/studies/evaluation/__init__.py",
        "from sae_nb.studies import circuits as planted",
        "A study imports the tool and lower studies",
    ),
    "past a study's door": (
        "sae_nb/studies/circuits/__init__.py",
        "from sae_nb.studies.uses import {private_of_uses} as planted",
        "A room is entered by its door",
    ),
    "the table of contents": (
        "sae_nb/files/__init__.py",
        "import sae_nb as planted",
        "Imports between rooms point down",
    ),
    "panels in the library": (
        "sae_nb/summaries/__init__.py",
        "def planted():\n    import sae_nb_widgets",
        "Lessons above panels above sae_nb",
    ),
    "lessons in a panel": (
        "widgets/sae_nb_widgets/{panel}/__init__.py",
        "import sae_nb_lessons as planted",
        "Lessons above panels above sae_nb",
    ),
    "ipywidgets in sae_nb": (
        "sae_nb/summaries/__init__.py",
        "import ipywidgets as planted",
        "sae_nb is headless",
    ),
    "anywidget in figures": (
        "sae_nb/figures/__init__.py",
        "def planted():\n    import anywidget",
        "sae_nb is headless",
    ),
    "plotly in data": (
        "sae_nb/data/__init__.py",
        "import plotly.graph_objects as planted",
        "sae_nb draws in figures alone",
    ),
    "nnsight in geometry": (
        "sae_nb/geometry/__init__.py",
        "def planted():\n    import nnsight",
        "nnsight has one door",
    ),
    "a room that no level names": (
        "sae_nb/attic/__init__.py",
        '"""A new room."""',
        "Imports between rooms point down",
    ),
}


def _layers(contract: str = "levels") -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    levels = next(one["layers"] for one in contracts if one["id"] == contract)
    named = [name.strip() for level in levels for name in re.split(r"[|:]", level)]
    return [name for name in named if not name.startswith("(")]


def _model_of_the_house(to: Path) -> None:
    """Every room that a level names, with a door and one private file; a panel and a lesson."""
    for room in _layers():
        if room in {"__main__", "checks", "progress", "_lazy"}:
            _write(to / "sae_nb" / f"{room}.py")
        elif room == "studies":
            _write(to / "sae_nb" / room / "__init__.py")
        else:
            _room(to / "sae_nb" / room, f"sae_nb.{room}")
    for study in _layers("studies"):
        _room(to / "sae_nb" / "studies" / study, f"sae_nb.studies.{study}")
    _room(to / PACKAGES["sae_nb_widgets"] / "atom", "sae_nb_widgets.atom")
    _room(to / PACKAGES["sae_nb_lessons"] / "exercises", "sae_nb_lessons.exercises")
    for folder in PACKAGES.values():
        _write(to / folder / "__init__.py", "import plotly\n" if "widgets" in folder else "")
    _write(to / "sae_nb" / "__init__.py", "if TYPE_CHECKING:\n    from sae_nb.sweeps import idea\n")
    _write(to / "sae_nb" / "figures" / "_line.py", "import plotly\nidea = 1\n")
    _write(to / "sae_nb" / "models" / "_live.py", "import nnsight\n")
    _write(to / "widgets" / "sae_nb_widgets" / "atom" / "_figure.py", "import sae_nb.figures\n")


def _room(folder: Path, package: str) -> None:
    _write(folder / "__init__.py", f"from {package}._idea import idea as idea\n")
    _write(folder / "_idea.py", "idea = 1\n")


def _write(file: Path, text: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _copy_of_the_house(to: Path) -> None:
    for folder in PACKAGES.values():
        for file in (ROOT / folder).rglob("*.py"):
            _write(to / file.relative_to(ROOT), file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=[_model_of_the_house, _copy_of_the_house])
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the house, and a copy of the house; both under the contracts as they are."""
    to = tmp_path_factory.mktemp("house")
    request.param(to)
    (to / CONTRACTS).parent.mkdir(parents=True)
    shutil.copy(ROOT / CONTRACTS, to / CONTRACTS)
    shutil.copy(ROOT / "pyproject.toml", to / "pyproject.toml")
    return to


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_violation_is_found(copy: Path, kind: str) -> None:
    """`lint-imports` breaks the contract it should, and none where nothing was planted."""
    where, text, contract = PLANTED[kind]
    file = copy / where.format(panel=_a_panel(copy))
    before = file.read_text(encoding="utf-8") if file.exists() else None
    _write(file, f"{before or ''}\n\n{_filled(text, copy)}\n")
    try:
        said = _lint(copy)
    finally:
        shutil.rmtree(file.parent) if before is None else _write(file, before)
    broken = [line for line in said.splitlines() if " BROKEN" in line]
    assert "Contracts: " in said, said
    if kind == UNTOUCHED:
        assert broken == [], said
    else:
        assert any(contract in line for line in broken), said


@pytest.mark.slow
def test_a_circle_through_a_function_is_found(copy: Path) -> None:
    """Two rooms that import each other, one of them in a function only."""
    file = copy / "sae_nb" / "codes" / "__init__.py"
    before = file.read_text(encoding="utf-8")
    _write(copy / "sae_nb" / "kernels" / "_planted.py", "import sae_nb.codes\n")
    try:
        assert circles(room_graph(House(copy))) == []
        _write(file, f"{before}\n\ndef planted():\n    import sae_nb.kernels\n")
        assert {"sae_nb.codes", "sae_nb.kernels"} <= circles(room_graph(House(copy)))[0]
    finally:
        _write(file, before)
        (copy / "sae_nb" / "kernels" / "_planted.py").unlink()


def _filled(text: str, copy: Path) -> str:
    uses = _a_private_file(copy, "studies/uses")
    return text.format(private=_a_private_file(copy, "codes"), private_of_uses=uses)


def _a_private_file(copy: Path, room: str) -> str:
    return next(file.stem for file in sorted((copy / "sae_nb" / room).glob("_[a-z]*.py")))


def _a_panel(copy: Path) -> str:
    return "atom" if (copy / PACKAGES["sae_nb_widgets"] / "atom" / "__init__.py").exists() else "."


def _lint(copy: Path) -> str:
    paths = [str((copy / folder).parent) for folder in PACKAGES.values()]
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(copy), *paths])},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr
