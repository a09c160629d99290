"""Notebooks on disk: paired, in sync, without outputs, thin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = [*sorted(FOLDER.glob("*_*.ipynb")), FOLDER / "demo.ipynb"]


def _read(path: Path) -> Any:
    import nbformat  # late: it takes two seconds, in every process that collects tests

    return nbformat.read(path, as_version=4)


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
