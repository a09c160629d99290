"""Studies of circuits beyond the graph and patching, which are in `sae_nb.circuits`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.circuits._aligning import (
        Algorithm as Algorithm,
        Alignment as Alignment,
        align as align,
    )
    from sae_nb_studies.circuits._deciding import (
        DecisionPredictions as DecisionPredictions,
        predict_decisions as predict_decisions,
    )
    from sae_nb_studies.circuits._dissociating import (
        Dissociation as Dissociation,
        Task as Task,
        dissociate as dissociate,
    )
    from sae_nb_studies.circuits._interactions import (
        InteractionBasis as InteractionBasis,
        Modules as Modules,
        interaction_basis as interaction_basis,
    )
    from sae_nb_studies.circuits._known import (
        KnownCircuit as KnownCircuit,
        known_circuit as known_circuit,
    )
    from sae_nb_studies.circuits._lorsa_heads import (
        draw_lorsa_heads as draw_lorsa_heads,
        lorsa_head_scores as lorsa_head_scores,
    )
    from sae_nb_studies.circuits._membership import (
        LearnedMembership as LearnedMembership,
        learn_membership as learn_membership,
    )
    from sae_nb_studies.circuits._neurons import neuron_transcoders as neuron_transcoders
    from sae_nb_studies.circuits._observable import (
        Observable as Observable,
        observable as observable,
    )
    from sae_nb_studies.circuits._parts import (
        PartMatch as PartMatch,
        WeightParts as WeightParts,
        decompose_weights as decompose_weights,
        random_parts as random_parts,
        singular_parts as singular_parts,
    )
    from sae_nb_studies.circuits._phrases import (
        PhraseTree as PhraseTree,
        phrase_contributions as phrase_contributions,
        phrase_tree as phrase_tree,
    )
    from sae_nb_studies.circuits._probing import (
        PromptGroups as PromptGroups,
        probe_prompts as probe_prompts,
    )
    from sae_nb_studies.circuits._pruning import (
        CircuitFaithfulness as CircuitFaithfulness,
        PrunedCircuit as PrunedCircuit,
        prune_circuit as prune_circuit,
    )
    from sae_nb_studies.circuits._shapes import (
        Correctness as Correctness,
        graph_features as graph_features,
        predict_correctness as predict_correctness,
    )
    from sae_nb_studies.circuits._weights import (
        AtomConnections as AtomConnections,
        check_connections as check_connections,
        de_embed as de_embed,
        weight_connections as weight_connections,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
