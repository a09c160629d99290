"""Recipes that leave: as files that other programs steer by, each in that program's own words.

Every file describes an edit along one direction v at every position: x + (g·⟨x, v⟩ / ⟨v, v⟩ + b)·v. An
edit that a format cannot express is refused before anything is written.
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_path
from sae_nb.files._atomic import write_bytes
from sae_nb.files._tensors import write_tensors
from sae_nb.steering._request import Edit, Steering, write_lm_eval, write_vectors

COLUMNS = (
    "loader", "action", "sparse_model", "hookpoint", "feature_index", "steering_coefficient",
    "head_index", "sae_id", "description",
)  # fmt: skip
"""Of lm_eval's table. lm_eval 0.4.13, models/hf_steered.py."""

HEADER = "steering"
"""Entry of a safetensors header that describes its vectors."""

_INSTEAD = "Use recipe.to_hooks(module), which can."


def _plain(recipe: Edit, name: str) -> tuple[Float[Tensor, " d_in"], float, float]:
    """Return (v, g, b) of an edit along one direction: x + (g·⟨x, v⟩ / ⟨v, v⟩ + b)·v."""
    plain = recipe.edit.plain()
    if plain is None:
        what = getattr(recipe, "mode", "splice")
        raise ValueError(
            f"`{name}` writes an edit along one direction, got one that depends on an SAE's codes or is a "
            f'function ({what!r} at "{recipe.hook_point}"). Use mode="add" or direction=; '
            "recipe.to_hooks(module) takes every edit."
        )
    vector, gain, constant = plain
    return vector.detach().cpu().clone(), float(gain), float(constant)


@write_vectors.answer
def _write_vectors(recipe: Edit, path: str | Path) -> None:
    """Write the vector of a recipe, with a header in JSON that describes its use."""
    path = _named(path, (".safetensors",))
    vector, gain, constant = _plain(recipe, "to_vectors")
    positions = recipe.edit.positions
    if callable(positions.chosen) and not isinstance(positions.chosen, Tensor):
        raise ValueError(
            f"`to_vectors` writes positions as numbers or a name, got the function {positions.stated()!r}. "
            f"{_INSTEAD}"
        )
    point, of = recipe.hook_point, recipe.home
    entry = {
        "module": point.path,
        "side": point.side,
        "mode": getattr(recipe, "mode", "add"),
        "strength": list(getattr(recipe, "amount", (constant,))),
        "gain": gain,
        "constant": constant,
        "positions": positions.stated(),
        "steps": positions.steps,
        "applications": None if point.times is None else list(point.times),
        "atoms": getattr(recipe, "atoms", None),
    }
    about = {"model": "" if of is None else of.model_name, "vectors": {str(point): entry}}
    header = {"format": "pt", HEADER: json.dumps(about, sort_keys=True)}
    write_tensors(path, {str(point): vector}, header)


@write_lm_eval.answer
def _write_lm_eval(
    recipe: Edit, path: str | Path, sparse_model: str | None, sae_id: str | None
) -> None:
    """Write a recipe as a file of lm_eval's `steered` model."""
    path = _named(path, (".pt", ".csv"))
    vector, gain, constant = _plain(recipe, "to_lm_eval")
    module = _everywhere(recipe)
    if path.suffix == ".csv":
        write_bytes(path, _row(recipe, module, sparse_model, sae_id).encode())
        return
    for name, value in (("sparse_model", sparse_model), ("sae_id", sae_id)):
        if value is not None:
            raise ValueError(
                f"`{name}` is a column of a .csv, got {value!r} for {path.name!r}, which holds the vector "
                "itself. Leave it out."
            )
    # Adding, or holding the coordinate along v / ‖v‖ at b·‖v‖.
    if gain != 0 and not math.isclose(gain, -1):
        raise ValueError(
            "`to_lm_eval` adds a direction or holds it at a value, got one that is scaled by "
            f'{1 + gain:g} ("{recipe.hook_point}"). {_INSTEAD}'
        )
    entry = {
        "steering_vector": vector,
        "steering_coefficient": constant if gain == 0 else constant * float(vector.norm()),
        "action": "add" if gain == 0 else "clamp",
        "bias": None,
        "head_index": None,
    }
    content = io.BytesIO()
    torch.save({module: entry}, content)
    write_bytes(path, content.getvalue())


def _everywhere(recipe: Edit) -> str:
    """The module that lm_eval steers, if the recipe edits its output at every position."""
    edit, home = recipe.edit, recipe.home
    if not edit.positions.everywhere:
        raise ValueError(
            f"`to_lm_eval` steers every position and step, got positions={edit.positions.stated()!r}, "
            f"steps={edit.positions.steps!r}. {_INSTEAD}"
        )
    if recipe.hook_point.times is not None:
        raise ValueError(
            f"`to_lm_eval` steers a module each time it runs, got application {list(recipe.hook_point.times)} "
            f'of "{recipe.hook_point.path}". {_INSTEAD}'
        )
    if home is None or home.path is None:
        raise ValueError(
            f'`to_lm_eval` steers the output of a module, got "{recipe.hook_point}", which is none. Steer '
            'at an output, such as "resid_post.3".'
        )
    if not home.below:
        raise ValueError(
            "`to_lm_eval` steers modules under the `base_model` of a transformers model, got "
            f'"{home.path}" of {home.model_name}. {_INSTEAD}'
        )
    return home.below


def _row(recipe: Edit, module: str, sparse_model: str | None, sae_id: str | None) -> str:
    steering = recipe if isinstance(recipe, Steering) else None
    atoms, sae = (None, None) if steering is None else (steering.atoms, steering.sae)
    if steering is None or sae is None or atoms is None or len(atoms) != 1:
        what = "a direction" if atoms is None else f"{len(atoms)} atoms"
        raise ValueError(
            f'`to_lm_eval("….csv")` names one atom that is added, got {what}. Write a .pt, which holds the '
            "vector."
        )
    if sparse_model is None:
        raise ValueError(
            "`sparse_model` must say whose atom it is in a .csv, got None. Pass a release with its sae_id=, "
            "or what sparsify loads; or write a .pt, which holds the vector."
        )
    # lm_eval adds the atom as its file has it, which need not be of length 1.
    size = float(sae.dictionary[atoms[0]].detach().double().norm())
    amount = steering.amount[0] / size
    values = {
        "loader": "sparsify" if sae_id is None else "sae_lens",
        "action": "add",
        "sparse_model": sparse_model,
        "hookpoint": module,
        "feature_index": atoms[0],
        "steering_coefficient": amount,
        "sae_id": sae_id or "",
        "description": f"{amount:g} x atom {atoms[0]}",
    }
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    table.writerow(values)
    return text.getvalue()


def _named(path: str | Path, endings: tuple[str, ...]) -> Path:
    file = check_path(path, name="path")
    if file.suffix not in endings:
        raise ValueError(f"`path` must end in {' or '.join(endings)}, got {file.name!r}.")
    return file
