"""Labels of atoms, each with its evidence: read from other people's files, or written, and judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.labelling._judging import content_words as content_words
    from sae_nb.labelling._keeping import replace_labels as replace_labels
    from sae_nb.labelling._reading import labels as labels
    from sae_nb.labelling._records import AtomLabel as AtomLabel, AtomLabels as AtomLabels
    from sae_nb.labelling._writing import judge_labels as judge_labels, label as label
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
