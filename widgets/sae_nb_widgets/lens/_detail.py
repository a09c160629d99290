"""The column next to the LensPanel's grid: one cell's outputs by both lenses, and the lens's score."""

from __future__ import annotations

from collections.abc import Collection

import ipywidgets as ipw
import numpy as np

from sae_nb.figures import escape, format_number, theme, visible_token
from sae_nb.lenses import Lens, LensReading
from sae_nb_widgets.components import Sparkbars
from sae_nb_widgets.lens._atoms import Firing
from sae_nb_widgets.lens._controls import NAMES
from sae_nb_widgets.panel import show

_GREEN = theme.css_colour(theme.CONFIRMED)


class LensDetail:
    """Ten outputs of a cell by the lens and by the logit lens."""

    def __init__(self, lens: Lens, blocks: Collection[int]) -> None:
        self._lens, self._blocks = lens, sorted(blocks)
        self.place = ipw.HTML()
        self.own = Sparkbars(description=f"{NAMES[lens.kind]} (probability)", maximum=1.0)
        self.plain = Sparkbars(description="logit lens (probability)", maximum=1.0)
        self.atoms = Sparkbars(description="atoms that fire here, and what each raises by the lens")
        self.score = ipw.HTML()
        self.widgets: tuple[ipw.Widget, ...] = (
            self.place, self.own, self.plain, self.atoms, self.score,
        )  # fmt: skip

    def show(
        self,
        own: LensReading,
        plain: LensReading,
        layer: int,
        row: int,
        name: str,
        firing: Firing | None,
    ) -> None:
        """List the outputs of a cell, its model's own answer marked, and the atoms that fire there."""
        i = own.layers.index(layer)
        answer = own.names[int(own.answer[row])]
        token = visible_token(own.tokens[row])
        share = format_number(float(own.answer_probability[row]))
        self.place.value = (
            f"<b>Block {escape(name)}, at “{escape(token)}”</b><br>the model answers "
            f"“{escape(visible_token(answer))}” (probability {share})"
        )
        for bars, reading in ((self.own, own), (self.plain, plain)):
            ids = reading.top[i, row].tolist()
            names = [f"“{visible_token(reading.names[one])}”" for one in ids]
            colours = [_GREEN if one == own.answer[row] else "" for one in ids]
            shares = np.asarray(reading.top_probability[i, row], dtype=float).tolist()
            bars.show(names, shares, colours=colours, maximum=1.0)
        compared = self._lens.kind != "logit"  # with itself there is nothing to compare
        show(self.plain, compared)
        show(self.atoms, bool(self._blocks))
        pairs = () if firing is None else firing.at[row]
        self.atoms.empty_text = (
            f"Atoms are listed at block {', '.join(map(str, self._blocks))}, where the SAE reads."
            if firing is None
            else "No atom fires here."
        )
        numbers = [atom for atom, _ in pairs]
        named = [f"{atom}: {firing.names[atom]}" for atom in numbers] if firing else []
        self.atoms.show(named, [strength for _, strength in pairs], atoms=numbers)
        kl = f"{format_number(float(own.kl[i, row]))} nats"
        kl += f", logit lens {format_number(float(plain.kl[i, row]))}" * compared
        self.score.value = (
            '<span style="color:var(--sae-nb-quiet)">'
            f"Distance to the model's answer here: {kl}. Effects of directions at this block: "
            f"{escape(self._lens.score_in_words(layer))}.</span>"
        )

    def clear(self) -> None:
        """Show nothing."""
        self.place.value = self.score.value = ""
        self.own.show([], [])
        self.atoms.show([], [])
        self.plain.show([], [])
