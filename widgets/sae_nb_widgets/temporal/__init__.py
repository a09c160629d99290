"""TemporalPanel: the part of each token that the past predicts, and the part that the token adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.temporal._panel import TemporalPanel as TemporalPanel
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
