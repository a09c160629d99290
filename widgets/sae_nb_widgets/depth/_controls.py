"""Controls of a DepthTrajectory, each linked to one trait."""

from __future__ import annotations

import ipywidgets as ipw
import traitlets as t

from sae_nb_widgets.depth._state import DepthState
from sae_nb_widgets.depth._views import STRIPS
from sae_nb_widgets.panel._declaring import button, control, icon_button, line, wide
from sae_nb_widgets.panel._playing import play_button

SPEEDS = (1.0, 2.0, 3.0, 6.0, 12.0)
USUAL_PUSH = 1.0
"""End of the slider of pushes; larger ones can be set by the trait, and the slider then grows."""
SIMILARITY_WORDS = {"raw": "raw cosine", "centred": "centred cosine", "cka": "CKA"}
COORDINATE_WORDS = {"pca": "PCA", "sphere": "sphere", "umap": "UMAP", "atoms": "atoms"}
SLIDER = "24em"
"""Width of a slider with its name and number: at least 120 pixels are left to aim at."""


class DepthControls:
    """The controls of `panel`: those always there, and those behind "more"."""

    def __init__(self, panel: DepthState) -> None:
        self.play = play_button(panel, "Play through the layers, or pause (space)")
        self.layer = _slider(panel, "layer", "layer", "The layer that every part shows (← →)")
        strips = {name: strip.words for name, strip in STRIPS.items() if strip.possible(panel)}
        tip = "What is measured from layer to layer"
        self.strip = control(panel, "strip", "show", tip, "23em", options=strips)
        self.first = (line(self.play, self.layer), self.strip)
        self.push_size = _push_size(panel)
        self.more = (
            self.push_size,
            _slider(panel, "perturb_layer", "at layer", "Where states are pushed"),
            button(
                "other direction",
                "Push in another random direction",
                lambda: panel.set_trait("perturb_seed", panel.perturb_seed + 1),
                "11em",
                icon="random",
            ),
            *_of_paths(panel),
            *_of_phases(panel),
            control(
                panel,
                "speed",
                "speed",
                "Layers per second while it plays",
                "13em",
                options={speed: f"{speed:g} layers / s" for speed in SPEEDS},
            ),
            *([_atoms(panel)] if panel.n_atoms else []),
        )


def chooser(panel: DepthState, what: str) -> ipw.Box:
    """Return the buttons and the number that choose an input."""
    return line(
        icon_button("chevron-left", f"The {what} before ([)", lambda: panel.step_picture(-1)),
        control(panel, "picture", what, f"Which {what} is looked at ([ and ])", "9em"),
        icon_button("chevron-right", f"The next {what} (])", lambda: panel.step_picture(1)),
    )


def _slider(panel: DepthState, trait: str, name: str, tip: str) -> ipw.IntSlider:
    return control(panel, trait, name, tip, SLIDER, kind=ipw.IntSlider)


def _of_paths(panel: DepthState) -> tuple[ipw.Widget, ...]:
    offered = {
        name: words for name, words in COORDINATE_WORDS.items() if name != "atoms" or panel.n_atoms
    }
    tip = (
        "What paths are drawn on: principal axes of where they end, flat or on the sphere; a UMAP; "
        "atoms of the SAE"
    )
    whose = {"pictures": "this token of all inputs", "tokens": "all tokens of this input"}
    ways = {"few": "this one and three", "all": "all of them"}
    colours = (["class"] if panel.has_classes else []) + ["token type", "phase"]
    return (
        control(panel, "show", "paths of", "Whose paths are drawn", "21em", options=whose),
        control(
            panel,
            "trails",
            "ways",
            "Whose way is drawn; dots are always there",
            "16em",
            options=ways,
        ),
        control(panel, "color_by", "colour", "What colours of paths mean", "12em", options=colours),
        control(panel, "coordinates", "axes", tip, "10em", options=offered),
        control(
            panel, "dimensions", "in", "Two axes, or three", "7em", options={2: "2-D", 3: "3-D"}
        ),
    )


def _of_phases(panel: DepthState) -> tuple[ipw.Widget, ...]:
    tip = "How blocks are compared: a boundary only the raw cosine sees is one of the mean state"
    return (
        _slider(panel, "k", "phases", "How many phases the blocks are cut into"),
        control(panel, "similarity", "compared by", tip, "18em", options=SIMILARITY_WORDS),
    )


def _push_size(panel: DepthState) -> ipw.FloatSlider:
    slider = ipw.FloatSlider(
        value=panel.perturb_size,
        min=0,
        max=max(USUAL_PUSH, panel.perturb_size),
        step=0.01,
        description="push",
        readout_format=".2f",
        tooltip="Length of a random push, in lengths of the state; 0 for none (Esc)",
        style={"description_width": "initial"},
        layout=wide(SLIDER),
    )

    def follow(change: t.Bunch) -> None:
        slider.max = max(slider.max, change["new"])
        slider.value = change["new"]

    slider.observe(lambda change: panel.set_trait("perturb_size", change["new"]), "value")
    panel.observe(follow, "perturb_size")
    return slider


def _atoms(panel: DepthState) -> ipw.Text:
    field = ipw.Text(
        description="atoms",
        tooltip="Atoms to follow over depth, by number, separated by commas",
        continuous_update=False,
        style={"description_width": "initial"},
        layout=wide("17em"),
    )

    def shown() -> str:
        return ", ".join(map(str, panel.atoms))

    def show(_: object = None) -> None:
        field.value = shown()

    def read(change: t.Bunch) -> None:
        if change["new"] == shown():
            return
        try:
            panel.atoms = [int(word) for word in change["new"].replace(",", " ").split()]
        except (ValueError, t.TraitError):
            rule = f"whole numbers from 0 to {panel.n_atoms - 1}, with commas between them"
            panel.refuse("atoms", rule, change["new"], shown())
        show()

    show()
    field.observe(read, "value")
    panel.observe(show, "atoms")
    return field
