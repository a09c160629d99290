"""The controls of the AtomBrowser, each linked to one trait."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw

from sae_nb.atoms import AtomSummary
from sae_nb.figures import escape, format_count
from sae_nb_widgets.panel import control, line, show, small_button

EXAMPLES_PER_PAGE = 12
BAND_NAMES = {
    "top": "max",
    "99 %": "99 %",
    "50 %": "50 %",
    "random": "random",
    "just below": "just below",
}
BAND_TIPS = {
    "top": "The strongest firings",
    "99 %": "Firings near the 99th percentile of its strengths",
    "50 %": "Firings near its median strength",
    "random": "Any of its firings, drawn with a fixed seed: maxima flatter every atom",
    "just below": "Rows in which it would fire only if k were doubled",
}


class AtomControls:
    """The controls of `panel`: those above the figure, behind "more", and between it and examples."""

    def __init__(self, panel: Any) -> None:
        self.rank, self.page_text = ipw.HTML(), ipw.HTML()
        stepper = line(
            control(panel, "atom", "atom", "Row of the dictionary shown", 150),
            small_button("‹", "The atom before, in the order chosen (←)", panel.previous),
            small_button("›", "The next atom, in the order chosen (→)", panel.next),
        )
        search = control(
            panel,
            "search",
            "search",
            "Atoms of that number, with that label, or that fire on that token or patch",
            270,
            placeholder="number, label or token   ( / )",
        ).add_class("sae-nb-search")
        sort = control(panel, "sort", "sort", "Order in which ‹ and › step through the atoms", 190)
        self.first = (stepper, self.rank, sort, search)
        never, heat = "skip atoms that never fire", "heat over pictures"
        self.more = (
            control(panel, "alive_only", never, never),
            control(panel, "show_heat", heat, heat),
        )
        bands = control(panel, "band", "", BAND_TIPS, kind=ipw.ToggleButtons, options=BAND_NAMES)
        self.pages = line(
            small_button("‹", "Earlier examples of this band", panel.previous_page),
            self.page_text,
            small_button("›", "Further examples of this band", panel.next_page),
        )
        self.bands = line(bands, self.pages).add_class("sae-nb-apart")
        show(self.pages, False)

    def show(self, record: AtomSummary) -> None:
        """Say which examples are shown, of how many."""
        n, shown = record.n_examples, len(record.examples)
        first = record.page * EXAMPLES_PER_PAGE + 1
        text = f"{format_count(first)}–{format_count(first + shown - 1)} of {format_count(n)}"
        self.page_text.value = escape(text if shown else "")
        show(self.pages, n > shown)
