"""PursuitStepper: how a sparse code comes about, step by step, forwards and backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.pursuit._panel import PursuitStepper as PursuitStepper
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
