"""CurvePanel: a dial that moves a state along a curve, beside the straight line to the same end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.curve._panel import CurvePanel as CurvePanel
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
