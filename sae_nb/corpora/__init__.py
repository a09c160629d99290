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
    from sae_nb.corpora._corpora import (
        CorpusSummary as CorpusSummary,
        summarise_corpora as summarise_corpora,
    )
    from sae_nb.corpora._diff import Diff as Diff, diff as diff
    from sae_nb.corpora._documents import (
        Documents as Documents,
        check_same_kind as check_same_kind,
        check_several as check_several,
        strongest_entries as strongest_entries,
    )
    from sae_nb.corpora._input import InputSummary as InputSummary, top_atoms as top_atoms
    from sae_nb.corpora._reading import (
        check_labels as check_labels,
        check_reads as check_reads,
        check_row_by_row as check_row_by_row,
        documents as documents,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
