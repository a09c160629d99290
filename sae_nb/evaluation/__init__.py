"""What an SAE is worth: each number with its floor, its random control and its interval."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.evaluation.controls import RandomDictionary
    from sae_nb.evaluation.definitions import Definition, define
    from sae_nb.evaluation.matching import Stability, match_atoms, stability
    from sae_nb.evaluation.measurement import Measurement
    from sae_nb.evaluation.reconstruction import explained_variance
    from sae_nb.evaluation.report import Report, evaluate

_HOME = {
    "Definition": "definitions",
    "Measurement": "measurement",
    "RandomDictionary": "controls",
    "Report": "report",
    "Stability": "matching",
    "define": "definitions",
    "evaluate": "report",
    "explained_variance": "reconstruction",
    "match_atoms": "matching",
    "stability": "matching",
}

__all__ = [
    "Definition",
    "Measurement",
    "RandomDictionary",
    "Report",
    "Stability",
    "define",
    "evaluate",
    "explained_variance",
    "match_atoms",
    "stability",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sae_nb.evaluation' has no attribute {name!r}.")
    value = getattr(importlib.import_module(f"sae_nb.evaluation.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
