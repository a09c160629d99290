"""TrainingMonitor: a training seen while it runs, with the hands on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.training._panel import TrainingMonitor as TrainingMonitor
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
