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
    """Every number of the form 01.2 but hours, in the course, its paths and the pages of them."""
    known = {row[0] for row in exercise_report().rows}
    pages = [DOCS / f"{name}.md" for name in ("course-day", "course-week", "instructors")]
    texts = [course, *(page.read_text("utf-8") for page in (FOLDER / "paths.toml", *pages))]
    named = {one for text in texts for one in re.findall(r"(?<![\d._])[0-2]\d\.\d\b(?! h)", text)}
    assert named >= {"01.2", "02.5"}
    assert named <= known


@pytest.mark.parametrize(("name", "at_most"), [("hour", 60), ("day", 6 * 60), ("week", 5 * 180)])
def test_a_path_fits_its_time(tool: Callable[[str], ModuleType], name: str, at_most: float) -> None:
    """In minutes that are computed from the lessons; each step has a row, and its lesson and sections are there."""
    paths = tool("paths")
    assert at_most / 3 < paths.path_minutes(name) <= at_most
    table = paths.path(name)
    assert len(table.splitlines()) == len(paths._steps(name)) + 3
    assert table.count("(../notebooks/") > 2


def test_first_cells_and_tables_state_the_same(tool: Callable[[str], ModuleType]) -> None:
    """`make sync` has nothing to write, and each lesson has one row."""
    paths = tool("paths")
    tables = [(FOLDER / name).read_text("utf-8") for name in paths.TABLES]
    found = [row[1] for table in tables for row in paths.ROW.findall(table)]
    assert sorted(found) == sorted(one.stem for one in paths.lessons())
    assert [paths.with_stated(table) for table in tables] == tables
    for one in paths.lessons():
        assert paths.with_own_minutes(one) == one.path.with_suffix(".py").read_text("utf-8")
    row = next(line for line in tables[0].splitlines() if "07_patching" in line)
    stale = re.sub(r"\d+ min", "999 min", row)
    assert stale != row == paths.with_stated(stale)


@pytest.mark.parametrize("number", [f"{i:02}" for i in range(11)])
def test_each_of_the_ten_ends_with_three_papers(number: str) -> None:
    """And so does the project."""
    (lesson,) = FOLDER.glob(f"{number}_*.py")
    last = lesson.read_text("utf-8").split("\n# %%")[-1]
    to_read = last[last.index("**To read.**") :]
    assert len(set(re.findall(r"\(arXiv\n?#? ?(\d{4}\.\d{5})\)", to_read))) == 3
