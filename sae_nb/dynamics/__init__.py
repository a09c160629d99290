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
    from sae_nb.dynamics.phases._similarity import (
        LayerSimilarity as LayerSimilarity,
        layer_similarity as layer_similarity,
    )
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.dynamics.paths._linear import fit_endpoints as fit_endpoints
    from sae_nb.dynamics.paths._perturbation import (
        answers_of as answers_of,
        check_labels as check_labels,
        share_of as share_of,
    )
    from sae_nb.dynamics.paths._states import (
        TOKEN_KINDS as TOKEN_KINDS,
        TokenKind as TokenKind,
        check_states as check_states,
        content_tokens as content_tokens,
        token_kinds_of as token_kinds_of,
    )
    from sae_nb.dynamics.paths._trajectory import (
        Quantity as Quantity,
        angles_between as angles_between,
        unit as unit,
    )
    from sae_nb.dynamics.phases._phases import (
        best_cuts as best_cuts,
        check_cuts as check_cuts,
        check_fit as check_fit,
        check_similarity as check_similarity,
    )
    from sae_nb.dynamics.phases._similarity import (
        mean_adjacent as mean_adjacent,
        mean_off_diagonal as mean_off_diagonal,
    )
