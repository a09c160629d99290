"""The controls of the LensPanel, each linked to one trait."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw

from sae_nb_widgets.panel import control

SHOWN = {"lens": "the lens", "logit": "logit lens", "both": "both"}
NAMES = {"jacobian": "Jacobian lens", "tuned": "tuned lens", "logit": "logit lens"}
BLOCKS = {"some": "some", "all": "all"}


class LensControls:
    """The controls of `panel`: those seen at once, and those behind "more"."""

    def __init__(self, panel: Any) -> None:
        self.shown = control(
            panel,
            "shown",
            "show",
            "The fitted lens, the states read as they are, or one under the other",
            "14em",
            options=SHOWN,
        )
        self.more = [
            control(panel, "blocks", "blocks", "Some blocks, or all", "10em", options=BLOCKS),
            control(panel, "layer", "block", "Block whose outputs are listed", "9em"),
            control(panel, "place", "position", "Position whose outputs are listed", "10em"),
        ]
        if panel.model.modality.is_text:
            tip = "What the model reads; it is read when you leave the box"
            self.first = [_text(panel, "text", "text", tip), self.shown]
            tip = "Another text, shown next to the first; empty for none"
            self.more.insert(0, _text(panel, "second_text", "second text", tip))
        else:
            tip = "Number of the image that is read"
            self.first = [control(panel, "example", "image", tip, "9em"), self.shown]


def _text(panel: Any, trait: str, name: str, tip: str) -> ipw.Textarea:
    width = "min(480px, 100%)"
    box = control(panel, trait, name, tip, width, kind=ipw.Textarea, rows=2)
    return box.add_class("sae-nb-search")
