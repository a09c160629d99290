"""The controls of the TemporalPanel, each tied to one trait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ipywidgets as ipw
import traitlets as t


@dataclass(frozen=True)
class Controls:
    """Widgets by name."""

    text: ipw.Textarea
    second_text: ipw.Textarea
    part: ipw.ToggleButtons
    lower: ipw.ToggleButtons
    bands: ipw.ToggleButtons
    color_by: ipw.ToggleButtons
    token: ipw.BoundedIntText


def build(panel: Any) -> Controls:
    """Return the controls of a panel, linked to its traits."""
    made = Controls(
        text=_text("text", "What the model reads; it is taken apart when you leave the box"),
        second_text=_text("second", "Another text, shown in step under the first"),
        part=_choice("codes", "Whose codes the raster shows", panel, "part"),
        lower=_choice("below", "Similarity between times, or a map of the codes", panel, "lower"),
        bands=_choice("bands", "Shares of the energy, or the energy itself", panel, "bands"),
        color_by=_choice("colour", "Points by their time, or by document", panel, "color_by"),
        token=ipw.BoundedIntText(
            value=-1,
            min=-1,
            max=2**31 - 1,
            description="time",
            tooltip="Time under the cursor; −1 for none",
            layout=ipw.Layout(width="140px"),
            style={"description_width": "initial"},
        ),
    )
    for name in ("text", "second_text", "part", "lower", "bands", "color_by"):
        t.link((panel, name), (getattr(made, name), "value"))
    t.dlink((panel, "token"), (made.token, "value"))
    made.token.observe(lambda change: _move(panel, change["new"]), "value")
    return made


def rows(panel: Any, made: Controls) -> tuple[list[ipw.Widget], list[ipw.Widget]]:
    """Controls that are seen at once, and those behind "more"."""
    if panel.text:
        return [made.text, made.part, made.lower], [
            made.second_text,
            made.bands,
            made.color_by,
            made.token,
        ]
    return [made.part, made.lower], [made.bands, made.color_by, made.token]


def _move(panel: Any, time: int) -> None:
    if time != panel.token:
        with panel.guarded("choosing a time"):
            panel.token = time


def _text(name: str, tooltip: str) -> ipw.Textarea:
    return ipw.Textarea(
        description=name,
        tooltip=tooltip,
        continuous_update=False,
        rows=2,
        layout=ipw.Layout(width="min(560px, 100%)"),
        style={"description_width": "initial"},
    ).add_class("sae-nb-search")


def _choice(name: str, tooltip: str, panel: Any, trait: str) -> ipw.ToggleButtons:
    options = list(panel.traits()[trait].values)
    return ipw.ToggleButtons(
        options=options,
        description=name,
        tooltips=[tooltip] * len(options),
        tooltip=tooltip,
        style={"button_width": "auto", "description_width": "initial"},
    )
