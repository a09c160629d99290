"""ReportCard: can this SAE be trusted? Every number with its floor, its control and its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.report_card._panel import ReportCard as ReportCard
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
