"""SAEs that are trained already, with examples, coordinates and labels: open, look, steer.

Each is a folder on the shelf, named after its live model and hook point. Nothing here imports umap,
scikit-learn or nnsight, so a demo opens at once; `recipe` is the program that made the folders.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.ready_made.examples import ExampleStore, load_examples
    from sae_nb.ready_made.matching import FactorMatch
    from sae_nb.ready_made.shelf import ready_made_names

_HOME = {
    "ExampleStore": "examples",
    "FactorMatch": "matching",
    "load_examples": "examples",
    "ready_made_names": "shelf",
}

__all__ = ["ExampleStore", "FactorMatch", "load_examples", "ready_made_names"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has {__all__}.")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
