"""One frozen record of plain arrays per view, and the function that computes it; panels draw them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.summaries.atom import AtomSummary, summarise_atom
    from sae_nb.summaries.catalogue import AtomCatalogue
    from sae_nb.summaries.contrast import Contrast
    from sae_nb.summaries.input_summary import InputSummary
    from sae_nb.summaries.pursuit_steps import PursuitSteps, summarise_pursuit
    from sae_nb.summaries.session import SessionSummary, summarise_session
    from sae_nb.summaries.steering import SteeringSummary, summarise_steering

_HOME = {
    "AtomCatalogue": "catalogue",
    "AtomSummary": "atom",
    "Contrast": "contrast",
    "InputSummary": "input_summary",
    "PursuitSteps": "pursuit_steps",
    "SessionSummary": "session",
    "SteeringSummary": "steering",
    "summarise_atom": "atom",
    "summarise_pursuit": "pursuit_steps",
    "summarise_session": "session",
    "summarise_steering": "steering",
}

__all__ = [
    "AtomCatalogue",
    "AtomSummary",
    "Contrast",
    "InputSummary",
    "PursuitSteps",
    "SessionSummary",
    "SteeringSummary",
    "summarise_atom",
    "summarise_pursuit",
    "summarise_session",
    "summarise_steering",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sae_nb.summaries' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sae_nb.summaries.{_HOME[name]}"), name)
