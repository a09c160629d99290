"""Time in activations: what the past predicts of a token, and what the token adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.temporal._decomposition import (
        Decomposition as Decomposition,
        decompose as decompose,
    )
    from sae_nb.temporal._sequences import SequenceRows as SequenceRows, Sequences as Sequences
    from sae_nb.temporal._summary import (
        Raster as Raster,
        TemporalSummary as TemporalSummary,
        read_in_time as read_in_time,
        summarise_sequence as summarise_sequence,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
