"""Live models: bundled ones, any Hugging Face checkpoint, and any torch module."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.models.bottleneck import Bottleneck, train_bottlenecks
    from sae_nb.models.bundled import bundled_names
    from sae_nb.models.inputs import Batch
    from sae_nb.models.interventions import Intervention, RunState
    from sae_nb.models.live_model import LiveModel
    from sae_nb.models.loading import load_model
    from sae_nb.models.preprocessing import Preprocess
    from sae_nb.models.wrapping import wrap

_HOME = {
    "Batch": "inputs",
    "Bottleneck": "bottleneck",
    "Intervention": "interventions",
    "LiveModel": "live_model",
    "Preprocess": "preprocessing",
    "RunState": "interventions",
    "bundled_names": "bundled",
    "load_model": "loading",
    "train_bottlenecks": "bottleneck",
    "wrap": "wrapping",
}

__all__ = [
    "Batch",
    "Bottleneck",
    "Intervention",
    "LiveModel",
    "Preprocess",
    "RunState",
    "bundled_names",
    "load_model",
    "train_bottlenecks",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sae_nb.models' has no attribute {name!r}.")
    return getattr(importlib.import_module(f"sae_nb.models.{_HOME[name]}"), name)
