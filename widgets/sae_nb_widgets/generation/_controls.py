"""The controls of a GenerationLens, each linked to one trait."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import ipywidgets as ipw
import traitlets as t

from sae_nb_widgets.input_lens._controls import upload_button
from sae_nb_widgets.panel._declaring import (
    Entry,
    button,
    control,
    icon_button,
    line,
    roomy,
    show,
    small_button,
)
from sae_nb_widgets.panel._pages import LIVE_ONLY
from sae_nb_widgets.panel._playing import play_button
from sae_nb_widgets.steering._controls import StrengthControl, unit_html
from sae_nb_widgets.steering._scale import StrengthScale

if TYPE_CHECKING:
    from sae_nb_widgets.generation._panel import GenerationLens

SPEEDS = {2.0: "2 a second", 5.0: "5 a second", 10.0: "10 a second", 1000.0: "as fast as it can"}


class GenerationControls:
    """The strength and two buttons in the row, the prompt next to them, the rest in the menu."""

    def __init__(self, panel: GenerationLens) -> None:
        self._panel = panel
        tip = "how much of the atom is added while the text goes on"
        self.strength = StrengthControl(tip, lambda strength: panel.set_trait("strength", strength))
        tip = "Write the texts again with other random numbers"
        self.again = button("↻ again", tip, panel.again)
        tip = "Keep this way of going on, and let the model write on (space pauses)"
        self.write_on = button("Write on", tip, panel.write_on)
        self.first = [self.strength.slider, self.again]
        self._make_prompt()
        self.more = [self._steering(), self._player(), *self._settings()]

    def _make_prompt(self) -> None:
        panel = self._panel
        tip = "What the model reads first; Enter begins anew with it"
        self.prompt = control(panel, "prompt", "prompt", tip, placeholder="Type how a text begins")
        self.asked = roomy(line(roomy(self.prompt), *self._image(panel))).add_class(LIVE_ONLY)

    def _image(self, panel: GenerationLens) -> list[ipw.Widget]:
        """Return what puts an image into the prompt, of a model that reads both."""
        if not panel.model.placeholders:
            return []
        clear = small_button("no image", "Take the image out of the prompt", panel.without_image)
        return [upload_button(panel.take_upload, panel.model.modality), clear]

    def _player(self) -> ipw.Widget:
        panel = self._panel
        self.play = play_button(panel, "Let the model write from here, or pause (space)")
        step = icon_button("step-forward", "One token more (→ at the last token)", panel.one_more)
        tip, grow = "Tokens per second while it writes", "{:g} a second".format
        speed = control(panel, "speed", "speed", tip, 190, options=SPEEDS, grow=grow)
        return line(self.play, step, speed)

    def _settings(self) -> list[ipw.Widget]:
        panel = self._panel
        return [
            control(panel, "n_new", "tokens", "Tokens until it pauses by itself", 130),
            control(
                panel,
                "temperature",
                "temperature",
                "0 takes the likeliest token; above, tokens are drawn, and the text begins anew",
                150,
                kind=Entry,
            ),
            control(panel, "seed", "seed", "Of the draws and of the first random direction", 130),
            control(panel, "n_named", "atoms named", "Atoms listed at each token", 140),
        ]

    def _steering(self) -> ipw.Widget:
        panel = self._panel
        self.atom = control(panel, "atom", "atom", "Row of the dictionary that is shown", 120)
        self.pin = small_button("pin", "Keep a strip of this atom, or take it away", panel.pin)
        tip = "The strength in force, in the panel's unit"
        self.exact = control(panel, "strength", "strength", tip, 130, kind=Entry)
        self.unit = ipw.HTML()
        tip = "From the chosen token, or the last one: with the atom, without, along random directions"
        self.go_on = button("go on from here", tip, panel.go_on)
        self.undo = button("undo", "Take the newest branch away", panel.undo)
        parts = [self.atom, self.pin, self.exact, self.unit, self.go_on, self.undo]
        self.steering = line(*parts).add_class(LIVE_ONLY)
        return self.steering

    def fit(self, scale: StrengthScale) -> None:
        """Give the slider the range of the atom, name it, and say whether it has a strip."""
        panel = self._panel
        self.strength.fit(scale, panel.atom, panel.strength, "add", panel.names, known=panel.ready)
        self.unit.value = unit_html(
            scale.words(panel.atom, "add"), scale.explained(panel.atom, "add")
        )
        self.pin.description = "unpin" if panel.atom in panel.pinned else "pin"

    def offer(self, offered: bool) -> None:
        """Offer what needs a text."""
        show(self.steering, offered)
        self.again.disabled = self.write_on.disabled = not offered
        self.strength.slider.disabled = not offered

    def show_undo(self, shown: bool) -> None:
        """Offer "undo" where there is something to undo."""
        show(self.undo, shown)


# --- Clicks on its parts: they choose a token, an atom, a branch ----------------------------------


class Picking:
    """Listens to the components of `panel`; what they say while they are filled is not heard."""

    def __init__(self, panel: GenerationLens) -> None:
        self._panel, self._views = panel, panel.views
        views = self._views
        views.text.observe(self._token, "selected")
        for one in views.on_images:
            one.observe(self._patch, "selected")
        views.here.observe(self._atom(lambda: views.here_atoms), "selected")
        views.why.observe(self._atom(lambda: views.why_atoms), "selected")
        views.table.observe(self._branch, "selected")

    @property
    def _ignores_clicks(self) -> bool:
        return bool(self._views.filling) or not self._panel.ready

    def _token(self, change: t.Bunch) -> None:
        if self._ignores_clicks:
            return
        panel, (row, column) = self._panel, change["new"]
        now = panel._now
        if row > 0 and now.ways is not None:
            panel.say("These texts are not kept yet: press “Write on”, then choose a token.")
            self._views.mark_token(now)
        elif row > 1:
            panel.say("The text goes on from the steered row; choose branch 0 to go on without.")
            self._views.mark_token(now)
        else:
            panel.token = -1 if row < 0 else column if row == 0 else now.start + column

    def _patch(self, change: t.Bunch) -> None:
        if self._ignores_clicks:
            return
        image, patch = change["new"]
        runs = [*self._panel._now.runs.values()]
        self._panel.token = runs[image].start + patch if image >= 0 and patch >= 0 else -1

    def _atom(self, atoms: Callable[[], list[int]]) -> Callable[[t.Bunch], None]:
        def choose(change: t.Bunch) -> None:
            if 0 <= change["new"] < len(atoms()) and not self._views.filling:
                self._panel.atom = atoms()[change["new"]]

        return choose

    def _branch(self, change: t.Bunch) -> None:
        if change["new"] >= 0 and not self._views.filling:
            with self._panel.hold_trait_notifications():
                self._panel.branch, self._panel.token = change["new"], -1
