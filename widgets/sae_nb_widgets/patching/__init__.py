"""PatchingPanel: the places of a model that decide an answer, by exchanging their states between two runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.patching._panel import PatchingPanel as PatchingPanel
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
