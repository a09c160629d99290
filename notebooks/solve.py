"""Write the solved copy of every notebook with exercises: the student's cells, with the answers kept.

    python notebooks/solve.py [NOTEBOOK …]

An exercise is a cell tagged `exercise` whose last line calls `exercise("01.2")`. In the solved copy,
`solutions/01_superposition_solved.py`, the lines above that call are the answer. They are the only
thing a person edits there: everything else is rebuilt from the student's notebook, so the two cannot
drift apart. An exercise without an answer is written with its blank and fails where it stands.
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat

FOLDER = Path(__file__).parent
CALL = re.compile(
    r'^(?:verdict = )?(?P<call>exercise\("(?P<id>[\w.]+)"\)\.(?P<method>\w+)\(.*)$',
    re.MULTILINE,
)
NOTE = (
    "> The solved copy, written by `notebooks/solve.py`. Edit only the answers here, and everything "
    "else in the notebook itself.\n\n"
)
Key = tuple[str, str]


def exercise_cells(notebook: Any) -> Iterator[tuple[Key, Any, re.Match[str]]]:
    """Cells tagged `exercise`: number and method asked, the cell, and the call in it."""
    for cell in notebook.cells:
        if "exercise" in cell.metadata.get("tags", []):
            call = CALL.search(cell.source)
            if call is None:
                raise ValueError(f"a cell tagged `exercise` must ask one, got:\n{cell.source}")
            yield (call["id"], call["method"]), cell, call


def answers(notebook: Any) -> dict[Key, str]:
    """What stands above the call in every exercise cell."""
    return {key: cell.source[: call.start()] for key, cell, call in exercise_cells(notebook)}


def solved(student: Any, answered: dict[Key, str]) -> tuple[Any, list[str]]:
    """The student's notebook with answers in place of blanks, and the numbers without an answer."""
    notebook, missing = copy.deepcopy(student), []
    for key, cell, call in exercise_cells(notebook):
        blank = cell.source[: call.start()]
        if "..." in answered.get(key, blank):
            missing.append(key[0])
        # A prediction is noted; it passes when it is revealed.
        test = 'verdict.state == "noted"' if key[1] == "predict" else "verdict.passed"
        asked = f"verdict = {call['call']}\nassert {test}, verdict.message\nverdict"
        cell.source = f"{answered.get(key, blank)}{asked}"
    notebook.cells[0].source = f"{NOTE}{notebook.cells[0].source}"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook, missing


def solution_of(path: Path) -> Path:
    """Where the solved copy of a notebook is reviewed."""
    return FOLDER / "solutions" / f"{path.stem}_solved.py"


def solve(path: Path) -> list[str]:
    """Write both files of one solved copy; return the numbers of exercises without an answer."""
    student, target = nbformat.read(path.with_suffix(".ipynb"), as_version=4), solution_of(path)
    answered = answers(jupytext.read(target)) if target.is_file() else {}
    notebook, missing = solved(student, answered)
    target.parent.mkdir(exist_ok=True)
    jupytext.write(notebook, target, fmt="py:percent")
    # Not through jupytext, which would stamp the file: the same answers give the same bytes.
    nbformat.write(notebook, target.with_suffix(".ipynb"))
    return missing


def with_exercises() -> list[Path]:
    """Notebooks that have some."""
    every = sorted(FOLDER.glob("*_*.ipynb"))
    return [p for p in every if any(exercise_cells(nbformat.read(p, as_version=4)))]


def main() -> int:
    """Solve the notebooks named, or all that have exercises."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    chosen = parser.parse_args().notebooks or with_exercises()
    unanswered = [number for path in chosen for number in solve(path)]
    if unanswered:
        print(f"No answer yet: {', '.join(unanswered)}. Write it in notebooks/solutions.")
    return 1 if unanswered else 0


if __name__ == "__main__":
    sys.exit(main())
