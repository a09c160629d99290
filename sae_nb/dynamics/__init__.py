"""Depth as dynamics: states of every layer, their similarity and phases, and blocks that recur."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.dynamics._atom_depths import AtomDepths as AtomDepths, atom_depths as atom_depths
    from sae_nb.dynamics._inputs import DepthInputs as DepthInputs, depth_inputs as depth_inputs
    from sae_nb.dynamics._read_by_block import (
        ReadByBlock as ReadByBlock,
        read_by_block as read_by_block,
    )
    from sae_nb.dynamics._summary import (
        DepthSummary as DepthSummary,
        summarise_depth as summarise_depth,
    )
    from sae_nb.dynamics.paths._layers_in_time import layers_in_time as layers_in_time
    from sae_nb.dynamics.paths._layouts import (
        ChosenPaths as ChosenPaths,
        DepthPaths as DepthPaths,
        choose_paths as choose_paths,
    )
    from sae_nb.dynamics.paths._perturbation import (
        SelfCorrection as SelfCorrection,
        pushed_states as pushed_states,
        self_correction as self_correction,
    )
    from sae_nb.dynamics.paths._states import (
        States as States,
        TokenKind as TokenKind,
        capture_states as capture_states,
        check_states as check_states,
        token_kinds_of as token_kinds_of,
    )
    from sae_nb.dynamics.paths._trajectory import (
        ClassBasins as ClassBasins,
        Trajectories as Trajectories,
        UpdateRank as UpdateRank,
        directions_of as directions_of,
        trajectories as trajectories,
        update_rank as update_rank,
    )
    from sae_nb.dynamics.phases._phases import (
        PhaseEvidence as PhaseEvidence,
        Phases as Phases,
        best_cuts as best_cuts,
        check_cuts as check_cuts,
        check_similarity as check_similarity,
        gain_curve as gain_curve,
        phase_evidence as phase_evidence,
        segment_phases as segment_phases,
    )
    from sae_nb.dynamics.phases._similarity import (
        LayerSimilarity as LayerSimilarity,
        layer_similarity as layer_similarity,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
