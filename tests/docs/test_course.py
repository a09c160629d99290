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


def test_every_notebook_is_on_the_path(course: str) -> None:
    """With the question it asks, its minutes and its seconds."""
    path = course.partition("## The path")[2].partition("##")[0]
    for notebook in [*FOLDER.glob("*_*.ipynb"), FOLDER / "demo.ipynb"]:
        row = re.search(rf"^\| \[[^\]]+\]\({notebook.name}\) \|.*$", path, re.M)
        assert row, f"{notebook.name} is not on the path of notebooks/README.md"
        assert re.search(r"\| \d+ min \| \d+ s \|", row[0]), row[0]


def test_the_plans_name_exercises_that_exist(course: str) -> None:
    """Every number of the form 01.2, in the course, its paths and the pages of them."""
    known = {row[0] for row in exercise_report().rows}
    pages = [DOCS / f"{name}.md" for name in ("course-day", "course-week", "instructors")]
    texts = [course, *(page.read_text("utf-8") for page in (FOLDER / "paths.toml", *pages))]
    named = {one for text in texts for one in re.findall(r"(?<![\d._])[0-2]\d\.\d\b", text)}
    assert named >= {"01.1", "24.5"}
    assert named <= known


@pytest.mark.parametrize(("name", "at_most"), [("hour", 60), ("day", 6 * 60), ("week", 5 * 180)])
def test_a_path_fits_its_time(tool: Callable[[str], ModuleType], name: str, at_most: float) -> None:
    """In minutes that are computed from the lessons; each step has a row, and its lesson and sections are there."""
    paths = tool("paths")
    assert at_most / 3 < paths.path_minutes(name) <= at_most
    table = paths.path(name)
    assert len(table.splitlines()) == len(paths._steps(name)) + 3
    assert table.count("(lessons/") > 2


def test_one_day_writes_the_essential_things(tool: Callable[[str], ModuleType]) -> None:
    """An encoder, a loss, a loop, a probe, a patch and a hook: each exercise lies in a section that the day takes."""
    page = (DOCS / "course-day.md").read_text(encoding="utf-8")
    written = re.findall(r"^\| an? [\w ]+ \| ([\d.]+) \|$", page, re.M)
    assert len(written) == 6
    paths = tool("paths")
    taken = [one for step in paths._steps("day") for one in paths.asked_in(step)]
    assert set(written) <= set(taken)


def test_instructors_find_every_lesson(tool: Callable[[str], ModuleType]) -> None:
    """With its goal, its minutes and its printable page; what goes wrong is told of lessons that are there."""
    paths = tool("paths")
    table = paths.instructors("all")
    lessons = tool("lesson_pages").lessons()
    assert all(f"(teachers/{one.stem}.md)" in table for one in lessons)
    numbers = {one.stem.split("_")[0] for one in lessons}
    assert set(paths._told()["wrong"]) <= numbers
    assert paths.rubrics("all").count("**") >= 4


@pytest.mark.parametrize(
    "heading",
    [
        "## The path",
        "## What you need before",
        "## Learning goals",
        "## Exercises",
        "## One hour, one day, one week",
        "## For instructors",
    ],
)
def test_the_course_has_its_parts(course: str, heading: str) -> None:
    """Path, prerequisites, goals, exercises, three plans, notes."""
    assert f"\n{heading}\n" in course


def test_the_course_is_a_page_with_links_that_work(tool: Callable[[str], ModuleType]) -> None:
    """Notebooks lie outside the pages: their links lead to the repository."""
    page = tool("lessons").course("README")
    assert not re.findall(r"\]\((?!https?:|(?:lessons/)?[\w-]+\.md)[^)]*\)", page)
