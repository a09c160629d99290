"""The column next to the ChangesPanel's text: the answers at one place, before and after."""

from __future__ import annotations

import ipywidgets as ipw

from sae_nb.figures.theme import (
    escape,
    format_percent,
)
from sae_nb_widgets.changes import _words as words
from sae_nb_widgets.changes._queries import Seen
from sae_nb_widgets.components import Column, PairedBars

SMALL = 0.001
"""Probability below which no number is written."""


class ChangesDetail:
    """Next tokens, or classes, that moved most: probability before, after, and with the direction set back."""

    def __init__(self, answers: str) -> None:
        self.place = ipw.HTML()
        self.bars = PairedBars(description=answers)
        self.widgets: tuple[ipw.Widget, ...] = (self.place, self.bars)

    def show(self, seen: Seen, place: int, back: str) -> None:
        """Show the answers at a place of a text, or to an image."""
        title = escape(words.title_words(seen, place))
        sentence = escape(words.place_sentence(seen, place, back))
        self.place.value = f'<div class="sae-nb-cardtitle">{title}</div><p>{sentence}</p>'
        names, old, new, rest = words.answers_at(seen, place)
        before, after = old.tolist(), new.tolist()
        set_back = () if rest is None else rest.tolist()
        top = max(*before, *after, *set_back)
        self.bars.show(
            names,
            Column(title="before", values=before, notes=_percent(before), maximum=top),
            Column(title="after", values=after, notes=_percent(after), exact=set_back, maximum=top),
            key=[("before", "after, with the direction set back")] if set_back else [],
        )

    def clear(self) -> None:
        """Show nothing."""
        self.place.value = ""
        self.bars.show([])


def _percent(values: list[float]) -> list[str]:
    return [
        f"< {format_percent(SMALL, digits=1)}" if one < SMALL else format_percent(one, digits=2)
        for one in values
    ]
