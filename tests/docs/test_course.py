"""The course leaves no notebook and no exercise out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from sae_nb_lessons import exercise_report

FOLDER = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def course() -> str:
    """notebooks/README.md."""
    return (FOLDER / "README.md").read_text(encoding="utf-8")


def test_every_notebook_is_on_the_path(course: str) -> None:
    """With the question it asks, its minutes and its seconds."""
    path = course.partition("## The path")[2].partition("##")[0]
    for notebook in [*FOLDER.glob("*_*.ipynb"), FOLDER / "demo.ipynb"]:
        row = re.search(rf"^\| \[[^\]]+\]\({notebook.name}\) \|.*$", path, re.M)
        assert row, f"{notebook.name} is not on the path of notebooks/README.md"
        assert re.search(r"\| \d+ min \| \d+ s \|", row[0]), row[0]


def test_every_exercise_is_listed(course: str, tool: Callable[[str], ModuleType]) -> None:
    """As the kit has it; `python docs/tools/lessons.py` writes the table anew."""
    for id, title, _ in exercise_report().rows:
        assert f"| {id} | {title} |" in course
    assert course == tool("lessons").with_exercises(course)


def test_the_plans_name_exercises_that_exist(course: str) -> None:
    """Every number of the form 01.2."""
    known = {row[0] for row in exercise_report().rows}
    named = set(re.findall(r"(?<![\d.])(?:0[0-9]|1[0-6])\.\d\b", course))
    assert named >= {"01.1", "06.3"}
    assert named <= known


@pytest.mark.parametrize(
    "heading",
    [
        "## The path",
        "## What you need before",
        "## Learning goals",
        "## Exercises",
        "## One hour",
        "## One week",
        "## For instructors",
    ],
)
def test_the_course_has_its_parts(course: str, heading: str) -> None:
    """Path, prerequisites, goals, exercises, two plans, notes."""
    assert f"\n{heading}\n" in course


def test_the_course_is_a_page_with_links_that_work(tool: Callable[[str], ModuleType]) -> None:
    """Notebooks lie outside the pages: their links lead to the repository."""
    page = tool("lessons").course("README")
    assert not re.findall(r"\]\((?!https?:|[a-z]+\.md)[^)]*\)", page)
