"""Controls of a DepthTrajectory, each linked to one trait."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb_widgets.panel import button, control, icon_button, line, play_button, wide

SPEEDS = (1.0, 2.0, 3.0, 6.0, 12.0)
USUAL_PUSH = 1.0
"""End of the slider of pushes; larger ones can be set by the trait, and the slider then grows."""
SIMILARITY_WORDS = {"raw": "raw cosine", "centred": "centred cosine", "cka": "CKA"}
COORDINATE_WORDS = {"pca": "PCA", "sphere": "sphere", "umap": "UMAP", "atoms": "atoms"}
SHOW_WORDS = {"pictures": "this token of all inputs", "tokens": "all tokens of this input"}


class DepthControls:
    """The controls of `panel`: those always there, and those behind "more"."""

    def __init__(self, panel: Any) -> None:
        self.play = play_button(panel, "Play through the layers, or pause (space)")
        slider = ipw.IntSlider
        self.layer = control(
            panel, "layer", "layer", "The cursor all parts share (← →)", 190, kind=slider
        )
        self.k = control(panel, "k", "phases k", "How many phases are drawn", 170, kind=slider)
        similarity = control(
            panel,
            "similarity",
            "by",
            "How blocks are compared: a boundary only the raw cosine sees is one of the mean state",
            165,
            options=SIMILARITY_WORDS,
        )
        where = control(
            panel, "perturb_layer", "at layer", "Where states are pushed", 160, kind=slider
        )
        self.push_size = _push_size(panel)
        colours = (["class"] if panel.has_classes else []) + ["token type", "phase"]
        self.color_by = control(
            panel, "color_by", "colour", "What colours of paths mean", 150, options=colours
        )
        self.first = (
            line(self.play, self.layer),
            line(self.k, similarity),
            line(self.push_size, where),
        )
        self.more = (
            _coordinates(panel),
            control(
                panel,
                "dimensions",
                "in",
                "Two axes, or three",
                90,
                options={2: "2-D", 3: "3-D"},
            ),
            control(panel, "show", "paths of", "Whose paths are drawn", 250, options=SHOW_WORDS),
            self.color_by,
            button(
                "other direction",
                "Push in another random direction",
                lambda: panel.set_trait("perturb_seed", panel.perturb_seed + 1),
                140,
                icon="random",
            ),
            control(
                panel,
                "speed",
                "speed",
                "Layers per second while it plays",
                160,
                options={speed: f"{speed:g} layers / s" for speed in SPEEDS},
            ),
            *([_atoms(panel)] if panel.n_atoms else []),
        )


def chooser(panel: Any) -> ipw.Box:
    """Return the buttons and the number that choose an input."""
    return line(
        icon_button("chevron-left", "The input before ([)", lambda: panel.step_picture(-1)),
        control(panel, "picture", "", "Which input is looked at ([ and ])", 74),
        icon_button("chevron-right", "The next input (])", lambda: panel.step_picture(1)),
    )


def _push_size(panel: Any) -> ipw.FloatSlider:
    slider = ipw.FloatSlider(
        value=panel.perturb_size,
        min=0,
        max=max(USUAL_PUSH, panel.perturb_size),
        step=0.01,
        description="push ε",
        readout_format=".2f",
        tooltip="Length of the push in lengths of the state; 0 for none (Esc)",
        style={"description_width": "initial"},
        layout=wide("190px"),
    )

    def follow(change: t.Bunch) -> None:
        slider.max = max(slider.max, change["new"])
        slider.value = change["new"]

    slider.observe(lambda change: panel.set_trait("perturb_size", change["new"]), "value")
    panel.observe(follow, "perturb_size")
    return slider


def _coordinates(panel: Any) -> ipw.Dropdown:
    offered = {
        name: words for name, words in COORDINATE_WORDS.items() if name != "atoms" or panel.n_atoms
    }
    tip = (
        "What paths are drawn on: principal axes of where they end, flat or on the sphere; a UMAP; "
        "atoms of the SAE"
    )
    return control(panel, "coordinates", "axes", tip, 150, options=offered)


def _atoms(panel: Any) -> ipw.Text:
    field = ipw.Text(
        description="atoms",
        tooltip="Atoms to follow over depth, by number, separated by commas",
        continuous_update=False,
        style={"description_width": "initial"},
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
