"""A direction as one safetensors file, which programs that steer read as they read `recipe.to_vectors`.

One tensor under the hook point's name. Header entry "steering", JSON: `model`, and under `vectors` how it is
used: a `constant` of the vector, its usual size, is added. Header entry "direction", JSON: the record's fields.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sae_nb.files._atomic import parsed_json
from sae_nb.files._tensors import read_tensors, write_tensors
from sae_nb.steering._export import HEADER

if TYPE_CHECKING:
    from sae_nb.steering._direction import Direction

    Made = TypeVar("Made", bound=Direction)

ENDING, ENTRY = ".safetensors", "direction"


def write(direction: Direction, path: str | Path) -> None:
    """Write a direction as one file."""
    plain = {one.name: getattr(direction, one.name) for one in fields(direction)}
    vector, place = plain.pop("vector"), direction.hook_point
    use = {"mode": "add", "gain": 0.0, "constant": direction.scale, "strength": [direction.scale]}
    about = {"model": direction.model_name, "vectors": {place: use}}
    header = {"format": "pt", HEADER: json.dumps(about), ENTRY: json.dumps(plain)}
    write_tensors(path, {place: vector}, header)


def read(kind: type[Made], path: str | Path) -> Made:
    """Read a direction from its file.

    Raises
    ------
    FileNotFoundError, ValueError: If there is none, it is damaged, or holds something else.
    """
    from safetensors import safe_open

    tensors = read_tensors(path)
    with safe_open(path, framework="pt") as file:
        written = (file.metadata() or {}).get(ENTRY)
    if written is None:
        raise ValueError(
            f"`path` must be the file of a direction, got {str(path)!r}, whose header has no {ENTRY!r}. Of a "
            "plain vector pass the tensor as `direction=`."
        )
    try:
        plain: dict[str, Any] = parsed_json(written)
        vector = tensors[plain["hook_point"]].float()
        found = kind(vector=vector, **plain)
        length, numbers = float(vector.norm()), (found.scale + found.middle) * 0 == 0
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} must hold the fields of a direction, and does not ({error}). It was altered, or "
            "written by another version; save it again."
        ) from error
    if vector.ndim != 1 or not abs(length - 1) < 1e-3 or not numbers:
        raise ValueError(
            f"{str(path)!r} must hold a vector of length 1 with a finite scale, got shape "
            f"{tuple(vector.shape)}, length {length:g}, scale {found.scale:g}. It was altered; save it again."
        )
    return found
