"""Time in activations: what the past predicts of a token, and what the token adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.temporal._baselines import (
        AverageForecast as AverageForecast,
        LinearForecast as LinearForecast,
        fit_autoregression as fit_autoregression,
        fit_average as fit_average,
        unexplained as unexplained,
    )
    from sae_nb.temporal._decomposition import (
        Decomposition as Decomposition,
        decompose as decompose,
    )
    from sae_nb.temporal._events import (
        EventGap as EventGap,
        SplicedDocuments as SplicedDocuments,
        event_gap as event_gap,
        spliced_documents as spliced_documents,
        story_events as story_events,
    )
    from sae_nb.temporal._garden_paths import readout_r2 as readout_r2
    from sae_nb.temporal._sequences import Sequences as Sequences
    from sae_nb.temporal._stationarity import (
        autocorrelation as autocorrelation,
        context_projection as context_projection,
        dimension_by_position as dimension_by_position,
        lag_cosine as lag_cosine,
        path_ratio as path_ratio,
        permuted_order as permuted_order,
    )
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.temporal._attention import (
        CodeAttention as CodeAttention,
        Prediction as Prediction,
        predict as predict,
    )
    from sae_nb.temporal._decomposition import sequence_groups as sequence_groups
    from sae_nb.temporal._garden_paths import (
        EXAMPLES as EXAMPLES,
        garden_path_surprise as garden_path_surprise,
        read_garden_paths as read_garden_paths,
    )
    from sae_nb.temporal._sequences import (
        WHY as WHY,
        SequenceRows as SequenceRows,
        lengths_of as lengths_of,
        padded as padded,
        unpadded as unpadded,
    )
