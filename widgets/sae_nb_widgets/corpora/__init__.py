"""CorpusPanel: how two corpora differ, atom by atom, with examples of both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.corpora._panel import CorpusPanel as CorpusPanel
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
