"""The course leaves no notebook and no exercise out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from sae_nb_lessons import exercise_report

FOLDER = Path(__file__).parents[2] / "notebooks"
DOCS = FOLDER.parent / "docs"


@pytest.fixture(scope="module")
def course() -> str:
    """notebooks/README.md."""
    return (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_plans_name_exercises_that_exist(course: str) -> None:
    """Every number of the form 01.2, in the course, its paths and the pages of them."""
    known = {row[0] for row in exercise_report().rows}
    pages = [DOCS / f"{name}.md" for name in ("course-day", "course-week", "instructors")]
    texts = [course, *(page.read_text("utf-8") for page in (FOLDER / "paths.toml", *pages))]
    named = {one for text in texts for one in re.findall(r"(?<![\d._])[0-2]\d\.\d\b", text)}
    assert named >= {"01.2", "02.5"}
    assert named <= known


@pytest.mark.parametrize(("name", "at_most"), [("hour", 60), ("day", 6 * 60), ("week", 5 * 180)])
def test_a_path_fits_its_time(tool: Callable[[str], ModuleType], name: str, at_most: float) -> None:
    """In minutes that are computed from the lessons; each step has a row, and its lesson and sections are there."""
    paths = tool("paths")
    assert at_most / 3 < paths.path_minutes(name) <= at_most
    table = paths.path(name)
    assert len(table.splitlines()) == len(paths._steps(name)) + 3
    assert table.count("(lessons/") > 2
