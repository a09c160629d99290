"""SuperpositionToy: five features, two neurons, and one slider for how rare the features are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.superposition._panel import SuperpositionToy as SuperpositionToy
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
