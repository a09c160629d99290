"""HeadsPanel: where attention heads look, what they add to an answer, and the answer without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.heads._panel import HeadsPanel as HeadsPanel
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
