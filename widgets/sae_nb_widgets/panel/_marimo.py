"""A panel in marimo, which shows anywidgets and no boxes of ipywidgets: its parts, live, one below the other.

The parts are the panel's own. Its texts and its rows of controls are mirrored by a small widget, and what is
done there is done to the panel's own controls, so that everything a panel does follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anywidget
import ipywidgets as ipw
import traitlets as t

from sae_nb_widgets.components._base import LiveWidget, style_sheet
from sae_nb_widgets.components._scripts import script

SELECTIONS = (ipw.Dropdown, ipw.ToggleButtons, ipw.RadioButtons, ipw.SelectionSlider, ipw.Select)
RANGES = (ipw.IntSlider, ipw.FloatSlider)


class RowOfControls(LiveWidget):
    """A mirror of texts and controls that are next to each other in a panel; `widgets` are the panel's own."""

    _esm = script("row_of_controls")
    _css = style_sheet("components.css", "row_of_controls.css")

    controls = t.List(t.Dict(), help="Kind, words, value, options and tip of each.").tag(sync=True)
    asked = t.List(help="What was done last: a count, which control, its value.").tag(sync=True)
    html = t.Unicode("", help="The panel's texts, whose data is escaped there.").tag(sync=True)

    def __init__(self, widgets: list[ipw.Widget]) -> None:
        super().__init__()
        self._texts = [one for one in widgets if isinstance(one, ipw.HTML)]
        self._own = [one for one in widgets if not isinstance(one, ipw.HTML)]
        for one in widgets:
            one.observe(self._read, names=t.All)
        self._read()

    def _read(self, *_: object) -> None:
        """Send the present state of the panel's own."""
        self.controls = [_spec(one) for one in self._own]
        self.html = "".join(one.value for one in self._texts if is_shown(one))

    @t.observe("asked")
    def _done(self, change: t.Bunch) -> None:
        """Do to the panel's control what was done to its mirror; what it refuses, it shows as it is."""
        _, which, value = change["new"]
        own = self._own[which]
        try:
            if isinstance(own, ipw.Button):
                own.click()
            elif isinstance(own, SELECTIONS):
                own.index = int(value)
            else:
                own.value = type(own.value)(value)
        except (TypeError, ValueError, t.TraitError):
            self.send_state("controls")


def _spec(own: ipw.Widget) -> dict[str, Any]:
    """The state of a control, as its mirror draws it."""
    words = own.description or getattr(own, "placeholder", "") or own.tooltip or ""
    spec: dict[str, Any] = {
        "words": words,
        "tip": own.tooltip or "",
        "disabled": bool(own.disabled),
        "options": [],
    }
    if isinstance(own, ipw.Button):
        return spec | {"kind": "button", "value": None}
    if isinstance(own, SELECTIONS):
        options = [str(label) for label in own._options_labels]
        return spec | {"kind": "menu", "value": own.index, "options": options}
    if isinstance(own, RANGES):
        return spec | {"kind": "range", "value": own.value, "options": [own.min, own.max, own.step]}
    is_switch = isinstance(own.value, bool)
    return spec | {"kind": "switch" if is_switch else "text", "value": own.value}


def is_shown(widget: ipw.Widget) -> bool:
    """Return whether a widget is not hidden by itself."""
    return bool(getattr(getattr(widget, "layout", None), "display", None) != "none")


def live_parts(panel: ipw.Box) -> list[Any]:
    """Return a panel's visible parts in order: anywidgets as they are, rows of texts and controls mirrored."""
    parts: list[Any] = []
    row: list[ipw.Widget] = []
    for widget in [*_leaves(panel), None]:
        if isinstance(widget, ipw.HTML | ipw.Button | ipw.ValueWidget) and not isinstance(
            widget, anywidget.AnyWidget
        ):
            row.append(widget)
            continue
        if row:
            parts.append(RowOfControls(row))
            row = []
        if widget is not None:
            parts.append(widget)
    return parts


def _leaves(box: ipw.Box) -> Iterator[Any]:
    """The widgets that a box shows now, in order."""
    for child in box.children:
        if not is_shown(child) or hasattr(child, "answered"):  # the panel's keys draw nothing
            continue
        if hasattr(child, "children"):
            yield from _leaves(child)
        elif (
            isinstance(child, anywidget.AnyWidget)
            or hasattr(child, "value")
            or isinstance(child, ipw.Button)
        ):
            yield child


def shown_in_marimo(panel: ipw.Box) -> object:
    """Return the panel's parts as marimo lays them out, one below the other."""
    import marimo as mo  # type: ignore[import-not-found,unused-ignore]

    # marimo keeps no element that nobody holds, and what is done on the page would reach none.
    parts = [mo.ui.anywidget(part) for part in live_parts(panel)]
    panel.held_by_marimo = parts
    return mo.vstack(parts)
