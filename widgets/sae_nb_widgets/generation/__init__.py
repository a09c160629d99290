"""GenerationLens: the atoms that fire while a model writes, and how its text continues with one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.generation._panel import GenerationLens as GenerationLens
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
