"""The controls of the ConceptMap, each linked to one trait."""

from __future__ import annotations

import ipywidgets as ipw
import traitlets as t

from sae_nb_widgets.components._base import layout_of
from sae_nb_widgets.concept_map._state import DRAGS, EDGES, MapState
from sae_nb_widgets.panel._declaring import control, line, site_menu

DRAG_WORDS = {"pan": "move", "lasso": "lasso", "box": "box"}


class ConceptMapControls:
    """The controls of `panel`: those always there, and those behind "more"."""

    def __init__(self, panel: MapState, search: ipw.Widget) -> None:
        self._panel, self._offering = panel, False
        self.colour = self._column(
            "colour",
            "What colours mean; an entry of the key under the map lights its points alone",
            "color_by",
            "190px",
        )
        self.size = self._column("size", "What the area of a point stands for", "size_by", "170px")
        if panel.atlas.catalogue is None:  # nothing fires: there are names and numbers alone
            tip = "Number or label: the atoms that match are selected"
            search = control(
                panel, "search", "search", tip, 262, placeholder="number or label   ( / )"
            )
            search.add_class("sae-nb-search")
        drag = control(panel, "drag", "", DRAGS, kind=ipw.ToggleButtons, options=DRAG_WORDS)
        edges = control(panel, "edges", "", EDGES, kind=ipw.ToggleButtons)
        layout = "UMAP keeps neighbours together; PCA is linear and immediate"
        if len(panel.layouts) > 2:
            layout += "; archetypes: by the weights on the three most used"
        seed = "Another UMAP of the same points: what moves is due to the layout"
        names = "Write the names of clusters or labels on the map"
        self.first = (self.colour, *site_menu(panel, panel.sites), *_cone_menu(panel), search, drag)
        self.more = (
            control(panel, "show", "show", "What the points are", 160, options=panel.atlas.views),
            self.size,
            line(ipw.Label("edges"), edges),
            control(panel, "layout_by", "layout", layout, 160, options=panel.layouts),
            control(panel, "seed", "seed", seed, 110),
            control(panel, "show_names", "names", names),
        )

    def _column(self, text: str, tip: str, trait: str, width: str) -> ipw.Dropdown:
        menu = ipw.Dropdown(
            description=text,
            tooltip=tip,
            layout=layout_of(width=width),
            style={"description_width": "initial"},
        )

        def choose(change: t.Bunch) -> None:
            if change["new"] is not None and not self._offering:
                with self._panel.guarded(f"choosing {change['new']}"):
                    self._panel.set_trait(trait, change["new"])

        menu.observe(choose, "value")
        return menu

    def offer(self) -> None:
        """Put the columns there are in both menus."""
        panel = self._panel
        # New options make a menu choose its first one, which is nobody's choice.
        self._offering = True
        try:
            for menu, options, value in (
                (self.colour, panel.colours, panel.color_by),
                (self.size, panel.sizes, panel.size_by),
            ):
                with menu.hold_sync():
                    if tuple(menu.options) != options:
                        menu.options = options
                    menu.value = value if value in options else None
        finally:
            self._offering = False


def _cone_menu(panel: MapState) -> list[ipw.Widget]:
    """The control of a panel's `cone`; none where no direction is named."""
    if panel.cones is None:
        return []
    tip = "Join the atoms that build this direction by adding; thicker lines for more weight"
    options = {"": "none", **{name: name for name in panel.cones.names}}
    return [control(panel, "cone", "cone", tip, 190, options=options)]
