"""DepthTrajectory: how an input travels through the layers, and what becomes of a push on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.depth._panel import DepthTrajectory as DepthTrajectory
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
