"""Circuits: which atoms make which others, and through them the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.studies.circuits._aligning import (
        Algorithm as Algorithm,
        Alignment as Alignment,
        align as align,
    )
    from sae_nb.studies.circuits._attributing import attribution_graph as attribution_graph
    from sae_nb.studies.circuits._deciding import (
        DecisionPredictions as DecisionPredictions,
        predict_decisions as predict_decisions,
    )
    from sae_nb.studies.circuits._decomposing import Decomposition as Decomposition
    from sae_nb.studies.circuits._dissociating import (
        Dissociation as Dissociation,
        Task as Task,
        dissociate as dissociate,
    )
    from sae_nb.studies.circuits._faithfulness import Faithfulness as Faithfulness, Flow as Flow
    from sae_nb.studies.circuits._graph import (
        AttributionGraph as AttributionGraph,
        load_graph as load_graph,
    )
    from sae_nb.studies.circuits._heads import (
        Contributions as Contributions,
        head_contributions as head_contributions,
        neuron_contributions as neuron_contributions,
    )
    from sae_nb.studies.circuits._interactions import (
        InteractionBasis as InteractionBasis,
        Modules as Modules,
        interaction_basis as interaction_basis,
    )
    from sae_nb.studies.circuits._kept_lost import FaithfulnessCurve as FaithfulnessCurve
    from sae_nb.studies.circuits._known import (
        KnownCircuit as KnownCircuit,
        known_circuit as known_circuit,
    )
    from sae_nb.studies.circuits._neurons import neuron_transcoders as neuron_transcoders
    from sae_nb.studies.circuits._observable import (
        Observable as Observable,
        observable as observable,
    )
    from sae_nb.studies.circuits._passes import AtomTarget as AtomTarget
    from sae_nb.studies.circuits._patching import Patching as Patching, patch_atoms as patch_atoms
    from sae_nb.studies.circuits._probing import (
        PromptGroups as PromptGroups,
        probe_prompts as probe_prompts,
    )
    from sae_nb.studies.circuits._restoring import PatchMap as PatchMap, patch as patch
    from sae_nb.studies.circuits._shapes import (
        Correctness as Correctness,
        graph_features as graph_features,
        predict_correctness as predict_correctness,
    )
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the panel
    from sae_nb.studies.circuits._summary import (
        Circuit as Circuit,
        CircuitAnswer as CircuitAnswer,
        CircuitSummary as CircuitSummary,
        place_words as place_words,
        summarise_flow as summarise_flow,
    )
