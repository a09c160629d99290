"""Geometry of atoms and rows: layouts in the plane, local dimension, nested directions, cones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.geometry._coherence import check_dictionary as check_dictionary
    from sae_nb.geometry._cones import Containment as Containment, containment as containment
    from sae_nb.geometry._cosines import largest_cosines as largest_cosines
    from sae_nb.geometry._couplings import communities as communities, couplings as couplings
    from sae_nb.geometry._curve import Curve as Curve, curve as curve
    from sae_nb.geometry._dimension import (
        effective_rank as effective_rank,
        local_dimensions as local_dimensions,
        participation_ratio as participation_ratio,
        stable_rank as stable_rank,
    )
    from sae_nb.geometry._found_shapes import FoundShapes as FoundShapes, find_shapes as find_shapes
    from sae_nb.geometry._layout import (
        LayoutSettings as LayoutSettings,
        cluster_points as cluster_points,
        mean_cosines as mean_cosines,
        nearest_by_cosine as nearest_by_cosine,
        pca_layout as pca_layout,
    )
    from sae_nb.geometry._ring import (
        Ring as Ring,
        coactivation_ring as coactivation_ring,
        tied_groups as tied_groups,
    )
    from sae_nb.geometry._structure import (
        nested_directions as nested_directions,
        nested_fraction as nested_fraction,
    )
    from sae_nb.geometry._umap import (
        UmapProcess as UmapProcess,
        start_umap as start_umap,
        umap_layout as umap_layout,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
