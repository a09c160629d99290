"""The controls of the InputLens, each linked to one trait."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.summaries import USE_ORDERS
from sae_nb_widgets.panel import TIGHT, control, line, show, small_button

MOST_SHOWN = 40
LARGEST_UPLOAD = 20_000_000
ORDER_NAMES = {
    "surprise": "fired unusually often",
    "lift": "lift over base rate",
    "strength": "strongest firing",
    "total strength": "total strength",
    "attribution": "mattered most",
}


class InputLensControls:
    """The controls of `panel`: those always there, those behind "more", and those at its inputs."""

    def __init__(self, panel: Any) -> None:
        self.comparing = control(
            panel,
            "comparing",
            "compare",
            "Put a second input beside it; bars become differences with a permutation floor",
            kind=ipw.ToggleButton,
        )
        self.text = _text(panel, "text", "text", "What the model reads").add_class("sae-nb-search")
        tip = "A second text; bars become differences"
        self.compare_text = _text(panel, "compare_text", "beside", tip)
        self.slot = control(
            panel,
            "slot",
            "",
            "Which input you are changing",
            kind=ipw.ToggleButtons,
            options={"first": "into A", "second": "into B"},
        )
        self.upload = _upload(panel.sources)
        self.first = self._input(panel)
        self.more = [
            control(panel, "atom", "atom", "Row of the dictionary shown over the input", 140),
            control(
                panel,
                "target",
                "why",
                "Class or token that contributions are to; empty for the model's own top answer",
                190,
                placeholder="its own answer",
            ),
            control(panel, "n_shown", "bars", "How many atoms have bars", 110),
        ]
        self.order = _order(panel)
        self.at_pad: list[ipw.Widget] = []
        if panel.kind == "vision":
            tip = "Ink of drawings, one of those of scenes"
            self.at_pad = [
                _menu(control(panel, "ink", "ink", tip, 192)),
                small_button("undo", "Take back a stroke (Backspace)", panel.sources.undo),
                small_button(
                    "clear", "Take everything off the canvas (Delete)", panel.sources.clear
                ),
            ]
            self.thickness = _thickness()
            paper = _menu(control(panel, "paper", "paper", "Texture behind drawings", 170))
            self.more += [paper, self.thickness]

    def _input(self, panel: Any) -> list[ipw.Widget]:
        words = panel.kind == "language"
        second = self.compare_text if words else self.slot
        shown = [self.text if words else self.upload, self.comparing, second]
        if panel.n_examples:
            self.forth = small_button("›", "The next example", lambda: panel.sources.step(1))
            back = small_button("‹", "The example before", lambda: panel.sources.step(-1))
            shown.insert(1 if words else 0, line(_example(panel), back, self.forth))
        return shown

    def fit(self, comparing: bool) -> None:
        """Show what is about a second input where there is one."""
        show(self.compare_text, comparing)
        show(self.slot, comparing)


def uploaded(value: Any) -> tuple[str, bytes]:
    """Return the name and content of what a FileUpload holds."""
    name, content = str(value[0]["name"]), bytes(value[0]["content"])
    if len(content) > LARGEST_UPLOAD:
        raise ValueError(
            f"An uploaded picture must have at most {LARGEST_UPLOAD} bytes, got {len(content)} in "
            f"{name!r}. Scale it down first."
        )
    return name, content


def _upload(sources: Any) -> ipw.FileUpload:
    upload = ipw.FileUpload(
        accept="image/*",
        multiple=False,
        description="upload",
        tooltip="A picture of yours, of any size and kind",
        layout=ipw.Layout(width="auto"),
    )
    upload.observe(lambda change: sources.take_upload(change["new"]), "value")
    return upload


def _example(panel: Any) -> ipw.BoundedIntText:
    field = ipw.BoundedIntText(
        min=0,
        max=panel.n_examples - 1,
        description="example",
        tooltip="One of the examples",
        layout=ipw.Layout(width="130px"),
        style=TIGHT,
    )
    # The panel begins without an example, a field of numbers cannot.
    field.observe(lambda change: panel.choose_example(change["new"]), "value")
    t.dlink((panel, "example"), (field, "value"), lambda number: max(number, 0))
    return field


def _text(panel: Any, trait: str, name: str, tip: str) -> ipw.Text:
    field = control(panel, trait, name, tip)
    field.layout.flex, field.layout.min_width = "1 1 320px", "200px"
    return field


def _order(panel: Any) -> ipw.Box:
    """What stands over the bars: their order, and what is shaded in the input."""
    orders = {order: ORDER_NAMES[order] for order in USE_ORDERS}
    sort = _menu(control(panel, "sort", "sort", "Order of the bars", options=orders))
    tip = "What is drawn over the input: strength, or contribution"
    heat = control(panel, "heat", "", tip, kind=ipw.ToggleButtons)
    return line(sort, ipw.Box([ipw.Label("shade"), heat])).add_class("sae-nb-apart")


def _menu(menu: ipw.Dropdown) -> ipw.Dropdown:
    menu.layout.max_width = "290px"
    return menu


def _thickness() -> ipw.FloatSlider:
    return ipw.FloatSlider(
        min=1.5,
        max=5.0,
        step=0.5,
        readout_format=".1f",
        description="brush",
        tooltip="Width of the brush in pixels",
        layout=ipw.Layout(width="220px"),
        style=TIGHT,
    )
