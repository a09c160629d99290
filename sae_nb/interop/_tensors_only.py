"""The only reader of pickled weights in the project: tensors and plain facts, or a refusal.

torch's `weights_only` unpickler builds tensors and containers and nothing else; whatever else a file
asks for is refused by name before it exists.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Fact = str | int | float | bool | None
_FACTS = (str, int, float, bool, type(None))


def read_tensors_only(path: str | Path) -> dict[str, Tensor]:
    """Read a `.pt` file that holds a state dict, and nothing but."""
    tensors, facts = read_tensors_and_facts(path)
    if facts:
        found = next(iter(facts))
        raise ValueError(
            f"{str(path)!r} must hold tensors only, got a {type(facts[found]).__name__} named "
            f"{found!r}. Save the state dict alone, or convert it to safetensors."
        )
    return tensors


def read_tensors_and_facts(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Fact]]:
    """Read a `.pt` file of tensors and plain values, nested names joined by dots."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Fact] = {}
    for name, value in _leaves(_unpickled(Path(path)), (), Path(path)):
        if isinstance(value, Tensor):
            tensors[name] = value.detach()
        else:
            facts[name] = value
    return tensors, facts


def _unpickled(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"No file {str(path)!r}. Check the folder's name and contents.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{str(path)!r} must be a complete file of tensors, and is not ({first}). Nothing in it "
            "was run. Download it again, or convert it to safetensors where it was made."
        ) from error


def _leaves(value: Any, at: tuple[str, ...], path: Path) -> list[tuple[str, Any]]:
    if isinstance(value, Tensor) or (at and isinstance(value, _FACTS)):
        return [(".".join(at), value)]
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(
            f"{str(path)!r} must hold tensors by name, got {type(value).__name__}"
            f"{' at ' + '.'.join(at) if at else ''}. Save a state dict."
        )
    return [leaf for name, inner in value.items() for leaf in _leaves(inner, (*at, name), path)]
