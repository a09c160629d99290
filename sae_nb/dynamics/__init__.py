"""Depth as dynamics: states of every layer, their similarity and phases, and blocks that recur."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.dynamics.paths._linear import (
        EndpointProjection as EndpointProjection,
        LinearPhase as LinearPhase,
        endpoint_projection as endpoint_projection,
        linearise_phases as linearise_phases,
    )
    from sae_nb.dynamics.paths._perturbation import (
        LayerSwap as LayerSwap,
        SelfCorrection as SelfCorrection,
        SwapContrast as SwapContrast,
        pushed_states as pushed_states,
        self_correction as self_correction,
        swap_layers as swap_layers,
    )
    from sae_nb.dynamics.paths._states import States as States, capture_states as capture_states
    from sae_nb.dynamics.paths._trajectory import (
        ClassBasins as ClassBasins,
        Trajectories as Trajectories,
        UpdateRank as UpdateRank,
        angular_speed as angular_speed,
        class_basins as class_basins,
        directional_convergence as directional_convergence,
        patch_coherence as patch_coherence,
        trajectories as trajectories,
        update_rank as update_rank,
    )
    from sae_nb.dynamics.phases._phases import (
        PhaseEvidence as PhaseEvidence,
        Phases as Phases,
        gain_curve as gain_curve,
        phase_evidence as phase_evidence,
        phases_at as phases_at,
        segment_phases as segment_phases,
    )
    from sae_nb.dynamics.phases._segments import (
        MaxCut as MaxCut,
        SegmentErrors as SegmentErrors,
        recursive_max_cut as recursive_max_cut,
        segment_errors as segment_errors,
    )
    from sae_nb.dynamics.phases._similarity import (
        LayerSimilarity as LayerSimilarity,
        layer_similarity as layer_similarity,
    )
    from sae_nb.dynamics.raptor._config import RaptorConfig as RaptorConfig
    from sae_nb.dynamics.raptor._loop import RaptorResult as RaptorResult
    from sae_nb.dynamics.raptor._raptor import (
        BlockSizes as BlockSizes,
        Raptor as Raptor,
        RaptorBlock as RaptorBlock,
        sizes_of as sizes_of,
        start_from_teacher as start_from_teacher,
    )
    from sae_nb.dynamics.raptor._scores import (
        RaptorAccuracy as RaptorAccuracy,
        RaptorFit as RaptorFit,
        raptor_accuracy as raptor_accuracy,
        raptor_fit as raptor_fit,
    )
    from sae_nb.dynamics.raptor._training import (
        RaptorRun as RaptorRun,
        start_raptor as start_raptor,
        train_raptor as train_raptor,
    )
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.dynamics.paths._linear import fit_endpoints as fit_endpoints
    from sae_nb.dynamics.paths._states import (
        check_states as check_states,
        content_tokens as content_tokens,
        token_kinds_of as token_kinds_of,
    )
    from sae_nb.dynamics.paths._trajectory import (
        Quantity as Quantity,
        angles_between as angles_between,
        unit as unit,
    )
    from sae_nb.dynamics.phases._similarity import (
        mean_adjacent as mean_adjacent,
        mean_off_diagonal as mean_off_diagonal,
    )
    from sae_nb.dynamics.raptor._config import one_cycle as one_cycle
