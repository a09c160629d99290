"""Time beyond the panel: measures, forecasts from the past, and turning points in stories.

The names are found at `sn.temporal` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.temporal._borders import (
        border_auroc as border_auroc,
        border_scores as border_scores,
    )
    from sae_nb_studies.temporal._measures import (
        AverageForecast as AverageForecast,
        LinearForecast as LinearForecast,
        autocorrelation as autocorrelation,
        context_projection as context_projection,
        dimension_by_position as dimension_by_position,
        fit_autoregression as fit_autoregression,
        fit_average as fit_average,
        lag_cosine as lag_cosine,
        path_ratio as path_ratio,
        permuted_order as permuted_order,
        readout_r2 as readout_r2,
        unexplained as unexplained,
    )
    from sae_nb_studies.temporal._turning_points import (
        EXAMPLES as EXAMPLES,
        EventGap as EventGap,
        SplicedDocuments as SplicedDocuments,
        event_gap as event_gap,
        garden_path_surprise as garden_path_surprise,
        spliced_documents as spliced_documents,
        story_events as story_events,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
