"""What the tests of notebooks share: the script that solves them, and what may stand in an exercise."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType
from typing import Any

from tests import scripts

FOLDER = Path(__file__).parents[2] / "notebooks"


def script(name: str) -> ModuleType:
    """One of the scripts beside the notebooks, as a module."""
    return scripts.script(FOLDER / f"{name}.py")


EXECUTE = script("execute")
SOLVE = EXECUTE.solve
ANSWERS = SOLVE.answers(SOLVE.ANSWERS.read_text(encoding="utf-8"))


def read(path: Path) -> Any:
    """A notebook from disk."""
    import nbformat  # late: it takes seconds, in every process that collects tests

    return nbformat.read(path, as_version=4)


def solved_copy(path: Path) -> Any:
    """The notebook with its answers."""
    notebook, missing = SOLVE.solved(read(path), ANSWERS)
    assert missing == [], "write the answers in notebooks/answers.py"
    return notebook


def names_of(source: str) -> tuple[set[str], set[str]]:
    """Names that a cell binds, and names that it reads."""
    lines = (
        "pass" if line.lstrip().startswith(("%", "!")) else line for line in source.split("\n")
    )
    bound: set[str] = set()
    used: set[str] = set()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            used.add(node.target.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
    return bound, used
