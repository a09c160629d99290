"""Time in activations: what the past already said of a token, and what the token adds."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.temporal.baselines import (
        AverageForecast,
        LinearForecast,
        fit_autoregression,
        fit_average,
        unexplained,
    )
    from sae_nb.temporal.decomposition import Decomposition, decompose
    from sae_nb.temporal.events import (
        EventGap,
        SplicedDocuments,
        event_gap,
        spliced_documents,
        story_events,
    )
    from sae_nb.temporal.readout import readout_r2
    from sae_nb.temporal.sequences import Sequences
    from sae_nb.temporal.smoothness import autocorrelation, lag_cosine, path_ratio, permuted_order
    from sae_nb.temporal.stationarity import context_projection, dimension_by_position

_HOME = {
    "AverageForecast": "baselines",
    "Decomposition": "decomposition",
    "EventGap": "events",
    "LinearForecast": "baselines",
    "Sequences": "sequences",
    "SplicedDocuments": "events",
    "autocorrelation": "smoothness",
    "context_projection": "stationarity",
    "decompose": "decomposition",
    "dimension_by_position": "stationarity",
    "event_gap": "events",
    "fit_autoregression": "baselines",
    "fit_average": "baselines",
    "lag_cosine": "smoothness",
    "path_ratio": "smoothness",
    "permuted_order": "smoothness",
    "readout_r2": "readout",
    "spliced_documents": "events",
    "story_events": "events",
    "unexplained": "baselines",
}

__all__ = [
    "AverageForecast",
    "Decomposition",
    "EventGap",
    "LinearForecast",
    "Sequences",
    "SplicedDocuments",
    "autocorrelation",
    "context_projection",
    "decompose",
    "dimension_by_position",
    "event_gap",
    "fit_autoregression",
    "fit_average",
    "lag_cosine",
    "path_ratio",
    "permuted_order",
    "readout_r2",
    "spliced_documents",
    "story_events",
    "unexplained",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sae_nb.temporal' has no attribute {name!r}.")
    value = getattr(importlib.import_module(f"sae_nb.temporal.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
