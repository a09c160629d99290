"""InputLens: which atoms a text or a picture uses — what fired, and what the answer hung on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.input_lens._panel import InputLens as InputLens
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
