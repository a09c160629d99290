"""One frozen record of plain arrays per view, and the function that computes it; panels draw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import lazy_exports

if TYPE_CHECKING:
    from sae_nb.architectures import (
        PursuitSteps as PursuitSteps,
        summarise_pursuit as summarise_pursuit,
        summarise_trace as summarise_trace,
    )
    from sae_nb.atoms import (
        AtomCatalogue as AtomCatalogue,
        AtomSummary as AtomSummary,
        summarise_atom as summarise_atom,
    )
    from sae_nb.atoms._sum_of_atoms import SumOfAtoms as SumOfAtoms, sum_of_atoms as sum_of_atoms
    from sae_nb.dynamics import (
        AtomDepths as AtomDepths,
        DepthPaths as DepthPaths,
        DepthSummary as DepthSummary,
        atom_depths as atom_depths,
        summarise_depth as summarise_depth,
    )
    from sae_nb.evaluation import (
        SelectivitySummary as SelectivitySummary,
        SuperpositionSummary as SuperpositionSummary,
        fit_atoms as fit_atoms,
        row_factors as row_factors,
        summarise_selectivity as summarise_selectivity,
        summarise_superposition as summarise_superposition,
    )
    from sae_nb.steering._recipe import SteeringRecipe as SteeringRecipe, edit_of as edit_of
    from sae_nb.steering._summary import (
        SteeringSummary as SteeringSummary,
        summarise_steering as summarise_steering,
    )
    from sae_nb.summaries.concept_map._atlas import (
        ConceptAtlas as ConceptAtlas,
        summarise_concepts as summarise_concepts,
    )
    from sae_nb.summaries.concept_map._concept_map import ConceptMapSummary as ConceptMapSummary
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
