"""The controls of the ChangesPanel, each linked to one trait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb_widgets.panel._declaring import (
    Entry,
    control,
    line,
    small_button,
    text_field,
)

if TYPE_CHECKING:
    from sae_nb_widgets.changes._panel import ChangesPanel


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
