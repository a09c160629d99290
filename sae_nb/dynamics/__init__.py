"""Depth as dynamics: states of every layer, their similarity and phases, and blocks that recur."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.dynamics.basins import ClassBasins, class_basins
    from sae_nb.dynamics.coherence import patch_coherence
    from sae_nb.dynamics.directions import angular_speed, directional_convergence
    from sae_nb.dynamics.layer_swap import LayerSwap, SwapContrast, swap_layers
    from sae_nb.dynamics.linearisation import LinearPhase, linearise_phases
    from sae_nb.dynamics.max_cut import MaxCut, recursive_max_cut
    from sae_nb.dynamics.perturbation import SelfCorrection, pushed_states, self_correction
    from sae_nb.dynamics.phase_nulls import PhaseEvidence, phase_evidence
    from sae_nb.dynamics.phases import Phases, gain_curve, phases_at, segment_phases
    from sae_nb.dynamics.projections import EndpointProjection, endpoint_projection
    from sae_nb.dynamics.ranks import UpdateRank, update_rank
    from sae_nb.dynamics.raptor import Raptor, sizes_of
    from sae_nb.dynamics.raptor_block import BlockSizes, RaptorBlock
    from sae_nb.dynamics.raptor_config import RaptorConfig
    from sae_nb.dynamics.raptor_loop import RaptorResult
    from sae_nb.dynamics.raptor_run import RaptorRun, start_raptor
    from sae_nb.dynamics.raptor_scores import RaptorAccuracy, RaptorFit, raptor_accuracy, raptor_fit
    from sae_nb.dynamics.raptor_start import start_from_teacher
    from sae_nb.dynamics.raptor_training import train_raptor
    from sae_nb.dynamics.segments import SegmentErrors, segment_errors
    from sae_nb.dynamics.similarity import LayerSimilarity, layer_similarity
    from sae_nb.dynamics.states import States, capture_states
    from sae_nb.dynamics.trajectory import Trajectories, trajectories

_HOME = {
    "BlockSizes": "raptor_block",
    "ClassBasins": "basins",
    "EndpointProjection": "projections",
    "LayerSimilarity": "similarity",
    "LayerSwap": "layer_swap",
    "LinearPhase": "linearisation",
    "MaxCut": "max_cut",
    "PhaseEvidence": "phase_nulls",
    "Phases": "phases",
    "Raptor": "raptor",
    "RaptorAccuracy": "raptor_scores",
    "RaptorBlock": "raptor_block",
    "RaptorConfig": "raptor_config",
    "RaptorFit": "raptor_scores",
    "RaptorResult": "raptor_loop",
    "RaptorRun": "raptor_run",
    "SegmentErrors": "segments",
    "SelfCorrection": "perturbation",
    "States": "states",
    "SwapContrast": "layer_swap",
    "Trajectories": "trajectory",
    "UpdateRank": "ranks",
    "angular_speed": "directions",
    "capture_states": "states",
    "class_basins": "basins",
    "directional_convergence": "directions",
    "endpoint_projection": "projections",
    "gain_curve": "phases",
    "layer_similarity": "similarity",
    "linearise_phases": "linearisation",
    "patch_coherence": "coherence",
    "phase_evidence": "phase_nulls",
    "phases_at": "phases",
    "pushed_states": "perturbation",
    "raptor_accuracy": "raptor_scores",
    "raptor_fit": "raptor_scores",
    "recursive_max_cut": "max_cut",
    "segment_errors": "segments",
    "segment_phases": "phases",
    "self_correction": "perturbation",
    "sizes_of": "raptor",
    "start_from_teacher": "raptor_start",
    "start_raptor": "raptor_run",
    "swap_layers": "layer_swap",
    "train_raptor": "raptor_training",
    "trajectories": "trajectory",
    "update_rank": "ranks",
}

__all__ = [
    "BlockSizes",
    "ClassBasins",
    "EndpointProjection",
    "LayerSimilarity",
    "LayerSwap",
    "LinearPhase",
    "MaxCut",
    "PhaseEvidence",
    "Phases",
    "Raptor",
    "RaptorAccuracy",
    "RaptorBlock",
    "RaptorConfig",
    "RaptorFit",
    "RaptorResult",
    "RaptorRun",
    "SegmentErrors",
    "SelfCorrection",
    "States",
    "SwapContrast",
    "Trajectories",
    "UpdateRank",
    "angular_speed",
    "capture_states",
    "class_basins",
    "directional_convergence",
    "endpoint_projection",
    "gain_curve",
    "layer_similarity",
    "linearise_phases",
    "patch_coherence",
    "phase_evidence",
    "phases_at",
    "pushed_states",
    "raptor_accuracy",
    "raptor_fit",
    "recursive_max_cut",
    "segment_errors",
    "segment_phases",
    "self_correction",
    "sizes_of",
    "start_from_teacher",
    "start_raptor",
    "swap_layers",
    "train_raptor",
    "trajectories",
    "update_rank",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sae_nb.dynamics' has no attribute {name!r}.")
    value = getattr(importlib.import_module(f"sae_nb.dynamics.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
