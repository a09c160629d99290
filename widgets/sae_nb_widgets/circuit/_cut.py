"""The row under a circuit: what a change did in the live model, next to what was foreseen and to chance."""

from __future__ import annotations

import ipywidgets as ipw
import numpy as np
from jaxtyping import Float

from sae_nb.figures import fade, theme, visible_token
from sae_nb.figures.theme import format_percent
from sae_nb_widgets.circuit import _words as words
from sae_nb_widgets.circuit._summary import CircuitAnswer
from sae_nb_widgets.components import Sparkbars
from sae_nb_widgets.panel._declaring import control, line, show, small_button
from sae_nb_widgets.panel._pages import COLUMNS
from sae_nb_widgets.panel._panel import Panel

AFTER = "Likeliest answers now (black tick: before; grey: after random changes)"
STALE = "sae-nb-stale"


def band_of(drawn: Float[np.ndarray, " n"]) -> tuple[float, ...]:
    """Return the least, the median and the most of what random changes do; nothing without any."""
    return (float(drawn.min()), float(np.median(drawn)), float(drawn.max())) if len(drawn) else ()


class LiveCut:
    """One change in words and three bars, and the likeliest answers after it."""

    def __init__(self, panel: Panel) -> None:
        tip = "What its strength is multiplied by in the live model: 0 takes it out, 1 leaves it, 2 doubles it"
        slider = control(panel, "strength", "strength ×", tip, 300, step=0.05)
        self.said, self.note = ipw.HTML().add_class("sae-nb-cutwords"), ipw.HTML()
        self.strength = line(
            slider,
            small_button(
                "put back", "As strong as it is", lambda: panel.set_trait("strength", 1.0)
            ),
            small_button("double", "Twice as strong", lambda: panel.set_trait("strength", 2.0)),
        )
        self.effects = Sparkbars(empty_text="")
        self.outcomes = Sparkbars(description=AFTER, empty_text="")
        # A box of its own: classes of small components are set before they live on a busy page.
        self.after = ipw.VBox([self.outcomes])
        left = ipw.VBox([self.said, self.note, self.strength])
        self.row = ipw.Box([left, self.effects]).add_class(COLUMNS).add_class("sae-nb-cutrow")

    def fit(self, reason: str, chosen: bool) -> None:
        """Show the slider, or the reason why nothing can be changed."""
        show(self.strength, not reason and chosen)
        self.note.value = f'<div class="sae-nb-cardfacts">{reason}</div>' if reason else ""
        show(self.note, bool(reason))

    def wait(self) -> None:
        """Show dimmed what no longer answers what is asked."""
        for part in (self.row, self.after):
            part.add_class(STALE)

    def show(self, answer: CircuitAnswer | None, name: str, targets: str) -> None:
        """Draw an answer; None clears the row."""
        for part in (self.row, self.after):
            part.remove_class(STALE)
        for part in (self.said, self.effects, self.after):
            show(part, answer is not None)
        if answer is None:
            return
        self.said.value = words.cut_html(answer, name)
        n_random = len(answer.random)
        luck = f"; grey: {n_random} random changes" if n_random else ""
        self.effects.description = f"What that does to the score of {targets} (logits{luck})"
        colour = theme.WARM if answer.effect > 0 else theme.BLUE
        band = band_of(answer.random)
        self.effects.show(
            ["in the model", "foreseen"],
            [answer.effect, answer.predicted],
            signed=True,
            colours=[colour, fade(colour, 0.9)],
            bands=[band, band],
        )
        self.outcomes.show(
            [visible_token(name) for name in answer.names],
            answer.after.tolist(),
            notes=[format_percent(p, digits=2) for p in answer.after],
            before=answer.before.tolist(),
            bands=[band_of(drawn) for drawn in answer.after_random.T],
        )
        show(self.after, bool(answer.names))
