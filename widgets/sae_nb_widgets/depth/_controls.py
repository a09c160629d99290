"""Controls of a DepthTrajectory, each linked to one trait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb_widgets.depth._traits import LARGEST_PUSH, SHOWS
from sae_nb_widgets.panel import icon_button, line, play_button, wide

SPEEDS = (1.0, 2.0, 3.0, 6.0, 12.0)
_TIGHT = {"description_width": "initial"}
SIMILARITY_WORDS = {"raw": "raw cosine", "centred": "centred cosine", "cka": "CKA"}
COORDINATE_WORDS = {
    "pca": "PCA",
    "sphere": "sphere",
    "umap": "UMAP",
    "atoms": "atoms",
}


@dataclass(frozen=True)
class Controls:
    """Widgets by name."""

    play: ipw.ToggleButton
    layer: ipw.IntSlider
    k: ipw.IntSlider
    push_size: ipw.FloatSlider
    color_by: ipw.Dropdown
    first: tuple[ipw.Widget, ...]
    more: tuple[ipw.Widget, ...]


def build(panel: Any) -> Controls:
    """Return the controls of `panel`, linked to its traits."""
    play = play_button(panel, "Play through the layers, or pause (space)")
    layer = _slider(
        panel, "layer", "layer", (0, panel.n_layers), "The cursor all parts share (← →)", 190
    )
    k = _slider(panel, "k", "phases k", (1, panel.most_phases), "How many phases are drawn", 170)
    similarity = _menu(
        panel,
        "similarity",
        "by",
        [(words, name) for name, words in SIMILARITY_WORDS.items()],
        "How blocks are compared: a boundary only the raw cosine sees is one of the mean state",
        165,
    )
    where = _slider(
        panel, "perturb_layer", "at layer", (0, panel.n_layers), "Where states are pushed", 160
    )
    size = _push_size(panel)
    color_by = _colours(panel)
    first = (
        line(play, layer),
        line(k, similarity),
        line(size, where),
    )
    more = (
        _coordinates(panel),
        _dimensions(panel),
        _show(panel),
        color_by,
        *_push_again(panel),
        _speed(panel),
        *([_atoms(panel)] if panel.n_atoms else []),
    )
    return Controls(play, layer, k, size, color_by, first, more)


def chooser(panel: Any) -> ipw.Box:
    """Return the buttons and the number that choose an input."""
    field = ipw.BoundedIntText(
        min=0,
        max=panel.n_inputs - 1,
        tooltip="Which input is looked at ([ and ])",
        layout=wide("74px"),
    )
    t.link((panel, "picture"), (field, "value"))
    return line(
        icon_button("chevron-left", "The input before ([)", lambda: panel.step_picture(-1)),
        field,
        icon_button("chevron-right", "The next input (])", lambda: panel.step_picture(1)),
    )


def _slider(
    panel: Any, name: str, text: str, ends: tuple[int, int], tip: str, width: int
) -> ipw.IntSlider:
    slider = ipw.IntSlider(
        value=getattr(panel, name),
        min=ends[0],
        max=max(ends[1], ends[0] + 1),
        disabled=ends[1] <= ends[0],
        description=text,
        tooltip=tip,
        style=_TIGHT,
        layout=wide(f"{width}px"),
    )
    t.link((panel, name), (slider, "value"))
    return slider


def _menu(
    panel: Any, name: str, text: str, options: Sequence[tuple[str, Any]], tip: str, width: int
) -> ipw.Dropdown:
    menu = ipw.Dropdown(
        options=list(options),
        value=getattr(panel, name),
        description=text,
        tooltip=tip,
        style=_TIGHT,
        layout=wide(f"{width}px"),
    )
    t.link((panel, name), (menu, "value"))
    return menu


def _push_size(panel: Any) -> ipw.FloatSlider:
    slider = ipw.FloatSlider(
        min=0,
        max=1,
        step=0.01,
        description="push ε",
        readout_format=".2f",
        tooltip="Length of the push in lengths of the state; 0 for none (Esc)",
        style=_TIGHT,
        layout=wide("190px"),
    )
    slider.observe(lambda change: setattr(panel, "perturb_size", change["new"]), "value")

    def follow(change: t.Bunch) -> None:
        # Larger pushes can be set by the trait; the slider then grows.
        slider.max = max(slider.max, min(change["new"], LARGEST_PUSH))
        slider.value = change["new"]

    panel.observe(follow, "perturb_size")
    return slider


def _push_again(panel: Any) -> tuple[ipw.Widget, ...]:
    button = ipw.Button(
        description="other direction",
        icon="random",
        tooltip="Push in another random direction",
        layout=wide("140px"),
    )

    def again(_: Any) -> None:
        panel.perturb_seed += 1

    button.on_click(again)
    return (button,)


def _coordinates(panel: Any) -> ipw.Dropdown:
    names = [name for name in COORDINATE_WORDS if name != "atoms" or panel.n_atoms]
    options = [(COORDINATE_WORDS[name], name) for name in names]
    return _menu(
        panel,
        "coordinates",
        "axes",
        options,
        "What paths are drawn on: principal axes of where they end, flat or on the sphere; "
        "a UMAP; atoms of the SAE",
        150,
    )


def _dimensions(panel: Any) -> ipw.Dropdown:
    return _menu(panel, "dimensions", "in", [("2-D", 2), ("3-D", 3)], "Two axes, or three", 90)


def _show(panel: Any) -> ipw.Dropdown:
    words = {"pictures": "this token of all inputs", "tokens": "all tokens of this input"}
    options = [(words[name], name) for name in SHOWS]
    return _menu(panel, "show", "paths of", options, "Whose paths are drawn", 250)


def _colours(panel: Any) -> ipw.Dropdown:
    names = (["class"] if panel.has_classes else []) + ["token type", "phase"]
    options = [(name, name) for name in names]
    return _menu(panel, "color_by", "colour", options, "What colours of paths mean", 150)


def _speed(panel: Any) -> ipw.Dropdown:
    menu = ipw.Dropdown(
        options=[(f"{speed:g} layers / s", speed) for speed in SPEEDS],
        value=panel.speed,
        description="speed",
        tooltip="Layers per second while it plays",
        style=_TIGHT,
        layout=wide("160px"),
    )
    menu.observe(lambda change: setattr(panel, "speed", change["new"]), "value")

    def follow(change: t.Bunch) -> None:
        if change["new"] in SPEEDS:
            menu.value = change["new"]

    panel.observe(follow, "speed")
    return menu


def _atoms(panel: Any) -> ipw.Text:
    field = ipw.Text(
        description="atoms",
        tooltip="Atoms to follow over depth, by number, separated by commas",
        continuous_update=False,
        style=_TIGHT,
        layout=wide("210px"),
    )

    def read(change: t.Bunch) -> None:
        with panel.guarded("choosing atoms"):
            words = change["new"].replace(",", " ").split()
            panel.atoms = [int(word) for word in words]

    field.observe(read, "value")
    panel.observe(
        lambda change: setattr(field, "value", ", ".join(map(str, change["new"]))), "atoms"
    )
    return field
