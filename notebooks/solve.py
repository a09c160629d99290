"""Write the solved copy of every notebook with exercises: the student's cells, with the answers.

    python notebooks/solve.py [NOTEBOOK …]

An exercise is a cell tagged `exercise` whose last line calls `exercise("01.3")`. What stands above that call
is blank for the student; `answers.py` holds what belongs there. Solved copies are built, into `solutions/`,
and not committed, so the two cannot drift apart. An exercise without an answer keeps its blank and fails
where it stands.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path
from typing import Any

from sae_nb_lessons.exercises._cells import CALL as CALL, Key, answers, exercise_cells

FOLDER = Path(__file__).parent
ANSWERS = FOLDER / "answers.py"
NOTE = (
    "> The solved copy, written by `notebooks/solve.py`. Edit the answers in `notebooks/answers.py`, and "
    "everything else in the notebook itself.\n\n"
)
NOTED = ("predict", "write")
"""What is noted and judged later."""


def solved(student: Any, answered: dict[Key, str]) -> tuple[Any, list[str]]:
    """The student's notebook with answers in place of blanks, and the numbers without an answer."""
    notebook, missing = copy.deepcopy(student), []
    for key, cell, call in exercise_cells(notebook):
        above = cell.source[: call.start()]
        if key in answered:
            above = answered[key] + above[len(above.rstrip()) :]
        if "..." in above:
            missing.append(key[0])
        # A prediction is noted, and passes when it is revealed; a text, when it is scored.
        test = 'verdict.state == "noted"' if key[1] in NOTED else "verdict.passed"
        cell.source = f"{above}verdict = {call['call']}\nassert {test}, verdict.message\nverdict"
    notebook.cells[0].source = f"{NOTE}{notebook.cells[0].source}"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook, missing


def solve(path: Path) -> list[str]:
    """Write the solved copy of a notebook; return the numbers of exercises without an answer."""
    import nbformat  # late: it takes seconds

    student = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    notebook, missing = solved(student, answers(ANSWERS.read_text(encoding="utf-8")))
    target = FOLDER / "solutions" / f"{path.stem}_solved.ipynb"
    target.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, target)
    return missing


def with_exercises() -> list[Path]:
    """Notebooks that have some."""
    found = []
    for path in sorted(FOLDER.glob("*_*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        if any("exercise" in cell["metadata"].get("tags", []) for cell in cells):
            found.append(path)
    return found


def main() -> int:
    """Solve the notebooks named, or all that have exercises."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    chosen = parser.parse_args().notebooks or with_exercises()
    unanswered = [number for path in chosen for number in solve(path)]
    if unanswered:
        print(f"No answer yet: {', '.join(unanswered)}. Write it in notebooks/answers.py.")
    return 1 if unanswered else 0


if __name__ == "__main__":
    sys.exit(main())
