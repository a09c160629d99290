"""One frozen record of plain arrays per view, and the function that computes it; panels draw them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.summaries.atom import AtomSummary, summarise_atom
    from sae_nb.summaries.catalogue import AtomCatalogue
    from sae_nb.summaries.concept_map import ConceptMapSummary, summarise_concepts
    from sae_nb.summaries.concept_map_atlas import ConceptAtlas
    from sae_nb.summaries.contrast import Contrast
    from sae_nb.summaries.depth import DepthSummary, summarise_depth
    from sae_nb.summaries.depth_atoms import AtomDepths, atom_depths
    from sae_nb.summaries.depth_paths import DepthPaths
    from sae_nb.summaries.encoder_study import EncoderStudy, study_encoders
    from sae_nb.summaries.input_summary import InputSummary
    from sae_nb.summaries.pursuit_checks import PursuitChecks, measure_pursuits
    from sae_nb.summaries.pursuit_steps import PursuitSteps, summarise_pursuit
    from sae_nb.summaries.selectivity import (
        SelectivitySummary,
        row_factors,
        summarise_selectivity,
    )
    from sae_nb.summaries.session import SessionSummary, peak_memory, summarise_session
    from sae_nb.summaries.steering import SteeringSummary, summarise_steering
    from sae_nb.summaries.superposition import (
        SuperpositionSummary,
        fit_atoms,
        summarise_superposition,
    )
    from sae_nb.summaries.support_study import SupportStudy, study_supports

_HOME = {
    "AtomCatalogue": "catalogue",
    "AtomDepths": "depth_atoms",
    "AtomSummary": "atom",
    "ConceptAtlas": "concept_map_atlas",
    "ConceptMapSummary": "concept_map",
    "Contrast": "contrast",
    "DepthPaths": "depth_paths",
    "DepthSummary": "depth",
    "EncoderStudy": "encoder_study",
    "InputSummary": "input_summary",
    "PursuitChecks": "pursuit_checks",
    "PursuitSteps": "pursuit_steps",
    "SelectivitySummary": "selectivity",
    "SessionSummary": "session",
    "SteeringSummary": "steering",
    "SuperpositionSummary": "superposition",
    "SupportStudy": "support_study",
    "atom_depths": "depth_atoms",
    "fit_atoms": "superposition",
    "measure_pursuits": "pursuit_checks",
    "row_factors": "selectivity",
    "study_encoders": "encoder_study",
    "study_supports": "support_study",
    "peak_memory": "session",
    "summarise_atom": "atom",
    "summarise_concepts": "concept_map",
    "summarise_depth": "depth",
    "summarise_pursuit": "pursuit_steps",
    "summarise_selectivity": "selectivity",
    "summarise_session": "session",
    "summarise_steering": "steering",
    "summarise_superposition": "superposition",
}

__all__ = [
    "AtomCatalogue",
    "AtomDepths",
    "AtomSummary",
    "ConceptAtlas",
    "ConceptMapSummary",
    "Contrast",
    "DepthPaths",
    "DepthSummary",
    "EncoderStudy",
    "InputSummary",
    "PursuitChecks",
    "PursuitSteps",
    "SelectivitySummary",
    "SessionSummary",
    "SteeringSummary",
    "SuperpositionSummary",
    "SupportStudy",
    "atom_depths",
    "fit_atoms",
    "measure_pursuits",
    "peak_memory",
    "row_factors",
    "study_encoders",
    "study_supports",
    "summarise_atom",
    "summarise_concepts",
    "summarise_depth",
    "summarise_pursuit",
    "summarise_selectivity",
    "summarise_session",
    "summarise_steering",
    "summarise_superposition",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sae_nb.summaries' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sae_nb.summaries.{_HOME[name]}"), name)
