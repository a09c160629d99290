"""The controls of the AtomBrowser, each linked to one trait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.atoms import AtomSummary, Band, Labels
from sae_nb.figures.theme import escape, format_count, format_number, format_percent
from sae_nb.sessions import Annotations
from sae_nb_widgets.atom._words import BAND_NAMES
from sae_nb_widgets.components._base import HTML, Box, ToggleButton, VBox, layout_of
from sae_nb_widgets.panel._declaring import button, control, line, show, site_menu, small_button
from sae_nb_widgets.panel._examples import card_title, marks_in_words
from sae_nb_widgets.panel._pages import LIVE_ONLY

if TYPE_CHECKING:
    from sae_nb_widgets.atom._panel import AtomBrowser

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
        for band, pressed in self._buttons.items():
            pressed.add_class("sae-nb-small")
            pressed.observe(lambda _, band=band: self._pressed(band), "value")
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
        for band, pressed in self._buttons.items():
            pressed.value = band == self._panel.band


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


# -------------------------------------------------------------------------------------------------
# Label and note of the atom a panel shows: on disk before the panel says "saved".


OWN = "Your name for it"
IN_MEMORY = "Not saved: it ends with the notebook."


class AtomNotes:
    """The label and the note of a panel's atom, kept in `labels`.

    Two panels on one file show each other's words as soon as they are saved.
    """

    def __init__(self, panel: AtomBrowser, labels: Labels) -> None:
        self._panel, self._labels = panel, labels
        self._reading, self._atom = False, -1
        self.saved_line = HTML()
        self.label = self._field("label", "your name for it")
        self.note = self._field("note", "anything else")
        self.star = small_button("☆", "", self._press_star)
        tip = "Write them to a file, here and now; panels opened in this folder show them again"
        self.keep = button(
            f"Keep labels in ./{Annotations.FOLDER}", tip, self._press_keep
        ).add_class("sae-nb-primary")
        self.widget = VBox(
            [HTML(card_title(OWN)), self.label, self.note, self.saved_line, self.keep],
            layout=layout_of(overflow="hidden"),
        ).add_class("sae-nb-block")
        self.widget.add_class(LIVE_ONLY)  # fields are not exported, and a title alone says nothing
        panel.observe(self._words_changed, ["label", "note"])

    def _field(self, name: str, hint: str) -> ipw.Text:
        tip = f"The {name} of this atom; kept when you press Enter or leave the field"
        style = {"description_width": "3em"}
        return control(self._panel, name, name, tip, placeholder=hint, style=style)

    def show(self, atom: int) -> None:
        """Fill the fields with what is written about an atom."""
        self._atom = atom
        if isinstance(self._labels, Annotations):
            with self._panel.guarded("reading labels"):
                self._labels.look()
        with self._from_book():
            self._panel.label = self._labels.label(atom)
            self._panel.note = self._labels.note(atom)
        self._draw_star()
        self._say_saved()

    @contextmanager
    def _from_book(self) -> Iterator[None]:
        """Set label and note from the book without writing them back."""
        self._reading = True
        try:
            yield
        finally:
            self._reading = False

    def _words_changed(self, _: t.Bunch) -> None:
        if self._reading or self._atom < 0:
            return
        self._panel.saved = False
        with self._panel.guarded("saving the label"):
            self._labels.write(self._atom, self._panel.label, self._panel.note)
            self._panel.say("")
        self._say_saved()

    def _press_star(self) -> None:
        self._panel.star(self._atom, not self._labels.is_starred(self._atom))

    def _press_keep(self) -> None:
        with self._panel.guarded("keeping the labels"):
            self._panel.keep_labels()
        self._say_saved()

    def _draw_star(self) -> None:
        starred = self._labels.is_starred(self._atom)
        self.star.description = "★ kept" if starred else "☆ keep"
        self.star.tooltip = (
            "On the work list; press to take it off (s)"
            if starred
            else "Put this atom on the work list (s)"
        )

    def _say_saved(self) -> None:
        """Say where the words are; "saved" only when the file holds exactly these."""
        atom, book, panel = self._atom, self._labels, self._panel
        same = (book.label(atom), book.note(atom)) == (panel.label, panel.note)
        on_disk = isinstance(book, Annotations) and book.is_saved(atom)
        panel.saved = same and on_disk
        written = bool(panel.label or panel.note)
        path = getattr(book, "path", None)
        if panel.saved and path is not None:
            text = f"saved ✓ {path.parent.name}/{path.name}"
        elif not same:
            text = "Not saved; the line below says why."
        elif atom in book.given and not book.is_written(atom) and written:
            text = "label found automatically"
        elif written:
            text = IN_MEMORY
        else:
            text = ""
        show(self.keep, text == IN_MEMORY and isinstance(book, Annotations))
        self.saved_line.value = f'<span title="{escape(path or text)}">{escape(text)}</span>'
