"""The controls of the InputLens, each tied to one trait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.data import INKS, TEXTURES
from sae_nb.summaries import USE_ORDERS
from sae_nb_widgets.panel import small_button

MOST_SHOWN = 40
LARGEST_UPLOAD = 20_000_000
_TIGHT = {"description_width": "initial"}
ORDER_NAMES = {
    "surprise": "fired unusually often",
    "lift": "lift over base rate",
    "strength": "strongest firing",
    "total strength": "total strength",
    "attribution": "mattered most",
}
HEAT_NAMES = (("fired", "fired"), ("mattered", "mattered"))


@dataclass(frozen=True)
class Controls:
    """Widgets by name."""

    text: ipw.Text
    compare_text: ipw.Text
    example: ipw.BoundedIntText
    back: ipw.Button
    forth: ipw.Button
    upload: ipw.FileUpload
    slot: ipw.ToggleButtons
    comparing: ipw.ToggleButton
    sort: ipw.Dropdown
    heat: ipw.ToggleButtons
    atom: ipw.BoundedIntText
    target: ipw.Text
    n_shown: ipw.BoundedIntText
    ink: ipw.Dropdown
    paper: ipw.Dropdown
    thickness: ipw.FloatSlider
    clear: ipw.Button
    undo: ipw.Button


def build(panel: Any) -> Controls:
    """Return the controls of `panel`, linked to its traits."""
    made = Controls(
        text=_text("text", "What the model reads").add_class("sae-nb-search"),
        compare_text=_text("beside", "A second text; bars become differences"),
        example=_number("example", "One of the examples", panel.n_examples - 1, 130),
        back=small_button("‹", "The example before"),
        forth=small_button("›", "The next example"),
        upload=ipw.FileUpload(
            accept="image/*",
            multiple=False,
            description="upload",
            tooltip="A picture of yours, of any size and kind",
            layout=ipw.Layout(width="auto"),
        ),
        slot=_toggles([("into A", "first"), ("into B", "second")], "Which input you are changing"),
        comparing=ipw.ToggleButton(
            description="compare",
            tooltip="Put a second input beside it; bars become differences with a permutation floor",
            layout=ipw.Layout(width="auto"),
        ),
        sort=_choice("sort", "Order of the bars", [(ORDER_NAMES[o], o) for o in USE_ORDERS]),
        heat=_toggles(HEAT_NAMES, "What is drawn over the input: strength, or contribution"),
        atom=_number("atom", "Row of the dictionary shown over the input", panel.n_atoms - 1, 140),
        target=ipw.Text(
            description="why",
            placeholder="its own answer",
            tooltip="Class or token that contributions are to; empty for the model's own top answer",
            continuous_update=False,
            layout=ipw.Layout(width="190px"),
            style=_TIGHT,
        ),
        n_shown=_number("bars", "How many atoms have bars", MOST_SHOWN, 110, low=1),
        ink=_choice("ink", "Ink of drawings, one of those of scenes", list(INKS), "192px"),
        paper=_choice("paper", "Texture behind drawings", list(TEXTURES), "170px"),
        thickness=ipw.FloatSlider(
            min=1.5,
            max=5.0,
            step=0.5,
            readout_format=".1f",
            description="brush",
            tooltip="Width of the brush in pixels",
            layout=ipw.Layout(width="220px"),
            style=_TIGHT,
        ),
        clear=small_button("clear", "Take everything off the canvas (Delete)"),
        undo=small_button("undo", "Take back a stroke (Backspace)"),
    )
    for name in ("text", "compare_text", "sort", "heat", "atom", "target", "n_shown"):
        t.link((panel, name), (getattr(made, name), "value"))
    # The panel begins without an example, a field of numbers cannot.
    made.example.observe(lambda change: panel.choose_example(change["new"]), "value")
    t.dlink((panel, "example"), (made.example, "value"), lambda number: max(number, 0))
    for name in ("slot", "comparing", "ink", "paper"):
        t.link((panel, name), (getattr(made, name), "value"))
    return made


def rows(panel: Any, made: Controls) -> tuple[list[ipw.Widget], list[ipw.Widget]]:
    """Return the controls that are always there, and those behind "more"."""
    first: list[ipw.Widget] = []
    if panel.kind == "language":
        first += [made.text, made.comparing, made.compare_text]
    else:
        first += [made.upload, made.comparing, made.slot]
    if panel.n_examples:
        chooser = ipw.Box([made.example, made.back, made.forth]).add_class("sae-nb-line")
        first.insert(1 if panel.kind == "language" else 0, chooser)
    more = [made.atom, made.target, made.n_shown]
    if panel.kind == "vision":
        more += [made.paper, made.thickness]
    return first, more


def uploaded(value: Any) -> tuple[str, bytes]:
    """Return the name and content of what a FileUpload holds."""
    name, content = str(value[0]["name"]), bytes(value[0]["content"])
    if len(content) > LARGEST_UPLOAD:
        raise ValueError(
            f"An uploaded picture must have at most {LARGEST_UPLOAD} bytes, got {len(content)} in "
            f"{name!r}. Scale it down first."
        )
    return name, content


def _text(name: str, tip: str) -> ipw.Text:
    return ipw.Text(
        description=name,
        tooltip=tip,
        continuous_update=False,
        layout=ipw.Layout(flex="1 1 320px", min_width="200px", width="auto"),
        style=_TIGHT,
    )


def _number(name: str, tip: str, most: int, width: int, low: int = 0) -> ipw.BoundedIntText:
    return ipw.BoundedIntText(
        value=low,
        min=low,
        max=max(most, low),
        description=name,
        tooltip=tip,
        layout=ipw.Layout(width=f"{width}px"),
        style=_TIGHT,
    )


def _choice(name: str, tip: str, options: Any, width: str = "auto") -> ipw.Dropdown:
    return ipw.Dropdown(
        options=options,
        description=name,
        tooltip=tip,
        layout=ipw.Layout(width=width, max_width="290px"),
        style=_TIGHT,
    )


def _toggles(options: Any, tip: str) -> ipw.ToggleButtons:
    options = list(options)
    return ipw.ToggleButtons(
        options=options,
        tooltips=[tip] * len(options),
        style={"button_width": "auto"},
        layout=ipw.Layout(width="auto"),
    )
