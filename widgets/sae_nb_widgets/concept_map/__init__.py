"""ConceptMap: which atoms are alike, as a map of atoms, samples or tokens that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.concept_map._panel import ConceptMap as ConceptMap
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
