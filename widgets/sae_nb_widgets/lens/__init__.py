"""LensPanel: what a model is about to answer, layer by layer and place by place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.lens._panel import LensPanel as LensPanel
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
