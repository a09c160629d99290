"""The controls of the TemporalPanel, each linked to one trait."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb_widgets.panel import TIGHT, control, wide


class TemporalControls:
    """The controls of `panel`: those seen at once, and those behind "more"."""

    def __init__(self, panel: Any) -> None:
        part = _choice(panel, "part", "codes", "Whose codes the raster shows")
        lower = _choice(panel, "lower", "below", "Similarity between times, or a map of the codes")
        self.first = [part, lower]
        self.more = [
            _choice(panel, "bands", "bands", "Shares of the energy, or the energy itself"),
            _choice(panel, "color_by", "colour", "Points by their time, or by document"),
            _time(panel),
        ]
        if panel.text:
            tip = "What the model reads; it is taken apart when you leave the box"
            self.first.insert(0, _text(panel, "text", "text", tip))
            tip = "Another text, shown in step under the first"
            self.more.insert(0, _text(panel, "second_text", "second", tip))


def _text(panel: Any, trait: str, name: str, tip: str) -> ipw.Textarea:
    width = "min(560px, 100%)"
    box = control(panel, trait, name, tip, width, kind=ipw.Textarea, rows=2)
    return box.add_class("sae-nb-search")


def _choice(panel: Any, trait: str, name: str, tip: str) -> ipw.ToggleButtons:
    return control(panel, trait, name, tip, kind=ipw.ToggleButtons)


def _time(panel: Any) -> ipw.BoundedIntText:
    """The cursor as a number; how far it goes is known when the sequence is read."""
    field = ipw.BoundedIntText(
        value=panel.token,
        min=-1,
        max=2**31 - 1,
        description="time",
        tooltip="Time under the cursor; −1 for none",
        layout=wide("140px"),
        style=TIGHT,
    )

    def move(change: t.Bunch) -> None:
        if change["new"] != panel.token:
            with panel.guarded("choosing a time"):
                panel.token = change["new"]

    t.dlink((panel, "token"), (field, "value"))
    field.observe(move, "value")
    return field
