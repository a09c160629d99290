"""Panels that answer one question each; every panel is imported from its file on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb_widgets.atom import AtomBrowser
    from sae_nb_widgets.components import DrawPad, PairedBars, PictureGrid, Sparkbars, TokenStrip
    from sae_nb_widgets.concept_map import ConceptMap
    from sae_nb_widgets.dashboard_opening import dashboard, open_dashboard
    from sae_nb_widgets.dashboards import Dashboard
    from sae_nb_widgets.depth import DepthTrajectory
    from sae_nb_widgets.input_lens import InputLens
    from sae_nb_widgets.input_steering import InputSteering
    from sae_nb_widgets.panel import Panel
    from sae_nb_widgets.pursuit import PursuitStepper
    from sae_nb_widgets.quiz import AtomQuiz
    from sae_nb_widgets.report_card import ReportCard
    from sae_nb_widgets.steering import SteeringPanel
    from sae_nb_widgets.superposition import SuperpositionToy
    from sae_nb_widgets.temporal import TemporalPanel
    from sae_nb_widgets.theming import theme
    from sae_nb_widgets.training import TrainingMonitor

_HOME = {
    "AtomBrowser": "sae_nb_widgets.atom",
    "AtomQuiz": "sae_nb_widgets.quiz",
    "ConceptMap": "sae_nb_widgets.concept_map",
    "Dashboard": "sae_nb_widgets.dashboards",
    "DepthTrajectory": "sae_nb_widgets.depth",
    "DrawPad": "sae_nb_widgets.components",
    "InputLens": "sae_nb_widgets.input_lens",
    "PairedBars": "sae_nb_widgets.components",
    "InputSteering": "sae_nb_widgets.input_steering",
    "Panel": "sae_nb_widgets.panel",
    "PictureGrid": "sae_nb_widgets.components",
    "PursuitStepper": "sae_nb_widgets.pursuit",
    "ReportCard": "sae_nb_widgets.report_card",
    "Sparkbars": "sae_nb_widgets.components",
    "SteeringPanel": "sae_nb_widgets.steering",
    "SuperpositionToy": "sae_nb_widgets.superposition",
    "TemporalPanel": "sae_nb_widgets.temporal",
    "TokenStrip": "sae_nb_widgets.components",
    "TrainingMonitor": "sae_nb_widgets.training",
    "dashboard": "sae_nb_widgets.dashboard_opening",
    "open_dashboard": "sae_nb_widgets.dashboard_opening",
    "theme": "sae_nb_widgets.theming",
}

__all__ = [
    "AtomBrowser",
    "AtomQuiz",
    "ConceptMap",
    "Dashboard",
    "DepthTrajectory",
    "DrawPad",
    "InputLens",
    "InputSteering",
    "PairedBars",
    "Panel",
    "PictureGrid",
    "PursuitStepper",
    "ReportCard",
    "Sparkbars",
    "SteeringPanel",
    "SuperpositionToy",
    "TemporalPanel",
    "TokenStrip",
    "TrainingMonitor",
    "dashboard",
    "open_dashboard",
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
