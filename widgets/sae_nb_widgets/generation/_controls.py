"""The controls of a GenerationLens, each linked to one trait."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb_widgets.components import atom_mark
from sae_nb_widgets.input_lens import upload_button
from sae_nb_widgets.panel import (
    LIVE_ONLY,
    Entry,
    button,
    control,
    icon_button,
    line,
    play_button,
    show,
    small_button,
)
from sae_nb_widgets.steering import (
    StrengthScale,
    fit_slider,
    snapped,
    strength_slider,
    unit_html,
)

SPEEDS = {2.0: "2 a second", 5.0: "5 a second", 10.0: "10 a second", 1000.0: "as fast as it can"}
STEERING_TITLE = '<div class="sae-nb-cardtitle">go on with an atom</div>'


class GenerationControls:
    """The prompt and the player, the controls behind "more", and the control that continues the text
    another way.
    """

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        tip = "What the model reads first; Enter begins anew with it"
        self.prompt = control(panel, "prompt", "prompt", tip).add_class("sae-nb-search")
        self.prompt.layout.flex, self.prompt.layout.min_width = "1 1 320px", "200px"
        self.play = play_button(panel, "Let the model write from here, or pause (space)")
        step = icon_button("step-forward", "One token more (→ at the last token)", panel.one_more)
        tip = "Tokens per second while it writes"
        grow = "{:g} a second".format
        speed = control(panel, "speed", "speed", tip, 190, options=SPEEDS, grow=grow)
        self.first = [self.prompt, *self._image(panel), line(self.play, step, speed)]
        self.more = [
            control(panel, "n_new", "tokens", "Tokens until it pauses by itself", 130),
            control(
                panel,
                "temperature",
                "temperature",
                "0 takes the likeliest token; above, tokens are drawn, and the text begins anew",
                150,
                kind=Entry,
            ),
            control(panel, "seed", "seed", "Of the draws and of the random direction", 130),
            control(panel, "n_named", "atoms named", "Atoms listed at each token", 140),
        ]
        self._make_steering()

    def _image(self, panel: Any) -> list[ipw.Widget]:
        """Return what puts an image into the prompt, of a model that reads both."""
        if not panel.model.placeholders:
            return []
        clear = small_button("no image", "Take the image out of the prompt", panel.without_image)
        return [upload_button(panel.take_upload, panel.model.modality), clear]

    def _make_steering(self) -> None:
        panel = self._panel
        self.name, self.unit = ipw.HTML(), ipw.HTML()
        self.atom = control(panel, "atom", "atom", "Row of the dictionary that is shown", 120)
        self.pin = small_button("pin", "Keep a strip of this atom, or take it away", panel.pin)
        self.strength = strength_slider(
            "strength", "How much of the atom is added while the text goes on", "290px"
        )
        self.strength.readout = False
        self.strength.observe(self._move, "value")
        self.exact = control(panel, "strength", "strength", "The strength in force", 96, kind=Entry)
        self.exact.description = "at"  # read on from the slider
        tip = "From the chosen token, or the last one: with the atom, without, along a random direction"
        self.go_on = button("go on from here", tip, panel.go_on)
        self.undo = button("undo", "Take the newest branch away", panel.undo)
        rows = [
            ipw.HTML(STEERING_TITLE),
            line(self.atom, self.pin),
            self.name,
            self.strength,
            line(self.exact, self.unit),
            line(self.go_on, self.undo),
        ]
        self.steering = ipw.VBox(rows).add_class(LIVE_ONLY)

    def _move(self, change: t.Bunch) -> None:
        if not snapped(self.strength, self._panel.strength):
            self._panel.strength = change["new"]

    def fit(self, scale: StrengthScale) -> None:
        """Give the slider the range of the atom, name it, and say whether it has a strip."""
        panel = self._panel
        fit_slider(self.strength, panel.strength, *scale.limits(panel.atom, "add"))
        self.unit.value = unit_html(
            scale.words(panel.atom, "add"), scale.explained(panel.atom, "add")
        )
        self.name.value = atom_mark(panel.atom, panel.names.words(panel.atom))
        self.pin.description = "unpin" if panel.atom in panel.pinned else "pin"

    def show_undo(self, shown: bool) -> None:
        """Offer "undo" where there is something to undo."""
        show(self.undo, shown)
