"""A lens as a folder: maps as safetensors, everything else as JSON."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sae_nb.files._atomic import json_object, read_manifest
from sae_nb.files._tensors import read_tensors, write_folder
from sae_nb.lenses._lens import Lens
from sae_nb.models import bundled_names, load_model

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

KIND = "lens"
_FACTS, _TENSORS, RUNNING = "lens.json", "lens.safetensors", "running.safetensors"
_PLAIN = ("kind", "n_layers", "d", "model_name", "head_name", "skip_first", "n_done", "n_wanted")


def write_lens(
    lens: Lens, folder: str | Path, *, half: bool = False, running: dict[str, Tensor] | None = None
) -> None:
    """Write a lens; `running` are the sums of a fit that is under way."""
    facts: dict[str, Any] = {name: getattr(lens, name) for name in _PLAIN}
    facts |= {
        "layers": list(lens.layers),
        "places": list(lens.places),
        "counts": list(lens.counts),
        "weights": None if lens.weights is None else list(lens.weights),
        "facts": dict(lens.facts),
        "stream": lens.stream,
    }
    held = {"maps": lens.maps, "offsets": lens.offsets, "slope": lens.slope}
    tensors = {name: x.half() if half else x.float() for name, x in held.items() if x is not None}
    if lens.course is not None:
        tensors["course"] = lens.course
    files = {_TENSORS: tensors} | ({} if running is None else {RUNNING: running})
    write_folder(folder, KIND, json={_FACTS: facts}, tensors=files)


def bundled_model(name: str | None) -> LiveModel | None:
    """Return the model of a lens where it comes with the library."""
    return load_model(name) if name in bundled_names() else None


def read_lens(folder: str | Path) -> Lens:
    """Return the lens of a folder that `Lens.save` or a fit wrote, attached to no model.

    Raises
    ------
    FileNotFoundError, ValueError: If it is not there, damaged, or of another kind.
    """
    folder = Path(folder)
    read_manifest(folder, KIND)
    facts, tensors = json_object(folder / _FACTS), read_tensors(folder / _TENSORS)
    try:
        weights = facts["weights"]
        lens = Lens(
            **{name: facts[name] for name in _PLAIN},
            layers=tuple(facts["layers"]),
            places=tuple(facts["places"]),
            counts=tuple(facts["counts"]),
            weights=None if weights is None else (weights[0], weights[1]),
            facts=facts["facts"],
            stream=facts.get("stream"),
            maps=_full(tensors.get("maps")),
            offsets=_full(tensors.get("offsets")),
            slope=_full(tensors.get("slope")),
            course=tensors.get("course"),
            opens=partial(bundled_model, facts["model_name"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{str(folder)!r} must hold the facts of a lens, and does not ({error}). It was altered, or "
            "written by another version; fit it again."
        ) from error
    if lens.maps is None:
        return lens
    to = lens.d if lens.stream is None else lens.maps.shape[2]  # the decoder's states
    shape = (len(lens.layers), len(lens.places), to, lens.d)
    if tuple(lens.maps.shape) != shape:
        raise ValueError(
            f"{str(folder)!r} must hold maps of shape {shape}, got {tuple(lens.maps.shape)}. Fit it again."
        )
    return lens


def _full(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.to(torch.float32)


def read_running(folder: str | Path) -> dict[str, Tensor] | None:
    """Return the sums of a fit that was stopped; None of one that is finished."""
    file = Path(folder) / RUNNING
    return read_tensors(file) if file.is_file() else None
