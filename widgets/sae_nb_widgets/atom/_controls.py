"""The controls of the AtomBrowser, each linked to one trait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.atoms import AtomSummary, Band
from sae_nb.figures.theme import escape, format_count, format_number, format_percent
from sae_nb_widgets.components._base import HTML, Box, ToggleButton
from sae_nb_widgets.panel._declaring import control, line, show, site_menu, small_button
from sae_nb_widgets.panel._examples import marks_in_words

if TYPE_CHECKING:
    from sae_nb_widgets.atom._panel import AtomBrowser

BAND_NAMES: dict[Band, str] = {
    "top": "strongest",
    "99 %": "strong",
    "50 %": "typical",
    "10 %": "weak",
    "random": "random",
    "just below": "just missed",
}
BAND_TIPS: dict[Band, str] = {
    "top": "The strongest firings",
    "99 %": "Firings near the 99th percentile of its strengths",
    "50 %": "Firings near its median strength",
    "10 %": "Firings near the 10th percentile of its strengths",
    "random": "Any of its firings, drawn with a fixed seed: maxima flatter every atom",
    "just below": "Near-misses: it would fire there only if k were doubled",
}
FIRST_BANDS: tuple[Band, ...] = ("top", "50 %", "10 %", "just below")
"""Those in the row; all are in the menu."""

BAND_ORDERS: dict[Band, str] = {
    "top": "strongest first",
    "99 %": "near its 99th percentile",
    "50 %": "around its median",
    "10 %": "near its 10th percentile",
    "random": "drawn at random",
    "just below": "where it almost fires",
}


class BandButtons:
    """One button per band, of which one is down; a band that is unavailable is grey and gives the reason."""

    def __init__(self, panel: AtomBrowser, missing: str) -> None:
        self._panel = panel
        self._buttons = {
            band: ToggleButton(description=BAND_NAMES[band], tooltip=BAND_TIPS[band])
            for band in FIRST_BANDS
        }
        for band, button in self._buttons.items():
            button.add_class("sae-nb-small")
            button.observe(lambda _, band=band: self._pressed(band), "value")
        if missing:
            almost = self._buttons["just below"]
            almost.disabled, almost.tooltip = True, missing
        self.widget = Box(list(self._buttons.values())).add_class("sae-nb-seg")
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
    """The controls of `panel`: its row, its one filled button, its menu, and the line under examples."""

    def __init__(self, panel: AtomBrowser, star: ipw.Widget, no_near_misses: str) -> None:
        self.rank, self.page_text = HTML(), HTML()
        self._panel = panel
        self._sample = panel.catalogue.acts.context.sample_word
        self.band = BandButtons(panel, no_near_misses).widget
        self.search = panel.finder.widget
        number = control(panel, "atom", "atom", "Number of the atom shown", 64)
        self.subject = line(
            small_button("‹", "The atom before, in the order chosen (←)", panel.previous),
            number.add_class("sae-nb-unlabelled"),
            small_button("›", "The next atom, in the order chosen (→)", panel.next),
        ).add_class("sae-nb-step")
        self.star = star.add_class("sae-nb-end")
        self.turn_up = small_button(
            "Turn it up →", "See what the model does when this atom is stronger", panel.steer
        )
        self.first = (
            self.band,
            *site_menu(panel, panel.sites),
            self.search,
            self.subject,
            self.star,
        )
        self.more = self._menu(panel)
        self.back = small_button("‹ back", "Earlier examples of this band", panel.previous_page)
        self.pages = line(
            self.back,
            small_button("more examples ›", "Further examples of this band", panel.next_page),
        )
        self.pages.add_class("sae-nb-flush")
        self.foot = line(self.page_text, self.pages)
        show(self.pages, False)

    def _menu(self, panel: AtomBrowser) -> tuple[ipw.Widget, ...]:
        sort = control(panel, "sort", "sort", "Order in which ‹ and › step through the atoms", 190)
        tip = "How many atoms fire how often, close-ups, where, and what fires with it"
        never, heat = "skip atoms that never fire", "show where it fires on images"
        marked = []
        if not panel.catalogue.acts.context.modality.is_text:
            marked.append(
                control(panel, "show_heat", heat, "Mark the patches at which the atom fires")
            )
        about = control(panel, "details", "more about this atom", tip, kind=ipw.ToggleButton)
        tips = "Which of its firings are shown"
        return (
            about.add_class("sae-nb-small"),
            control(panel, "band", "examples", tips, 210, options=BAND_NAMES),
            control(panel, "per_page", "on a page", "How many examples are on a page", 130),
            line(sort, self.rank),
            control(panel, "alive_only", never, "‹ and › pass over atoms that never fire here"),
            *marked,
        )

    def show(self, record: AtomSummary) -> None:
        """State which examples are shown, of how many."""
        if record.sites:
            n, shown = (
                max(each) for each in zip(*((x.n_examples, len(x.examples)) for x in record.sites))
            )
            per_page, words = -(-self._panel.per_page // len(record.sites)), "at each site"
        else:
            n, shown = record.n_examples, len(record.examples)
            per_page, words = self._panel.per_page, f"{self._sample}{'s' * (n != 1)}"
        first = record.page * per_page + 1
        places = f"{format_count(first)}–{format_count(first + shown - 1)} of {format_count(n)}"
        text = f"{places} {words}, {BAND_ORDERS[record.band]}" if shown else ""
        marks = marks_in_words(record.examples)
        if marks and record.band == "top":
            text = f"{places} {words}, kept ones first"
        text = " · ".join(filter(None, (text, marks)))
        # A component with a legend of its own says it there.
        self._panel.examples.explain("" if record.sites else text)
        self.page_text.value = escape(text) if record.sites and shown else ""
        show(self.page_text, bool(self.page_text.value))
        show(self.back, record.page > 0)
        show(self.pages, n > shown)


def strengths_shown(record: AtomSummary, strengths: Float[np.ndarray, " uses"]) -> str:
    """Return the strengths that examples cover, and how many of the atom's firings lie there."""
    if record.band in ("just below", "random") or not record.examples:
        return ""
    size = np.abs(strengths)
    shown = [abs(example.strength) for example in record.examples]
    low, high = min(shown), max(shown)
    inside = int(((size >= low) & (size <= high)).sum())
    share = format_percent(inside / max(len(size), 1), of=f"{format_count(len(size))} firings")
    return f"examples shown: strength {format_number(low)} to {format_number(high)}, {share}"
