"""The controls of the PatchingPanel, each linked to one trait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as ipw

from sae_nb_widgets.panel._declaring import Entry, control, show, small_button
from sae_nb_widgets.panel._pages import LIVE_ONLY

if TYPE_CHECKING:
    from sae_nb_widgets.patching._panel import PatchingPanel

TEMPLATES = {
    "": "typed",
    "indirect_objects": "indirect objects",
    "agreement": "agreement",
    "capitals": "capitals",
    "greater_than": "greater than",
    "induction": "induction",
}
SITES = {
    "resid": "states",
    "mlp": "MLPs",
    "attn": "attention",
    "heads": "heads",
    "heads_by_position": "heads by position",
    "atoms": "atoms",
}
METHODS = {"exact": "exact", "attribution": "attribution"}
DIRECTIONS = {"denoise": "clean into corrupted", "noise": "corrupted into clean"}
WIDE = "min(440px, 100%)"
"""Width of a field for a text."""


class PatchingControls:
    """The controls of `panel`: those seen at once, and those behind "more"."""

    def __init__(self, panel: PatchingPanel) -> None:
        sites = {name: words for name, words in SITES.items() if name in panel.site_names}
        tip = "Pairs drawn from a template, or your own texts"
        self.stop = small_button("stop", "Keep the estimates, measure no further (Esc)", panel.stop)
        self.stop.add_class(LIVE_ONLY)
        show(self.stop, False)
        self.first = [
            control(panel, "template", "pairs", tip, "13em", options=TEMPLATES),
            _text(panel, "clean", "clean", "Text with the answer that is followed", WIDE),
            _text(panel, "corrupted", "corrupted", "The same with one change, equally many tokens", WIDE),
            control(
                panel, "sites", "exchange", "Places whose states are exchanged", "13em", options=sites
            ),
            control(
                panel,
                "method",
                "method",
                "Exact: each place in the running model. Attribution: all places by one backward pass",
                "11em",
                options=METHODS,
            ),
            self.stop,
        ]  # fmt: skip
        tip = "Denoise: what suffices to bring the answer back. Noise: what is needed to keep it"
        self.more = [
            _text(panel, "target", "answer", "Next token of the clean text; empty: the model's own", 130),
            _text(panel, "other", "other answer", "Next token of the corrupted text, subtracted", 170),
            control(panel, "direction", "direction", tip, "17em", options=DIRECTIONS),
            _text(panel, "heads", "heads", "Such as 0.2 1.1, by position; empty: the largest estimates", 190),
            _text(
                panel, "control", "control",
                "A text of equally many tokens whose states are put there; empty: other pairs, or random moves",
                WIDE,
            ),
            control(panel, "n_pairs", "averaged pairs", "Pairs of the template", "11em", kind=Entry),
            control(panel, "seed", "seed", "Of the template's draws and of the control", "9em", kind=Entry),
            control(panel, "row", "row", "Row of the cell that is listed, from 0 below", "8em", kind=Entry),
            control(panel, "column", "column", "Its column", "9em", kind=Entry),
        ]  # fmt: skip


def _text(panel: PatchingPanel, trait: str, name: str, tip: str, width: int | str) -> ipw.Text:
    box = control(panel, trait, name, tip, width)
    return box.add_class("sae-nb-search") if width == WIDE else box
