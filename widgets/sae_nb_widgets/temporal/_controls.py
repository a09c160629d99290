"""The controls of the TemporalPanel, each linked to one trait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as ipw

from sae_nb_widgets.panel._declaring import control

if TYPE_CHECKING:
    from sae_nb_widgets.temporal._panel import TemporalPanel

PARTS = {
    "none": "how much was expected",
    "novel": "atoms that are new",
    "predicted": "atoms that were predicted",
}
BANDS = {"none": "not shown", "share": "shares of its energy", "energy": "its energy"}
LOWER = {
    "none": "nothing",
    "similarity": "similarity of positions",
    "PCA": "map of positions (PCA)",
    "UMAP": "map of positions (UMAP)",
}


class TemporalControls:
    """The controls of `panel`: those seen at once, and those behind "more"."""

    def __init__(self, panel: TemporalPanel) -> None:
        self.first = [
            _menu(
                panel,
                "part",
                "show",
                "How much of each position was predicted, or also which atoms",
                PARTS,
            )
        ]
        self.more = [
            _menu(panel, "bands", "each position", "How much of it was predicted, as bars", BANDS),
            _menu(panel, "lower", "below", "What stands under the atoms", LOWER),
            control(panel, "color_by", "map coloured by", "Time, or document", "16em"),
            control(panel, "rows", "rows", "How many atoms are shown, the strongest first", "8em"),
            control(panel, "token", "position", "Which one is looked at; empty for none", "10em"),
        ]
        if panel.text:
            tip = "What the model reads; it is taken apart when you leave the box"
            self.first.insert(0, _text(panel, "text", "text", tip))
            tip = "Another text, aligned with the first; empty for none"
            self.more.insert(0, _text(panel, "second_text", "second text", tip))


def _text(panel: TemporalPanel, trait: str, name: str, tip: str) -> ipw.Textarea:
    width = "min(560px, 100%)"
    box = control(panel, trait, name, tip, width, kind=ipw.Textarea, rows=2)
    return box.add_class("sae-nb-search")


def _menu(
    panel: TemporalPanel, trait: str, name: str, tip: str, words: dict[str, str]
) -> ipw.Dropdown:
    return control(panel, trait, name, tip, "20em", options=words)
