"""What an SAE is worth: each number with its floor, its random control and its interval."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.evaluation.attribution import Attribution, SpliceCheck, attribute
    from sae_nb.evaluation.coherence import babel, coactive_babel, distinct_atoms
    from sae_nb.evaluation.controls import RandomDictionary
    from sae_nb.evaluation.definitions import Definition, define
    from sae_nb.evaluation.fit import FitCheck, check_fit
    from sae_nb.evaluation.matching import Stability, match_atoms, stability
    from sae_nb.evaluation.measurement import Measurement
    from sae_nb.evaluation.reconstruction import explained_variance
    from sae_nb.evaluation.report import Report, evaluate
    from sae_nb.evaluation.superposition import (
        antipodal_loss,
        critical_sparsity,
        dedicated_loss,
        feature_dimensionality,
        interference,
    )
    from sae_nb.evaluation.supports import support_recovery

_HOME = {
    "Attribution": "attribution",
    "Definition": "definitions",
    "FitCheck": "fit",
    "Measurement": "measurement",
    "RandomDictionary": "controls",
    "Report": "report",
    "SpliceCheck": "attribution",
    "Stability": "matching",
    "attribute": "attribution",
    "antipodal_loss": "superposition",
    "babel": "coherence",
    "check_fit": "fit",
    "coactive_babel": "coherence",
    "critical_sparsity": "superposition",
    "dedicated_loss": "superposition",
    "define": "definitions",
    "distinct_atoms": "coherence",
    "evaluate": "report",
    "explained_variance": "reconstruction",
    "feature_dimensionality": "superposition",
    "interference": "superposition",
    "match_atoms": "matching",
    "stability": "matching",
    "support_recovery": "supports",
}

__all__ = [
    "Attribution",
    "Definition",
    "FitCheck",
    "Measurement",
    "RandomDictionary",
    "Report",
    "SpliceCheck",
    "Stability",
    "antipodal_loss",
    "attribute",
    "babel",
    "check_fit",
    "coactive_babel",
    "critical_sparsity",
    "dedicated_loss",
    "define",
    "distinct_atoms",
    "evaluate",
    "explained_variance",
    "feature_dimensionality",
    "interference",
    "match_atoms",
    "stability",
    "support_recovery",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sae_nb.evaluation' has no attribute {name!r}.")
    value = getattr(importlib.import_module(f"sae_nb.evaluation.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
