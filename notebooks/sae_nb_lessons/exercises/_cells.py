"""Exercises as cells of notebooks: which cell asks which, the answer of each, and the digest of those who judge."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parents[1]
"""The folder of the lessons, in a checkout."""

CALL = re.compile(
    r'^(?:verdict = )?(?P<call>exercise\("(?P<id>[\w.]+)"\)\.(?P<method>\w+)\(.*)$',
    re.MULTILINE,
)
CELL = re.compile(r"^# %% (?P<id>[\w.]+) (?P<method>\w+)$", re.MULTILINE)

Key = tuple[str, str]
"""Number of an exercise, and what is asked of it."""


def exercise_cells(notebook: Any) -> Iterator[tuple[Key, Any, re.Match[str]]]:
    """Yield cells tagged `exercise`: number and method asked, the cell, and the call in it."""
    for cell in notebook.cells:
        if "exercise" in cell.metadata.get("tags", []):
            call = CALL.search(cell.source)
            if call is None:
                raise ValueError(f"a cell tagged `exercise` must ask one, got:\n{cell.source}")
            yield (call["id"], call["method"]), cell, call


def numbered(id: str) -> str:
    """Return the number of an exercise with the zero that may be left out: "1.3" is "01.3"."""
    return re.sub(r"^(\d)\.", r"0\1.", id.strip())


def answers(text: str) -> dict[Key, str]:
    """Return the cells of `answers.py`, by the number and method above each."""
    _, *parts = CELL.split(text)
    found = {
        (id, method): body.strip() for id, method, body in zip(*[iter(parts)] * 3, strict=True)
    }
    if len(found) < len(parts) // 3:
        raise ValueError("an exercise must have one answer, but answers.py has two for one of them")
    return found


@cache
def solutions() -> dict[Key, str]:
    """Return the answers of the whole course: of the checkout, or of the installed package; {} without either."""
    for file in (NOTEBOOKS / "answers.py", HERE / "answers.py"):
        if file.is_file():
            return answers(file.read_text("utf-8"))
    return {}


@cache
def digest() -> str:
    """Return the digest of the files that ask and judge: the same wherever the same checkers are installed."""
    found = hashlib.sha256()
    for path in sorted((*HERE.glob("_*.py"), *HERE.glob("*.toml"))):
        found.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]
