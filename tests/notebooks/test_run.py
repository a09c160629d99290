"""Every notebook runs from top to bottom in a kernel of its own; the tour also becomes a page."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

from tests.notebooks import forked_kernel
from tests.notebooks.exercised import EXECUTE, FOLDER, SOLVE, read, script

WITH_EXERCISES = SOLVE.with_exercises()
EVERY = EXECUTE.lessons()
TOUR = FOLDER / "00_tour.ipynb"
OTHERS = [path for path in EVERY if path not in (*WITH_EXERCISES, TOUR)]
WRITING = [path for path in EVERY if "language_model()" in path.read_text(encoding="utf-8")]
# A link that waits to be clicked is no request.
ELSEWHERE = re.compile(
    r"src=[\"']https?://[^\"']*|<link[^>]*href=[\"']https?://[^\"']*|import\([\"']https?://[^\"']*"
)
# What Python writes of an object, and a number that was not rounded.
BARE = re.compile(r"^\s*(?:[A-Za-z_]\w*\(|[\[{(]|-?\d+\.\d{6,}|\w+\.\w+\()")
IN_OTHER_FORM = ("text/html", "text/markdown", "application/vnd")
N_PANELS = 6
"""Of the tour."""

pytestmark = [pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of models with nothing in it: notebooks read the bundled language model, here as on CI."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("SAE_NB_CACHE", str(folder))
    monkeypatch.setenv("SAE_NB_COURSE", str(tmp_path / "course"))
    return folder


@pytest.fixture(scope="module")
def run_tour() -> ModuleType:
    """The script behind `make tour`."""
    return script("run_tour")


def bare(cell: Any) -> list[str]:
    """Outputs of a cell that a reader sees as Python writes an object: a record, a tensor, a dict."""
    data = [out.data for out in cell.get("outputs", []) if "data" in out]
    plain = [d["text/plain"] for d in data if not any(k.startswith(IN_OTHER_FORM) for k in d)]
    return [text[:80] for text in plain if BARE.match(text)]


@pytest.mark.parametrize(
    "text",
    ["TrainRecord(step=500, loss=0.0446)", "tensor(4.0609)", "{'MP': 0.76}", "[1, 2]", "(1, 2)",
     "0.6571428571428571", "array([1, 2])", "np.float64(0.5)"],
)  # fmt: skip
def test_a_bare_output_is_found(text: str) -> None:
    """What the notebooks must not show; the same beside a table or a panel is never seen."""
    output = nbformat.v4.new_output("execute_result", data={"text/plain": text})
    cell = nbformat.v4.new_code_cell("x", outputs=[output])
    assert bare(cell) == [text]
    output.data["text/html"] = "<p>in words</p>"
    assert bare(cell) == []
    output.data = {"text/plain": "Minkowski sum accepted: R² 0.99 (null 0.98)"}
    assert bare(cell) == []


def run(notebook: Any, *, fresh: bool = False) -> float:
    """Execute in a kernel of its own, with or without what most lessons import."""
    seconds: float = EXECUTE.run(notebook, None if fresh else forked_kernel.manager())
    ran = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert all(cell.execution_count for cell in ran)
    assert [text for cell in ran for text in bare(cell)] == []
    return seconds


@pytest.mark.slow
@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path) -> None:
    """Its own assertions hold, the demo's of what it imports too; the documentation shows what came out."""
    notebook = EXECUTE.prepared(path)
    EXECUTE.keep(notebook, path, run(notebook, fresh=path.stem == "demo"))


def exercised(path: Path) -> Any:
    """Execute with each exercise left, then answered: no blank raises or passes, every answer passes."""
    notebook = EXECUTE.prepared(path)
    EXECUTE.keep(notebook, path, run(notebook))
    for (number, method), cell, _ in SOLVE.exercise_cells(notebook):
        text = "".join(str(out.get("data", {}).get("text/plain", "")) for out in cell.outputs)
        if cell.metadata["asked"] == "left":
            assert re.match(rf"\[{number}\] ", text)
            assert ("Predict first" if method == "reveal" else "Not answered yet") in text
        else:
            assert any(word in text for word in ("Right.", "Noted.", "Assessed.", "You predicted"))
    return notebook


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted({*WITH_EXERCISES} - {TOUR}), ids=lambda path: path.stem)
def test_notebook_runs_with_each_exercise_left_and_then_answered(path: Path) -> None:
    """Each blank has its own message; the claims hold."""
    exercised(path)


@pytest.mark.parametrize("path", WRITING, ids=lambda path: path.stem)
def test_notebook_runs_on_a_real_language_model(path: Path, smollm2: Path, cache: Path) -> None:
    """As after `sae-nb get smollm2-135m`: it says so, and its assertions hold."""
    (cache / "models").mkdir()
    (cache / "models" / "smollm2-135m").symlink_to(smollm2)
    notebook = EXECUTE.prepared(path)
    run(notebook)
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert any("SmolLM2-135M: real" in str(out.get("text", "")) for out in outputs)


@pytest.mark.slow
def test_tour_runs_and_becomes_one_page(
    run_tour: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    """Its exercises and assertions hold, a table is printed last, and the page needs nothing else."""
    monkeypatch.setattr(sys, "argv", ["run_tour.py", "--out", str(tmp_path / "tour.html")])
    tour = exercised(TOUR)
    monkeypatch.setattr(run_tour, "run", lambda notebook: notebook.update(tour))
    assert run_tour.main() == 0
    table = capsys.readouterr().out
    first = ("model", "hook point", "rows captured", "R²", "L0", "floor", "random directions")
    for name in (*first, "texts with a word of", "language model", "whole tour"):
        assert re.search(rf"^.*{name}.*\S$", table, re.MULTILINE), name
    record_property("table", table)
    page = (tmp_path / "tour.html").read_text(encoding="utf-8")
    assert page.count('<main class="sae-nb-panel') == N_PANELS
    without_plotly = page.replace(run_tour.get_plotlyjs(), "")
    assert ELSEWHERE.findall(without_plotly) == []


@pytest.mark.slow
def test_a_model_of_ones_own_gets_the_first_half(run_tour: ModuleType) -> None:
    """The cells on the bundled language model are left out, and nothing before them."""
    whole = read(TOUR)
    n_cells = len(whole.cells)
    first = run_tour.without_words(run_tour.with_material(whole, "model = None"))
    assert 10 < len(first.cells) < n_cells
    text = "\n".join(cell.source for cell in first.cells)
    assert "language_model()" not in text
    assert "model = None" in text
    assert "summarise_session" in first.cells[-1].source


@pytest.mark.slow
def test_a_failing_cell_fails_the_command(
    run_tour: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An error in the notebook gives a non-zero exit and writes no page."""
    monkeypatch.setattr(run_tour, "LANGUAGE_CELL", "raise ValueError({folder!r} + {hook_point!r})")
    out = tmp_path / "tour.html"
    monkeypatch.setattr(sys, "argv", ["run_tour.py", "--folder", "x", "--out", str(out)])
    assert run_tour.main() == 1
    assert not out.exists()
