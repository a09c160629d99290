"""Solved copies: the student's notebook with answers, nothing else; blanks complain one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notebooks.exercised import ANSWERS, SOLVE, names_of, read, solved_copy

NOTEBOOKS = SOLVE.with_exercises()
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_every_exercise_has_its_answer_and_every_answer_its_exercise() -> None:
    """Both are keyed by number and method; what is revealed has nothing to answer."""
    asked = [key for path in NOTEBOOKS for key, _, _ in SOLVE.exercise_cells(read(path))]
    assert len(asked) == len(set(asked))
    assert {key for key in asked if key[1] != "reveal"} == set(ANSWERS)


def test_the_command_writes_the_solved_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make sync` builds them beside the notebooks: the student's notebook with answers, and nothing missing."""
    (path, *_) = NOTEBOOKS
    monkeypatch.setattr(SOLVE, "FOLDER", tmp_path)
    assert SOLVE.solve(path) == []
    (made,) = tmp_path.glob("solutions/*.ipynb")
    assert made.stem == f"{path.stem}_solved"
    assert read(made) == solved_copy(path)


@by_name
def test_only_exercise_cells_differ(path: Path) -> None:
    """Cell by cell, apart from the note on top."""
    student, target = read(path), solved_copy(path)
    assert len(student.cells) == len(target.cells)
    for before, after in zip(student.cells[1:], target.cells[1:], strict=True):
        if "exercise" not in before.metadata.get("tags", []):
            assert (before.cell_type, before.source) == (after.cell_type, after.source)


@by_name
def test_nothing_hangs_on_a_blank(path: Path) -> None:
    """A student may leave an exercise and go on: what an answer names is used in its own cell alone."""
    named: set[str] = set()
    for cell in read(path).cells:
        if cell.cell_type != "code":
            continue
        bound, used = names_of(cell.source)
        if "exercise" in cell.metadata.get("tags", []):
            named |= bound
        else:
            assert not named & used, f"{sorted(named & used)} in:\n{cell.source}"
            named -= bound
