"""AtomQuiz: can you tell from an atom's examples where else it fires? A person's score, with chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.quiz._panel import AtomQuiz as AtomQuiz
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
