"""Corpora: whole texts and images by their atoms, and what sets two groups of them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.corpora._contrast import (
        BaseRate as BaseRate,
        Contrast as Contrast,
        base_rate as base_rate,
        contrast as contrast,
    )
    from sae_nb.corpora._diff import Diff as Diff, diff as diff
    from sae_nb.corpora._documents import Documents as Documents
    from sae_nb.corpora._input import InputSummary as InputSummary, top_atoms as top_atoms
    from sae_nb.corpora._reading import documents as documents
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
