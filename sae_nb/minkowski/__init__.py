"""Are activations sums of points from a few small hulls? Archetypes, tests with nulls, task recruitment."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.minkowski.atom_geometry import (
        CoActivation,
        DictionaryGeometry,
        coactivation,
        dictionary_geometry,
        geometry_floors,
    )
    from sae_nb.minkowski.block_archetypes import BlockArchetypes, TileCodes
    from sae_nb.minkowski.decision import Decision, HullScore, decide, gaussian_like, off_support
    from sae_nb.minkowski.fitting_blocks import BlockConfig, fit_block_archetypes, hull_of_rows
    from sae_nb.minkowski.frames import near_grassmannian_frame, random_frame, welch_bound
    from sae_nb.minkowski.heads import HeadMixtures, head_mixtures
    from sae_nb.minkowski.modularity import CoefficientBlocks, coefficient_blocks
    from sae_nb.minkowski.paths import PathSupport, path_support
    from sae_nb.minkowski.places import (
        ElsewhereScores,
        border_band,
        elsewhere_scores,
        footprint_entropy,
        place_strengths,
        share_on,
    )
    from sae_nb.minkowski.position import PositionSubspace, position_subspace
    from sae_nb.minkowski.recruitment import (
        Recruitment,
        SubspaceCoherence,
        linear_probe,
        recruit,
        subspace_coherence,
    )

_HOME = {
    "BlockArchetypes": "block_archetypes",
    "BlockConfig": "fitting_blocks",
    "CoActivation": "atom_geometry",
    "CoefficientBlocks": "modularity",
    "Decision": "decision",
    "DictionaryGeometry": "atom_geometry",
    "ElsewhereScores": "places",
    "HeadMixtures": "heads",
    "HullScore": "decision",
    "PathSupport": "paths",
    "PositionSubspace": "position",
    "Recruitment": "recruitment",
    "SubspaceCoherence": "recruitment",
    "TileCodes": "block_archetypes",
    "border_band": "places",
    "coactivation": "atom_geometry",
    "coefficient_blocks": "modularity",
    "decide": "decision",
    "dictionary_geometry": "atom_geometry",
    "elsewhere_scores": "places",
    "fit_block_archetypes": "fitting_blocks",
    "footprint_entropy": "places",
    "gaussian_like": "decision",
    "geometry_floors": "atom_geometry",
    "head_mixtures": "heads",
    "hull_of_rows": "fitting_blocks",
    "linear_probe": "recruitment",
    "near_grassmannian_frame": "frames",
    "off_support": "decision",
    "path_support": "paths",
    "place_strengths": "places",
    "position_subspace": "position",
    "random_frame": "frames",
    "recruit": "recruitment",
    "share_on": "places",
    "subspace_coherence": "recruitment",
    "welch_bound": "frames",
}

__all__ = [
    "BlockArchetypes",
    "BlockConfig",
    "CoActivation",
    "CoefficientBlocks",
    "Decision",
    "DictionaryGeometry",
    "ElsewhereScores",
    "HeadMixtures",
    "HullScore",
    "PathSupport",
    "PositionSubspace",
    "Recruitment",
    "SubspaceCoherence",
    "TileCodes",
    "border_band",
    "coactivation",
    "coefficient_blocks",
    "decide",
    "dictionary_geometry",
    "elsewhere_scores",
    "fit_block_archetypes",
    "footprint_entropy",
    "gaussian_like",
    "geometry_floors",
    "head_mixtures",
    "hull_of_rows",
    "linear_probe",
    "near_grassmannian_frame",
    "off_support",
    "path_support",
    "place_strengths",
    "position_subspace",
    "random_frame",
    "recruit",
    "share_on",
    "subspace_coherence",
    "welch_bound",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has {__all__}.")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
