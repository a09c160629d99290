"""Geometry of atoms and rows: layouts in the plane, local dimension, nested directions, cones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.geometry._cones import Containment as Containment, containment as containment
    from sae_nb.geometry._dimension import (
        effective_rank as effective_rank,
        local_dimensions as local_dimensions,
        participation_ratio as participation_ratio,
        stable_rank as stable_rank,
    )
    from sae_nb.geometry._layout import (
        LayoutSettings as LayoutSettings,
        cluster_points as cluster_points,
        mean_cosines as mean_cosines,
        nearest_by_cosine as nearest_by_cosine,
        pca_layout as pca_layout,
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
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.geometry._coactivation import (
        LEAST_ROWS as LEAST_ROWS,
        Coactivation as Coactivation,
        coactivation as coactivation,
    )
    from sae_nb.geometry._coherence import (
        AtomGeometry as AtomGeometry,
        atom_geometry as atom_geometry,
        babel as babel,
        check_dictionary as check_dictionary,
        coactive_babel as coactive_babel,
        copied_atoms as copied_atoms,
        distinct_atoms as distinct_atoms,
        duplicate_groups as duplicate_groups,
        encoder_cosines as encoder_cosines,
        rows_of as rows_of,
        welch_bound as welch_bound,
    )
    from sae_nb.geometry._cosines import (
        largest_cosines as largest_cosines,
        tile_rows as tile_rows,
        unit_rows as unit_rows,
    )
    from sae_nb.geometry._dimension import (
        covariance as covariance,
        dimension_of_distances as dimension_of_distances,
    )
    from sae_nb.geometry._ivf_index import (
        Lists as Lists,
        NearDistances as NearDistances,
        near_distances as near_distances,
        random_distances as random_distances,
    )
    from sae_nb.geometry._layout import (
        cache_file as cache_file,
        cached_layout as cached_layout,
        layout_key as layout_key,
        signs_of_axes as signs_of_axes,
    )
    from sae_nb.geometry._umap import FEWEST_ROWS as FEWEST_ROWS
