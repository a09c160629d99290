"""Executed lessons are kept until a source of theirs changes, with panels and figures as pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebooks.exercised import EXECUTE, FOLDER

LESSON = FOLDER / "06_the_lens.ipynb"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of executed lessons."""
    monkeypatch.setattr(EXECUTE, "EXECUTED", tmp_path)
    return tmp_path


def _notebook(*sources: str) -> Any:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.slow
def test_a_panel_and_a_live_figure_are_kept_as_they_were_at_the_end() -> None:
    """Each in the output of the cell that showed it, also one that a later cell changed; seconds are counted."""
    notebook = _notebook(
        "import sae_nb_widgets as sw, plotly.graph_objects as go\ntoy = sw.SuperpositionToy()\ntoy",
        "toy.wait()\ntoy.sparsity = 0.9\ntoy.wait()",
        "go.FigureWidget(go.Scatter(x=[0, 1], y=[2, 3]))",
        "1 + 1",
    )
    seconds = EXECUTE.run(notebook)
    assert seconds > 0.5
    panel, _, figure, number = (list(cell.outputs) for cell in notebook.cells)
    page = panel[-1].data[EXECUTE.PAGE]
    assert page.count("<main") == 1
    assert "0.9" in page
    assert figure[0].data[EXECUTE.PLOTLY]["data"][0]["type"] == "scatter"
    assert EXECUTE.PAGE not in number[0].data
    assert len(notebook.cells) == 4, "the cell that wrote the pages is gone"


def test_an_error_in_a_cell_is_told_and_nothing_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the notebook."""
    monkeypatch.setattr(EXECUTE, "prepared", lambda path: _notebook("1 / 0"))
    line = EXECUTE.execute(LESSON)
    assert line.startswith("FAILED 06_the_lens")
    assert "ZeroDivisionError" in line
    assert list(folder.iterdir()) == []


def test_what_is_kept_is_fresh_until_a_cell_or_a_file_of_the_package_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And then it is still there, marked."""
    assert EXECUTE.kept(LESSON) is None
    EXECUTE.keep(EXECUTE.prepared(LESSON), LESSON, 3.14)
    notebook, fresh = EXECUTE.kept(LESSON)
    assert fresh
    assert notebook.metadata[EXECUTE.NOTED]["seconds"] == 3.1
    other = EXECUTE.prepared(LESSON)
    other.cells[-1].source += " "
    with monkeypatch.context() as patched:
        patched.setattr(EXECUTE, "prepared", lambda path: other)
        assert EXECUTE.kept(LESSON)[1] is False
    monkeypatch.setattr(EXECUTE, "package", lambda: "another")
    assert EXECUTE.kept(LESSON)[1] is False


def test_the_hash_of_the_package_is_of_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every file, by name, except compiled ones."""
    (tmp_path / "sae_nb" / "__pycache__").mkdir(parents=True)
    file = tmp_path / "sae_nb" / "a.py"
    file.write_text("1")
    monkeypatch.setattr(EXECUTE, "ROOT", tmp_path)
    hashed = EXECUTE.package.__wrapped__
    before = hashed()
    (tmp_path / "sae_nb" / "__pycache__" / "a.pyc").write_text("x")
    assert hashed() == before
    file.write_text("2")
    assert hashed() != before
    file.rename(tmp_path / "sae_nb" / "b.py")
    assert hashed() != before


def test_blanks_come_before_answers_and_every_cell_says_which_it_is() -> None:
    """No two cells have one id."""
    notebook = EXECUTE.left_then_answered(LESSON)
    asked = [cell.metadata["asked"] for cell in notebook.cells if "asked" in cell.metadata]
    assert asked.count("left") == asked.count("answered") > 2
    assert asked[0] == "left"
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
