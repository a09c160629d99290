"""Dashboard: the panels of one SAE laid out together, linked by the atom they show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.dashboards._dashboard import Dashboard as Dashboard
    from sae_nb_widgets.dashboards._open_panels import (
        dashboard as dashboard,
        open_dashboard as open_dashboard,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
