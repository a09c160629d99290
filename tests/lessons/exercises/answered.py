"""The course's own answers, each on its own: they share no code with the solutions that judge."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sae_nb_widgets as sw
import torch
from sae_nb_lessons import own_claim
from sae_nb_lessons.exercises._reading import LENS_TEXT
from sae_nb_lessons.studies import _own_sae

import sae_nb as sn

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"


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


@cache
def _fit(*given: Any) -> tuple[torch.Tensor, ...]:
    """What the loop of 02.5 returns."""
    one = _own_sae.own_sae(*given, cooled=False)
    return one.E, one.a, one.D, one.b


def _rows_of_a_model() -> Any:
    images = sn.data.scenes(1000, seed=0)
    return sn.capture(sn.load_model("tiny-vit"), images, "resid_post.6", progress=False).x


def _steering(n: int) -> dict[str, Any]:
    """The panel of 05 or 23 on the first sevens, and the examples that name its atoms."""
    vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    known = sn.load_examples("tiny-vit/resid_post.6")
    images, four = known.acts.context.pictures, known.match("digit 4").atom
    sevens = images[vit(images).argmax(dim=-1) == 7][:n]
    panel = sw.SteeringPanel(vit, sae.hook_point, sae, sevens, known.catalogue(sae), atom=four)
    panel.wait()
    return {"known": known, "panel": panel, "steering": panel}


def _reports(*controls: float) -> dict[str, Any]:
    return {"reports": [{"ce_recovered_mean": SimpleNamespace(control=one)} for one in controls]}


ABOVE: dict[str, Callable[[], dict[str, Any]]] = {
    "02.5": dict,
    "02.6": lambda: {"fit": _fit, "hidden": [_own_sae.hidden_rows(seed) for seed in range(3)]},
    "02.7": lambda: {"fit": _fit, "x": _rows_of_a_model()},
    "05.1": lambda: _steering(4),
    "06.2": lambda: {"lens": sn.load_lens("tiny-gpt"), "text": LENS_TEXT},
    "09.3": dict,
    "09.4": lambda: {"line": 0.95, "run": _own_sae.toy_run, "own_claim": own_claim},
    "19.3": lambda: _reports(0.674, 0.674),
    "23.4": lambda: _steering(1),
}
"""Exercise → what cells above its answer made; `test_panels_of_electives` reads the report of 19.3 off its lesson."""


def handed_in(source: str, id: str = "") -> Any:
    """What is handed to `check`: the last name that the answer's cell binds."""
    names: dict[str, Any] = {"torch": torch, "sn": sn, "json": json, "math": math} | OF_THE_TOY
    names |= above(id)
    exec(compile(source, "answer", "exec"), names)
    last = ast.parse(source).body[-1]
    bound = (one for one in ast.walk(last) if isinstance(one, ast.FunctionDef | ast.Name))
    return names[getattr(one := next(bound), "name", None) or one.id]  # type: ignore[attr-defined]


@cache
def above(id: str) -> dict[str, Any]:
    """What cells above an exercise made, beside the toy's."""
    return ABOVE[id]() if id in ABOVE else {}


@cache
def answer(id: str) -> Any:
    """The course's answer; made when it is asked for where it takes seconds."""
    return ANSWERS[id] if id in ANSWERS else handed_in(CELLS[id, "check"], id)


ANSWERS = {
    id: handed_in(source)
    for (id, method), source in CELLS.items()
    if method == "check" and id not in ABOVE
}
