"""Notebooks on disk: paired, in sync, without outputs, thin."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = [*sorted(FOLDER.glob("*_*.ipynb")), FOLDER / "demo.ipynb"]


def _read(path: Path) -> Any:
    import nbformat  # late: it takes two seconds, in every process that collects tests

    return nbformat.read(path, as_version=4)


def test_there_are_notebooks() -> None:
    """The list below is not empty by mistake."""
    assert NOTEBOOKS
    assert NOTEBOOKS[0].stem == "00_tour"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_committed(path: Path) -> None:
    """Outputs and execution counts stay out of the repository."""
    cells = _read(path).cells
    for cell in (cell for cell in cells if cell.cell_type == "code"):
        assert not cell.outputs
        assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pair_is_in_sync(path: Path) -> None:
    """The .ipynb holds what the reviewed .py says; `make sync` refreshes it."""
    import jupytext

    reviewed = jupytext.read(path.with_suffix(".py"))
    generated = _read(path)
    assert [(c.cell_type, c.source) for c in generated.cells] == [
        (c.cell_type, c.source) for c in reviewed.cells
    ]
    assert generated.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_thin(path: Path) -> None:
    """At most ten lines a cell, and no `def` or `class` outside exercises."""
    for cell in _read(path).cells:
        if cell.cell_type != "code" or "exercise" in cell.metadata.get("tags", []):
            continue
        code = [line for line in cell.source.splitlines() if line.strip()]
        assert len(code) <= 10, cell.source
        nodes = ast.walk(ast.parse(cell.source))
        made = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Lambda)]
        assert not made, cell.source
