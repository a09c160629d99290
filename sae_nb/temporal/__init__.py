"""Time in activations: what the past predicts of a token, and what the token adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.temporal._decomposition import (
        Decomposition as Decomposition,
        decompose as decompose,
    )
    from sae_nb.temporal._measures import (
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
    from sae_nb.temporal._sequences import Sequences as Sequences
    from sae_nb.temporal._turning_points import (
        EventGap as EventGap,
        SplicedDocuments as SplicedDocuments,
        event_gap as event_gap,
        spliced_documents as spliced_documents,
        story_events as story_events,
    )
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.temporal._decomposition import (
        CodeAttention as CodeAttention,
        Prediction as Prediction,
        predict as predict,
        sequence_groups as sequence_groups,
    )
    from sae_nb.temporal._sequences import (
        WHY as WHY,
        SequenceRows as SequenceRows,
        lengths_of as lengths_of,
        padded as padded,
        unpadded as unpadded,
    )
    from sae_nb.temporal._turning_points import (
        EXAMPLES as EXAMPLES,
        garden_path_surprise as garden_path_surprise,
        read_garden_paths as read_garden_paths,
    )
