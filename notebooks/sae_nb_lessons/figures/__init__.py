"""Figures of notebooks and reproductions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_lessons.figures._behaviour_studies import watched_figure as watched_figure
    from sae_nb_lessons.figures._comparison_studies import trade_off_figure as trade_off_figure
    from sae_nb_lessons.figures._concept_regions import region_figure as region_figure
    from sae_nb_lessons.figures._crosscoder_studies import (
        difference_figure as difference_figure,
    )
    from sae_nb_lessons.figures._depth_studies import (
        evidence_figure as evidence_figure,
        layers_figure as layers_figure,
        similarities_figure as similarities_figure,
    )
    from sae_nb_lessons.figures._hierarchy_studies import (
        curve_figure as curve_figure,
        likeness_figure as likeness_figure,
    )
    from sae_nb_lessons.figures._minkowski import (
        cosines_figure as cosines_figure,
        decision_figure as decision_figure,
        elsewhere_figure as elsewhere_figure,
        maps_figure as maps_figure,
    )
    from sae_nb_lessons.figures._one_at_a_time import one_at_a_time as one_at_a_time
    from sae_nb_lessons.figures._pursuit_studies import (
        encoder_figure as encoder_figure,
        support_figure as support_figure,
    )
    from sae_nb_lessons.figures._shape_studies import drawn_figure as drawn_figure
    from sae_nb_lessons.figures._stability_arms import arms_figure as arms_figure
    from sae_nb_lessons.figures._steering_studies import (
        fluency_figure as fluency_figure,
        fragility_figure as fragility_figure,
        illusion_figure as illusion_figure,
        success_figure as success_figure,
    )
    from sae_nb_lessons.figures._temporal_studies import (
        bands_figure as bands_figure,
        moments_figure as moments_figure,
        time_curves_figure as time_curves_figure,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
