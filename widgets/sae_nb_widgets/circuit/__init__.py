"""CircuitPanel: which atoms caused an answer, through which path, and what happens when one is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.circuit._panel import CircuitPanel as CircuitPanel
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
