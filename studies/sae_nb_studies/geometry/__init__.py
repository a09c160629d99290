"""Geometry beyond maps and lists: dimensions, classes, communities, manifolds, what is stable between rows.

The names are found at `sn.geometry` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.geometry._classes import (
        ClassGeometry as ClassGeometry,
        class_geometry as class_geometry,
    )
    from sae_nb_studies.geometry._dimension import (
        Dimensions as Dimensions,
        dimensions as dimensions,
        direction_dimension as direction_dimension,
        tree_dimension as tree_dimension,
        two_nn_dimension as two_nn_dimension,
    )
    from sae_nb_studies.geometry._failure import (
        ClassMarkers as ClassMarkers,
        FailureForecast as FailureForecast,
        class_markers as class_markers,
        failure_forecast as failure_forecast,
    )
    from sae_nb_studies.geometry._manifolds import (
        ManifoldCapture as ManifoldCapture,
        manifold_capture as manifold_capture,
    )
    from sae_nb_studies.geometry._ontology import Ontology as Ontology, ontology as ontology
    from sae_nb_studies.geometry._receptive_fields import Regime as Regime
    from sae_nb_studies.geometry._shapes import (
        CoactivationShapes as CoactivationShapes,
        coactivation_shapes as coactivation_shapes,
    )
    from sae_nb_studies.geometry._stability import (
        GeometricStability as GeometricStability,
        geometric_stability as geometric_stability,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
