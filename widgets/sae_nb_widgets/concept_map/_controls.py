"""The controls of the ConceptMap, each linked to one trait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb_widgets.concept_map._traits import DRAGS, EDGES

DRAG_TIPS = {
    "lasso": "Draw around points to select them; Shift adds, double click clears",
    "box": "Draw a box around points to select them; Shift adds, double click clears",
    "zoom": "Draw a box to zoom into it; double click zooms out",
}
EDGE_TIPS = {
    "none": "No lines",
    "nearest": "Join selected points to the five nearest by cosine",
    "co-active": "Join selected atoms to the three that fire with them most above chance",
}


@dataclass(frozen=True)
class Controls:
    """Widgets by the slot they go to."""

    first_row: tuple[ipw.Widget, ...]
    more: tuple[ipw.Widget, ...]
    colour: ipw.Dropdown
    size: ipw.Dropdown


def build(panel: Any) -> Controls:
    """Return the controls of `panel`, linked to its traits."""
    colour = _dropdown("colour", "What the points are coloured by", panel.colours, "190px")
    size = _dropdown("size", "What the areas of the points go with", panel.sizes, "170px")
    shown = _linked_dropdown(panel, "show", "show", panel.atlas.views, "What the points are")
    return Controls(
        first_row=(colour, _search(panel), _buttons(panel, "drag", DRAGS, DRAG_TIPS)),
        more=(shown, size, _edges(panel), _layout(panel), _seed(panel), _names(panel)),
        colour=colour,
        size=size,
    )


def offer(dropdown: ipw.Dropdown, options: tuple[str, ...], value: str) -> None:
    """Give a dropdown new options and a value among them, in one message."""
    with dropdown.hold_sync():
        if tuple(dropdown.options) != options:
            dropdown.options = options
        dropdown.value = value if value in options else None


def _dropdown(text: str, tip: str, options: tuple[str, ...], width: str) -> ipw.Dropdown:
    return ipw.Dropdown(
        options=options,
        description=text,
        tooltip=tip,
        layout=ipw.Layout(width=width),
        style={"description_width": "initial"},
    )


def _linked_dropdown(
    panel: Any, trait: str, text: str, options: tuple[str, ...], tip: str
) -> ipw.Dropdown:
    chosen = _dropdown(text, tip, options, "160px")
    t.link((panel, trait), (chosen, "value"))
    return chosen


def _search(panel: Any) -> ipw.Text:
    field = ipw.Text(
        description="search",
        placeholder="number, label or token   ( / )",
        tooltip="Select the atoms of that number, with that label, or that fire on that token",
        continuous_update=False,
        layout=ipw.Layout(width="250px"),
        style={"description_width": "initial"},
    ).add_class("sae-nb-search")
    t.link((panel, "search"), (field, "value"))
    return field


def _buttons(
    panel: Any, trait: str, options: tuple[str, ...], tips: dict[str, str]
) -> ipw.ToggleButtons:
    buttons = ipw.ToggleButtons(
        options=options,
        tooltips=[tips[option] for option in options],
        style={"button_width": "auto"},
    )
    t.link((panel, trait), (buttons, "value"))
    return buttons


def _edges(panel: Any) -> ipw.Box:
    chosen = _buttons(panel, "edges", EDGES, EDGE_TIPS)
    return ipw.Box([ipw.Label("edges"), chosen]).add_class("sae-nb-line")


def _layout(panel: Any) -> ipw.Dropdown:
    tip = "UMAP keeps neighbours together; PCA is linear and there at once"
    if len(panel.layouts) > 2:
        tip += "; archetypes: by the weights on the three most used"
    return _linked_dropdown(panel, "layout_by", "layout", panel.layouts, tip)


def _seed(panel: Any) -> ipw.BoundedIntText:
    field = ipw.BoundedIntText(
        min=0,
        max=2**31 - 1,
        description="seed",
        tooltip="Another UMAP of the same points: what moves is the layout's, not theirs",
        layout=ipw.Layout(width="110px"),
        style={"description_width": "initial"},
    )
    t.link((panel, "seed"), (field, "value"))
    return field


def _names(panel: Any) -> ipw.Checkbox:
    box = ipw.Checkbox(
        description="names",
        indent=False,
        tooltip="Write the names of clusters or labels on the map",
        layout=ipw.Layout(width="max-content"),
    )
    t.link((panel, "names"), (box, "value"))
    return box
