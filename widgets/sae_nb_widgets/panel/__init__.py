"""Panel: the grammar every panel shares — where, title, answer, controls, stage, margin, menu."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.panel._atoms import HasAtoms as HasAtoms
    from sae_nb_widgets.panel._panel import Panel as Panel
    from sae_nb_widgets.panel._theming import figure_widget as figure_widget, theme as theme
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
