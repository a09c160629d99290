"""Circuits: which atoms make which others, and through them the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.circuits._asked import (
        Question as Question,
        read_target as read_target,
        written_at as written_at,
    )
    from sae_nb.circuits._attributing import attribution_graph as attribution_graph
    from sae_nb.circuits._decomposing import Decomposition as Decomposition, GraphRuns as GraphRuns
    from sae_nb.circuits._faithfulness import (
        Faithfulness as Faithfulness,
        Flow as Flow,
        live_passes as live_passes,
    )
    from sae_nb.circuits._graph import (
        AttributionGraph as AttributionGraph,
        load_graph as load_graph,
    )
    from sae_nb.circuits._graph_sites import (
        Transcoders as Transcoders,
        dictionaries_by_place as dictionaries_by_place,
        given_again as given_again,
        one_input as one_input,
        position_texts as position_texts,
    )
    from sae_nb.circuits._head_scores import (
        HeadScores as HeadScores,
        head_scores as head_scores,
        pattern_scores as pattern_scores,
        repeated_texts as repeated_texts,
    )
    from sae_nb.circuits._heads import (
        CleanRun as CleanRun,
        Contributions as Contributions,
        direct_effects as direct_effects,
        head_contributions as head_contributions,
        neuron_contributions as neuron_contributions,
        part_places as part_places,
        parts_at_mean as parts_at_mean,
        written_by_heads as written_by_heads,
    )
    from sae_nb.circuits._kept_lost import FaithfulnessCurve as FaithfulnessCurve
    from sae_nb.circuits._passes import AtomTarget as AtomTarget
    from sae_nb.circuits._patching import Patching as Patching, patch_atoms as patch_atoms
    from sae_nb.circuits._path_patching import (
        PathPatching as PathPatching,
        path_patch as path_patch,
    )
    from sae_nb.circuits._query_key import QueryKey as QueryKey, qk as qk
    from sae_nb.circuits._restoring import PatchMap as PatchMap, patch as patch
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
