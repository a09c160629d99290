"""Figures of notebooks and reproductions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb_lessons.figures._concept_regions import region_figure as region_figure
    from sae_nb_lessons.figures._hierarchy_studies import (
        curve_figure as curve_figure,
        likeness_figure as likeness_figure,
    )
    from sae_nb_lessons.figures._pursuit_studies import (
        encoder_figure as encoder_figure,
        support_figure as support_figure,
    )
    from sae_nb_lessons.figures._stability_arms import arms_figure as arms_figure
    from sae_nb_lessons.figures._temporal_studies import (
        bands_figure as bands_figure,
        moments_figure as moments_figure,
        time_curves_figure as time_curves_figure,
    )
else:
    __getattr__, __dir__, __all__ = door(__name__)
