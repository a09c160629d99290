"""Lessons as pages: what was executed is shown, what was not says so, and a teacher's page holds on paper."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

Tool = Callable[[str], ModuleType]
PANEL = (
    '<!DOCTYPE html><html><head><title>What fires?</title><script src="plotly.min.js"></script></head>'
    "<body><main>A panel</main></body></html>"
)


@pytest.fixture
def pages(tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, with a folder of executed lessons that is empty."""
    made = tool("lesson_pages")
    monkeypatch.setattr(made.execute, "EXECUTED", tmp_path)
    made.lessons.cache_clear()
    return made


def lesson(pages: ModuleType, stem: str) -> Any:
    """A lesson by its name."""
    return next(one for one in pages.lessons() if one.stem == stem)


def keep(pages: ModuleType, stem: str, shown: dict[str, Any]) -> None:
    """Keep a lesson as if its first cell that is no exercise had shown this, and every answer had been measured."""
    path = pages.execute.FOLDER / f"{stem}.ipynb"
    notebook = pages.execute.prepared(path)
    for cell in notebook.cells:
        if cell.cell_type == "code" and "asked" not in cell.metadata:
            cell.outputs = [nbformat.v4.new_output("execute_result", data=shown)]
        elif cell.metadata.get("asked") == "answered":
            said = "[9.9] You predicted 1, measured is 0.705: 0.3 too high. Why."
            cell.outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": said})]
    pages.execute.keep(notebook, path, 12.3)
    pages.lessons.cache_clear()


def test_a_lesson_that_was_not_executed_says_so(pages: ModuleType) -> None:
    """With its cells; asked for executed ones, the build stops and names it."""
    made = pages.pages()
    assert "Not executed in this build" in made["lessons/06_the_lens.md"]
    assert "sn.load_model" in made["lessons/06_the_lens.md"]


def test_every_lesson_has_its_pages(pages: ModuleType) -> None:
    """As a student finds it, solved if there is something to solve, and printable; each links to the others."""
    made = pages.pages()
    for one in pages.lessons():
        page = made[f"lessons/{one.stem}.md"]
        assert f"(../teachers/{one.stem}.md)" in page
        assert "mybinder.org" in page
        assert "colab.research.google.com" in page
        assert (f"lessons/{one.stem}_solved.md" in made) == bool(one.exercises)
        assert f"({one.stem}_solved.md)" in page or not one.exercises
        assert "google.colab" not in page, "the cell that sets Colab up is no part of the story"
    n_pages = sum(1 + bool(one.exercises) for one in pages.lessons())
    assert pages.lesson_table("all").count("(lessons/") == n_pages


def test_blanks_stay_blank_and_answers_are_on_the_solved_page(pages: ModuleType) -> None:
    """A student's page holds no answer; a prediction can be unfolded, and hints one by one."""
    keep(pages, "06_the_lens", {"text/plain": "1"})
    made = pages.pages()
    student, solved = made["lessons/06_the_lens.md"], made["lessons/06_the_lens_solved.md"]
    assert student.count("return ...") == 2
    assert "return ..." not in solved
    assert "verdict.passed" not in student
    assert student.count('<details class="revealed">') == 1
    assert student.count("Hint 1 of ") == len(lesson(pages, "06_the_lens").exercises) > 2
    assert 'exercise("06.1")' in student
    report = student.index("exercise_report(")
    assert "lesson-output" not in student[report : student.index("---", report)]


def test_outputs_are_put_in_their_places(pages: ModuleType) -> None:
    """Panels as pages of their own that share a script, text escaped, and nothing for what only a kernel shows."""
    keep(pages, "06_the_lens", {pages.execute.PAGE: PANEL, pages.execute.VIEW: {}})
    page = pages.pages()["lessons/06_the_lens.md"]
    shown = pages.with_outputs(page, "lessons/06_the_lens.md")
    names = re.findall(
        r'<iframe loading="lazy" src="panels/(\w+\.html)" title="What fires\?">', shown
    )
    assert names
    assert len(set(names)) == 1, "one page, however often it is shown"
    panel = pages.panels[f"lessons/panels/{names[0]}"]
    assert 'src="../../gallery/plotly.min.js"' in panel
    assert "saeNbHeight" in panel
    assert panel.index("min-width") < panel.index("<body"), "before a figure is drawn"
    stream = nbformat.v4.new_output("stream", name="stdout", text="<b>")
    assert pages._output(stream) == "<pre>&lt;b&gt;</pre>"
    waiting = nbformat.v4.new_output("stream", name="stderr", text="50 %")
    assert pages._output(waiting) == ""
    view = nbformat.v4.new_output("display_data", data={pages.execute.VIEW: {}, "text/plain": "x"})
    assert pages._output(view) == ""


@pytest.mark.parametrize(
    ("titles", "kind"),
    [(["y"], "figure"), (["y", ""], "figure"), (["y", "z"], "parts"), (["y", "", ""], "parts")],
)
def test_a_figure_of_many_parts_keeps_its_width_on_a_phone(
    pages: ModuleType, titles: list[str], kind: str
) -> None:
    """One of a single part, or of two that share their vertical axis, is drawn as narrow as the page."""
    from sae_nb.figures import side_by_side

    n_parts = len(titles)
    drawn = side_by_side(["x"] * n_parts, y=titles)
    for part in range(n_parts):
        drawn.add_scatter(x=[0, 1], y=[0, 1], col=part + 1, row=1)
    assert f'<body class="{kind}">' in pages._figure_page(drawn.to_plotly_json())
    assert "body.parts" in pages.MOVED_SIDEWAYS
    assert "body.figure" not in pages.MOVED_SIDEWAYS
