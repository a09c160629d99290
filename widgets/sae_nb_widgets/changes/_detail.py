"""The column next to the ChangesPanel's text: the answers at one place, before and after."""

from __future__ import annotations

import ipywidgets as ipw

from sae_nb.figures import escape, format_percent
from sae_nb.studies.evaluation import ChangedText
from sae_nb_widgets.changes import _words as words
from sae_nb_widgets.components import Column, PairedBars

SMALL = 0.001
"""Probability below which no number is written."""


class ChangesDetail:
    """Next tokens that moved most at a place: probability before, after, and with the direction set back."""

    def __init__(self) -> None:
        self.place = ipw.HTML()
        self.bars = PairedBars(description="next token")
        self.widgets: tuple[ipw.Widget, ...] = (self.place, self.bars)

    def show(self, text: ChangedText, place: int, back: str) -> None:
        """Show the answers at a place."""
        title = escape(f"After {words.word(text.tokens[place])}, token {place}")
        sentence = escape(words.place_sentence(text, place, back))
        self.place.value = f'<div class="sae-nb-cardtitle">{title}</div><p>{sentence}</p>'
        before, after = text.before[place].tolist(), text.after[place].tolist()
        set_back = () if text.set_back is None else text.set_back[place].tolist()
        top = max(*before, *after)
        self.bars.show(
            [words.word(name) for name in text.outcomes[place]],
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
