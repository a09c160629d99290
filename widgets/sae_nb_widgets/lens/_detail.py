"""The column next to the LensPanel's grid: one cell's outputs by both lenses, and the lens's score."""

from __future__ import annotations

import ipywidgets as ipw
import numpy as np

from sae_nb.figures import escape, format_number, theme, visible_token
from sae_nb.lenses import Lens, LensReading
from sae_nb_widgets.components import Sparkbars


class LensDetail:
    """Ten outputs of a cell by the lens and by the logit lens."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens
        self.place = ipw.HTML()
        self.own = Sparkbars(description=f"{lens.kind} lens (probability)", maximum=1.0)
        self.plain = Sparkbars(description="logit lens (probability)", maximum=1.0)
        self.score = ipw.HTML()
        self.widgets: tuple[ipw.Widget, ...] = (self.place, self.own, self.plain, self.score)

    def show(self, own: LensReading, plain: LensReading, layer: int, row: int) -> None:
        """List the outputs of a cell; the model's own answer is marked."""
        i = own.layers.index(layer)
        answer = own.names[int(own.answer[row])]
        token = visible_token(own.tokens[row])
        share = format_number(float(own.answer_probability[row]))
        self.place.value = (
            f"<b>Block {layer}, at “{escape(token)}”</b><br>the model answers "
            f"“{escape(visible_token(answer))}” (probability {share})"
        )
        for bars, reading in ((self.own, own), (self.plain, plain)):
            ids = reading.top[i, row].tolist()
            names = [f"“{visible_token(reading.names[one])}”" for one in ids]
            colours = [theme.PREDICTED if one == own.answer[row] else "" for one in ids]
            shares = np.asarray(reading.top_probability[i, row], dtype=float).tolist()
            bars.show(names, shares, colours=colours, maximum=1.0)
        kl = f"{format_number(float(own.kl[i, row]))} nats, logit lens {format_number(float(plain.kl[i, row]))}"
        self.score.value = (
            '<span style="color:var(--sae-nb-quiet)">'
            f"Distance to the model's answer here: {kl}. Effects of directions at this block: "
            f"{escape(self._lens.score_in_words(layer))}.</span>"
        )

    def clear(self) -> None:
        """Show nothing."""
        self.place.value = self.score.value = ""
        self.own.show([], [])
        self.plain.show([], [])
