"""The course's own answers, each on its own: they share no code with the solutions that judge."""

from __future__ import annotations

import ast
import json
import math
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch
from sae_nb_lessons.studies import _own_sae

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
OF_THEIR_NOTEBOOK = ("02.5", "02.6", "02.7", "05.1", "06.2", "09.3", "09.4", "19.3", "23.4")
"""Answers that need what cells above them made."""


def _cells() -> dict[tuple[str, str], str]:
    spec = spec_from_file_location("solve", NOTEBOOKS / "solve.py")
    assert spec is not None
    assert spec.loader is not None
    solve = module_from_spec(spec)
    spec.loader.exec_module(solve)
    found: dict[tuple[str, str], str] = solve.answers((NOTEBOOKS / "answers.py").read_text("utf-8"))
    return found


CELLS = _cells()
"""Number and method → what a solved notebook has above the call."""


OF_THE_TOY = {
    name: getattr(_own_sae, name)
    for name in ("encode", "unit_rows", "replacements", "hidden_rows", "on_features")
} | {
    "loss_of": _own_sae.unexplained,
    "own_sae": cache(_own_sae.own_sae),
    "scrambled": cache(_own_sae.scrambled),
}
"""What cells of lessons 02 and 09 made before a loop or a run is written; what is asked again is not trained again."""


def handed_in(source: str) -> Any:
    """What is handed to `check`: the last name that the answer's cell binds."""
    names: dict[str, Any] = {"torch": torch, "json": json, "math": math} | OF_THE_TOY
    exec(compile(source, "answer", "exec"), names)
    last = ast.parse(source).body[-1]
    return names[getattr(last, "name", None) or last.targets[0].id]  # type: ignore[attr-defined]


ANSWERS = {
    id: handed_in(source)
    for (id, method), source in CELLS.items()
    if method == "check" and id not in OF_THEIR_NOTEBOOK
}
