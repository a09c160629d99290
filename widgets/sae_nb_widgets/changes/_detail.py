"""The parts of a ChangesPanel next to its text or image, and its controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as ipw

from sae_nb.figures.theme import escape, format_percent
from sae_nb_widgets.changes import _words as words
from sae_nb_widgets.changes._views import Answer
from sae_nb_widgets.components import Column, PairedBars
from sae_nb_widgets.panel._declaring import Entry, control, line, small_button, text_field

if TYPE_CHECKING:
    from sae_nb_widgets.changes._panel import ChangesPanel

SMALL = 0.001
"""Probability below which no number is written."""


class ChangesDetail:
    """Next tokens, or classes, that moved most: probability before, after, and with the direction set back."""

    def __init__(self, answers: str) -> None:
        self.place = ipw.HTML()
        self.bars = PairedBars(description=answers)
        self.widgets: tuple[ipw.Widget, ...] = (self.place, self.bars)

    def show(self, seen: Answer, place: int, back: str) -> None:
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


# --- Its controls ---------------------------------------------------------------------------------


class ChangesControls:
    """The controls of `panel`: those seen at once, and those behind "more"."""

    def __init__(self, panel: ChangesPanel, noun: str) -> None:
        number = line(
            control(panel, "sample", f"{noun} number", f"Which of the {noun}s compared on", "11em", kind=Entry),
            small_button("‹", f"The {noun} before (↑)", lambda: panel.step_sample(-1)),
            small_button("›", f"The next {noun} (↓)", lambda: panel.step_sample(1)),
        )  # fmt: skip
        self.first = [number]
        if noun == "text":
            tip = "Any text; both models read it when you leave the box"
            box = text_field(panel, "text", "text", tip).add_class("sae-nb-search")
            self.first = [box, number]
        back = "Row of the findings whose direction is set back; −1: none"
        place = (
            "Token after which answers are listed" if noun == "text" else "Patch that is covered"
        )
        name = "position" if noun == "text" else "patch"
        self.more = [
            control(panel, "finding", "set back", back, "9em", kind=Entry),
            control(panel, "place", name, place, "9em", kind=Entry),
        ]  # fmt: skip
