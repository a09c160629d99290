"""ChangesPanel: what a training changed in a model's answers, text by text, and which direction explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.changes._panel import ChangesPanel as ChangesPanel
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
