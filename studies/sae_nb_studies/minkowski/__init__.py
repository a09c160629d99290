"""Are activations sums of points from a few small hulls? Archetypes, tests with nulls, task recruitment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.evaluation import welch_bound as welch_bound
    from sae_nb_studies.minkowski._atom_geometry import (
        CoActivation as CoActivation,
        DictionaryGeometry as DictionaryGeometry,
        coactivation as coactivation,
        dictionary_geometry as dictionary_geometry,
        geometry_floors as geometry_floors,
        near_grassmannian_frame as near_grassmannian_frame,
        random_frame as random_frame,
    )
    from sae_nb_studies.minkowski._atom_positions import (
        ElsewhereScores as ElsewhereScores,
        Recruitment as Recruitment,
        SubspaceCoherence as SubspaceCoherence,
        border_band as border_band,
        elsewhere_scores as elsewhere_scores,
        footprint_entropy as footprint_entropy,
        linear_probe as linear_probe,
        place_strengths as place_strengths,
        recruit as recruit,
        share_on as share_on,
        subspace_coherence as subspace_coherence,
    )
    from sae_nb_studies.minkowski._block_archetypes import (
        BlockArchetypes as BlockArchetypes,
        TileCodes as TileCodes,
    )
    from sae_nb_studies.minkowski._blocks_and_paths import (
        CoefficientBlocks as CoefficientBlocks,
        PathSupport as PathSupport,
        coefficient_blocks as coefficient_blocks,
        path_support as path_support,
    )
    from sae_nb_studies.minkowski._decision import (
        Decision as Decision,
        HullScore as HullScore,
        decide as decide,
        gaussian_like as gaussian_like,
        off_support as off_support,
    )
    from sae_nb_studies.minkowski._fitting_blocks import (
        BlockConfig as BlockConfig,
        fit_block_archetypes as fit_block_archetypes,
        hull_of_rows as hull_of_rows,
    )
    from sae_nb_studies.minkowski._tokens import (
        HeadMixtures as HeadMixtures,
        PositionSubspace as PositionSubspace,
        head_mixtures as head_mixtures,
        position_subspace as position_subspace,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
