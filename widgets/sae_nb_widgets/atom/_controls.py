"""The controls of the AtomBrowser, each linked to one trait."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.atoms import AtomSummary, Band
from sae_nb.figures import escape, format_count, format_number, format_percent
from sae_nb_widgets.panel import control, line, show, site_menu, small_button

BAND_NAMES: dict[Band, str] = {
    "top": "max",
    "99 %": "99 %",
    "50 %": "50 %",
    "random": "random",
    "just below": "just below",
}
BAND_TIPS: dict[Band, str] = {
    "top": "The strongest firings",
    "99 %": "Firings near the 99th percentile of its strengths",
    "50 %": "Firings near its median strength",
    "random": "Any of its firings, drawn with a fixed seed: maxima flatter every atom",
    "just below": "Near-misses: it would fire there only if k were doubled",
}


class BandButtons:
    """One button per band, of which one is down; a band that is unavailable is grey and gives the reason."""

    def __init__(self, panel: Any, missing: str) -> None:
        self._panel = panel
        self._buttons = {
            band: ipw.ToggleButton(description=name, tooltip=BAND_TIPS[band])
            for band, name in BAND_NAMES.items()
        }
        for band, button in self._buttons.items():
            button.add_class("sae-nb-small")
            button.observe(lambda _, band=band: self._pressed(band), "value")
        if missing:
            almost = self._buttons["just below"]
            almost.disabled, almost.tooltip = True, missing
        self.widget = line(*self._buttons.values())
        panel.observe(self._follow, "band")
        self._follow()

    def _pressed(self, band: Band) -> None:
        if self._buttons[band].value:
            self._panel.band = band
        self._follow()

    def _follow(self, _: t.Bunch | None = None) -> None:
        for band, button in self._buttons.items():
            button.value = band == self._panel.band


class AtomControls:
    """The controls of `panel`: those above the figure, behind "more", and between it and examples."""

    def __init__(self, panel: Any, star: ipw.Widget, no_near_misses: str) -> None:
        self.rank, self.page_text = ipw.HTML(), ipw.HTML()
        self._panel = panel
        self._sample = panel.catalogue.acts.context.sample_word
        self.subject = line(
            control(panel, "atom", "atom", "Number of the atom shown", 130),
            small_button("‹", "The atom before, in the order chosen (←)", panel.previous),
            small_button("›", "The next atom, in the order chosen (→)", panel.next),
            star,
        )
        self.search = control(
            panel,
            "search",
            "search",
            "Atoms of that number, with that label, or that fire on that token or patch",
            270,
            placeholder="number, label or token   ( / )",
        ).add_class("sae-nb-search")
        sort = control(panel, "sort", "sort", "Order in which ‹ and › step through the atoms", 190)
        self.first = (self.subject, *site_menu(panel), self.search)
        never, heat = "skip atoms that never fire", "heat over images"
        self.more = (
            line(sort, self.rank),
            control(panel, "alive_only", never, "‹ and › pass over atoms that never fire here"),
            control(panel, "per_page", "examples", "How many examples are on a page", 130),
            control(panel, "show_heat", heat, "Colour each patch by the atom's strength there"),
        )
        self.pages = line(
            small_button("‹", "Earlier examples of this band", panel.previous_page),
            small_button("›", "Further examples of this band", panel.next_page),
        )
        self.band = BandButtons(panel, no_near_misses).widget
        self.bands = line(self.band, self.page_text, self.pages)
        tip = "How strongly and how often it fires, close-ups, where, and what fires with it"
        self.details = control(
            panel, "details", "more about this atom", tip, kind=ipw.ToggleButton
        ).add_class("sae-nb-small")
        show(self.pages, False)

    def show(self, record: AtomSummary, strengths: Float[np.ndarray, " uses"]) -> None:
        """State which examples are shown, of how many; `strengths` are all those of the atom."""
        if record.sites:
            self._show_pages(record)
            return
        n, shown = record.n_examples, len(record.examples)
        first = record.page * self._panel.per_page + 1
        places = f"{format_count(first)}–{format_count(first + shown - 1)} of {format_count(n)}"
        words = f"{self._sample}{'s' * (n != 1)}"
        self.page_text.value = escape(
            f"{places} {words}{_interval(record, strengths)}" if shown else ""
        )
        show(self.pages, n > shown)

    def _show_pages(self, record: AtomSummary) -> None:
        """Say which examples of each site are shown, of the most that one has."""
        n, shown = (
            max(each) for each in zip(*((x.n_examples, len(x.examples)) for x in record.sites))
        )
        first = record.page * -(-self._panel.per_page // len(record.sites)) + 1
        places = f"{format_count(first)}–{format_count(first + shown - 1)} of {format_count(n)}"
        self.page_text.value = escape(f"{places} at each site" if shown else "")
        show(self.pages, n > shown)


def _interval(record: AtomSummary, strengths: Float[np.ndarray, " uses"]) -> str:
    """The strengths that examples cover, and how many of the atom's firings lie there."""
    if record.band == "just below":
        return ""
    if record.band == "random":
        return f", drawn from all {format_count(record.n_fired)} firings"
    size = np.abs(strengths)
    shown = [abs(example.strength) for example in record.examples]
    low, high = min(shown), max(shown)
    inside = int(((size >= low) & (size <= high)).sum())
    share = format_percent(inside / max(len(size), 1), of=f"{format_count(len(size))} firings")
    return f" · strength {format_number(low)} to {format_number(high)}: {share}"
