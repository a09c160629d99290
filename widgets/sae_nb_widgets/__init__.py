"""Panels that answer one question each; every panel is imported from its file on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb_widgets.atom import AtomBrowser
    from sae_nb_widgets.components import DrawPad, PairedBars, PictureGrid, Sparkbars, TokenStrip
    from sae_nb_widgets.input_lens import InputLens
    from sae_nb_widgets.input_steering import InputSteering
    from sae_nb_widgets.panel import Panel
    from sae_nb_widgets.pursuit import PursuitStepper
    from sae_nb_widgets.steering import SteeringPanel
    from sae_nb_widgets.superposition import SuperpositionToy
    from sae_nb_widgets.theming import theme
    from sae_nb_widgets.training import TrainingMonitor

_HOME = {
    "AtomBrowser": "sae_nb_widgets.atom",
    "DrawPad": "sae_nb_widgets.components",
    "InputLens": "sae_nb_widgets.input_lens",
    "PairedBars": "sae_nb_widgets.components",
    "InputSteering": "sae_nb_widgets.input_steering",
    "Panel": "sae_nb_widgets.panel",
    "PictureGrid": "sae_nb_widgets.components",
    "PursuitStepper": "sae_nb_widgets.pursuit",
    "Sparkbars": "sae_nb_widgets.components",
    "SteeringPanel": "sae_nb_widgets.steering",
    "SuperpositionToy": "sae_nb_widgets.superposition",
    "TokenStrip": "sae_nb_widgets.components",
    "TrainingMonitor": "sae_nb_widgets.training",
    "theme": "sae_nb_widgets.theming",
}

__all__ = [
    "AtomBrowser",
    "DrawPad",
    "InputLens",
    "InputSteering",
    "PairedBars",
    "Panel",
    "PictureGrid",
    "PursuitStepper",
    "Sparkbars",
    "SteeringPanel",
    "SuperpositionToy",
    "TokenStrip",
    "TrainingMonitor",
    "theme",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(
            f"module 'sae_nb_widgets' has no attribute {name!r}. Public names: {__all__}."
        )
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
