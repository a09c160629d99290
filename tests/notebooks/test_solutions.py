"""Solved copies: the student's notebook with answers, nothing else; blanks complain one by one."""

from __future__ import annotations

import copy
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"


def _solve() -> ModuleType:
    spec = importlib.util.spec_from_file_location("solve", FOLDER / "solve.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOLVE = _solve()
NOTEBOOKS = SOLVE.with_exercises()
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    """A notebook from disk."""
    return nbformat.read(path, as_version=4)


def run(notebook: Any) -> list[str]:
    """Execute in a fresh kernel; return what every exercise cell showed."""
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    return [
        "".join(str(out.get("data", {}).get("text/plain", "")) for out in cell.outputs)
        for _, cell, _ in SOLVE.exercise_cells(notebook)
    ]


def test_there_are_exercises() -> None:
    """The list below is not empty by mistake."""
    assert NOTEBOOKS[0].stem == "01_superposition"


@by_name
def test_the_solved_copy_is_the_notebook_with_answers(path: Path) -> None:
    """Rebuilding it from the student's notebook changes nothing; every answer is there."""
    target = SOLVE.solution_of(path)
    assert target.is_file(), "run `python notebooks/solve.py` and write the answers"
    answered = SOLVE.answers(jupytext.read(target))
    rebuilt, missing = SOLVE.solved(read(path), answered)
    assert missing == []
    assert jupytext.writes(rebuilt, fmt="py:percent") == target.read_text(encoding="utf-8")
    assert nbformat.writes(rebuilt) + "\n" == target.with_suffix(".ipynb").read_text("utf-8")


@by_name
def test_only_exercise_cells_differ(path: Path) -> None:
    """Cell by cell, apart from the note on top."""
    student, target = read(path), read(SOLVE.solution_of(path).with_suffix(".ipynb"))
    assert len(student.cells) == len(target.cells)
    for before, after in zip(student.cells[1:], target.cells[1:], strict=True):
        if "exercise" not in before.metadata.get("tags", []):
            assert (before.cell_type, before.source) == (after.cell_type, after.source)


@by_name
def test_blanks_are_blank_and_answers_are_not(path: Path) -> None:
    """The student's notebook gives nothing away that the solved copy has."""
    student, target = read(path), read(SOLVE.solution_of(path).with_suffix(".ipynb"))
    answered = SOLVE.answers(target)
    for (id, method), cell, call in SOLVE.exercise_cells(student):
        if method == "reveal":
            continue
        assert "..." in cell.source[: call.start()], f"{id} has no blank"
        assert "..." not in answered[id, method]
        assert f"assert verdict.{'state' if method == 'predict' else 'passed'}" in "".join(
            c.source for key, c, _ in SOLVE.exercise_cells(target) if key == (id, method)
        )


def test_an_unanswered_exercise_is_named() -> None:
    """It keeps its blank, and the command says which."""
    student = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Title"),
            nbformat.v4.new_code_cell(
                'x = ...\nexercise("09.1").check(x)', metadata={"tags": ["exercise"]}
            ),
        ]
    )
    before = copy.deepcopy(student)
    notebook, missing = SOLVE.solved(student, {})
    assert missing == ["09.1"]
    assert notebook.cells[1].source.startswith('x = ...\nverdict = exercise("09.1").check(x)')
    assert SOLVE.answers(notebook) == {("09.1", "check"): "x = ...\n"}
    assert student == before


@pytest.mark.timeout(600)
@by_name
def test_the_students_notebook_runs_with_all_blanks_open(path: Path) -> None:
    """No cell raises; each blank has its own message and nothing is solved."""
    notebook = read(path)
    shown = run(notebook)
    keys = [key for key, _, _ in SOLVE.exercise_cells(notebook)]
    for (id, method), text in zip(keys, shown, strict=True):
        assert re.match(rf"\[{id}\] ", text)
        assert ("Predict first" if method == "reveal" else "Not answered yet") in text
    report = notebook.cells[-1] if notebook.cells[-1].cell_type == "code" else None
    if report is not None and "exercise_report" in report.source:
        assert "0 of" in str(report.outputs[-1]["data"]["text/plain"])


@pytest.mark.timeout(600)
@by_name
def test_the_solved_copy_runs_green(path: Path) -> None:
    """Every answer passes, so do the notebook's own claims."""
    shown = run(read(SOLVE.solution_of(path).with_suffix(".ipynb")))
    assert all("Right." in t or "Noted." in t or "You predicted" in t for t in shown)
