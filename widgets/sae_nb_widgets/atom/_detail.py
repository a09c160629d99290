"""The column next to an atom's histogram: label and note, next tokens, neighbours, where it fires."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.atoms import (
    AtomCatalogue,
    AtomEffects,
    AtomNames,
    AtomSummary,
    Labels,
    rows_in_words,
)
from sae_nb.figures import escape, format_count, format_number, format_percent
from sae_nb.sessions import Annotations
from sae_nb_widgets.atom._controls import BAND_NAMES
from sae_nb_widgets.components import PictureGrid, Sparkbars, badge_html, icons_of
from sae_nb_widgets.panel import control, show, small_button

# -------------------------------------------------------------------------------------------------
# Next to an atom's histogram: its neighbours, where it fires, its logits.


MOST_FOUND = 8

RAISES = "outputs it raises (+) and lowers (−)"

Effects = tuple[tuple[str, float], ...]


class AtomDetail:
    """The cards of the AtomBrowser's detail column."""

    def __init__(
        self,
        labels: ipw.Widget,
        names: AtomNames,
        rows: str,
        go: Callable[[int], None],
        measure: Callable[[], None] | None = None,
    ) -> None:
        self._names, self._go = names, go
        self.found = Sparkbars(description="atoms that match the search")
        self.near = Sparkbars(description="most similar atoms (1: same direction)")
        self.joint = Sparkbars(description="atoms that fire with it (× as often as by chance)")
        self.where = Sparkbars(description=f"where it fires (share of {rows} there)")
        self.map = PictureGrid(
            description="where in the image it fires", titled=True, bare=True, unit="% of images"
        )
        self.tokens = Sparkbars(description=RAISES)
        self.way = ipw.HTML()
        tip = "Run the model on its examples with the atom added, and without: one pass each"
        self.measure = small_button("measure", tip, measure).add_class("sae-nb-live-only")
        self._can_measure = measure is not None
        self.effects = ipw.VBox([self.tokens, self.way, self.measure])
        self.heads = Sparkbars()
        self.heads.empty_text = "Pass model= to see which attention heads write it."
        self.joint.empty_text = "No atom fires with it more often than by chance."
        self.found_card = ipw.VBox([self.found])
        self.rest = ipw.VBox([self.effects, self.joint, self.where, self.map])
        self.widgets: tuple[ipw.Widget, ...] = (
            self.found_card,
            labels,
            self.near,
            self.heads,
            self.rest,
        )
        self._listed: dict[Sparkbars, Sequence[int]] = {}
        for clickable in (self.found, self.near, self.joint):
            clickable.observe(self._clicked, "selected")
        for widget in (self.found, self.where, self.map, self.effects, self.heads):
            show(widget, False)

    def _clicked(self, change: t.Bunch) -> None:
        atoms = self._listed.get(change["owner"], ())
        if 0 <= change["new"] < len(atoms):
            self._go(int(atoms[change["new"]]))

    def _list(
        self,
        bars: Sparkbars,
        atoms: Sequence[int],
        values: Sequence[float],
        notes: Sequence[str],
        maximum: float = 0.0,
    ) -> None:
        self._listed[bars] = atoms
        signed = any(value < 0 for value in values)
        names = [self._names.name(atom) for atom in atoms]
        bars.show(
            names, values, notes=notes, signed=signed, maximum=maximum, atoms=atoms,
            icons=icons_of(self._names, atoms),
        )  # fmt: skip

    def show(self, record: AtomSummary) -> None:
        """Draw a record."""
        cosines = record.nearest_cosines.tolist()
        notes = [format_number(cosine) for cosine in cosines]
        self._list(self.near, record.nearest_atoms.tolist(), cosines, notes, maximum=1.0)
        lifts = record.coactive_lifts.tolist()
        notes = [f"{format_number(lift)}×" for lift in lifts]
        self._list(self.joint, record.coactive_atoms.tolist(), lifts, notes)
        self._show_effects(record.logits_up, record.logits_down, record.logits_by)
        show(self.measure, self._can_measure and bool(record.n_fired))
        self._show_where(record)

    def show_measured(self, effects: AtomEffects) -> None:
        """Draw what the running model did, in place of what was expected of the atom."""
        self._show_effects(effects.up, effects.down, effects.words)
        show(self.measure, False)

    def _show_effects(self, up: Effects, down: Effects, by: str) -> None:
        tokens = [*up, *down[::-1]]
        show(self.effects, bool(tokens) or self._can_measure)
        show(self.tokens, bool(tokens))
        self.tokens.show([f"“{x}”" for x, _ in tokens], [y for _, y in tokens], signed=True)
        self.way.value = (
            f'<span style="color:var(--sae-nb-quiet)">{escape(by)}</span>' if tokens else ""
        )

    def _show_where(self, record: AtomSummary) -> None:
        found = record.footprint
        show(self.where, found is not None)
        patches = None if found is None else found.patch_frequency
        show(self.map, patches is not None)
        if found is not None:
            shares = found.frequency.tolist()
            notes = [format_percent(share) for share in shares]
            self.where.show(list(found.places), shares, notes=notes)
        if patches is not None:
            blank = np.full((1, 3, 4 * patches.shape[0], 4 * patches.shape[1]), 128, np.uint8)
            self.map.show(
                blank, heat=100 * patches[None].astype(np.float32), captions=["share of images"]
            )

    def show_heads(self, shares: Float[np.ndarray, " heads"] | None, known: bool) -> None:
        """Draw the share of each attention head; hidden where atoms are not read side by side from heads."""
        show(self.heads, known)
        found = [] if shares is None else shares.tolist()
        self.heads.description = "attention heads (share of its length)"
        if found:
            even = format_percent(1 / len(found))
            self.heads.description = f"attention heads (share of its length; alike: {even} each)"
        names = [f"head {head}" for head in range(len(found))]
        self.heads.show(names, found, notes=[format_percent(share) for share in found], maximum=1.0)

    def show_found(self, atoms: Sequence[int], frequency: Sequence[float]) -> None:
        """List the atoms that match a search; an empty list hides the card."""
        show(self.found, bool(atoms))
        shown, often = list(atoms[:MOST_FOUND]), list(frequency[:MOST_FOUND])
        self._list(self.found, shown, often, [format_percent(f) for f in often])


def answer(record: AtomSummary, names: AtomNames, catalogue: AtomCatalogue) -> str:
    """Describe in a sentence how often an atom fires, of what, and where."""
    who = names.in_text(record.atom)
    who = f"{who[0].upper()}{who[1:]}"
    rows = rows_in_words(catalogue)
    if not record.n_fired:
        return f"{who} never fires on the {rows} of the example set."
    made = names.made(record.atom)
    where = "" if made is None else made.name or ", ".join(made.seen)
    says_more = where and where not in names.in_text(record.atom)
    preposition = "" if where.startswith(("after ", "before ", "near ")) else "on "
    tail = f", most strongly {preposition}{where}" if says_more else ""
    often = format_percent(record.frequency, of=rows)
    return f"{who} fires on {often} of the example set{tail}."


def numbers(record: AtomSummary) -> str:
    """State how strongly the atom fires where it fires, and how many atoms never do."""
    n = int(record.frequencies.marks.get("never", 0))
    dead = f"{format_count(n)} of {format_count(record.n_atoms)} atoms never fire here"
    strengths = (
        f"{format_count(record.n_fired)} firings · strength there: mean "
        f"{format_number(record.mean_strength)}, 99th percentile {format_number(record.p99)}, "
        f"max {format_number(record.max_strength)}"
    )
    return " · ".join([strengths] * bool(record.n_fired) + [dead] * bool(n))


# -------------------------------------------------------------------------------------------------
# Label and note of the atom a panel shows: on disk before the panel says "saved".


IN_MEMORY = 'Not saved. Pass labels="folder" to keep labels.'


class AtomNotes:
    """The label and the note of a panel's atom, kept in `labels`.

    Two panels on one file show each other's words as soon as they are saved.
    """

    def __init__(self, panel: Any, labels: Labels) -> None:
        self._panel, self._labels = panel, labels
        self._reading, self._atom = False, -1
        self.saved_line = ipw.HTML().add_class("sae-nb-live-only")
        self.worth = ipw.HTML()
        self.label = self._field("label", "your name for it")
        self.note = self._field("note", "anything else")
        self.star = small_button("☆", "", self._press_star)
        self.widget = ipw.VBox(
            [self.label, self.worth, self.note, self.saved_line],
            layout=ipw.Layout(overflow="hidden"),
        )
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

    def _draw_star(self) -> None:
        starred = self._labels.is_starred(self._atom)
        self.star.description = "★" if starred else "☆"
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
        self.worth.value = badge_html(panel.names, atom)
        show(self.worth, bool(self.worth.value))
        self.saved_line.value = f'<span title="{escape(path or text)}">{escape(text)}</span>'


# -------------------------------------------------------------------------------------------------
# The numbers of a record.


def table(record: AtomSummary, names: AtomNames, rows: str) -> dict[str, Any]:
    """Return the numbers of a record in reading order, for exported pages."""
    labels, name, worth = names.labels, names.name, names.badge(record.atom)
    neighbours = zip(record.nearest_atoms.tolist(), record.nearest_cosines.tolist())
    together = zip(record.coactive_atoms.tolist(), record.coactive_lifts.tolist())
    return {
        "atom": record.atom,
        "label": labels.label(record.atom) or None,
        "label_evidence": None if worth is None else worth.text,
        "note": labels.note(record.atom) or None,
        "name": names.words(record.atom) or None,
        "fires_on": format_percent(record.frequency, of=rows),
        "firings": record.n_fired,
        "mean_strength": record.mean_strength,
        "99th_percentile": record.p99,
        "max_strength": record.max_strength,
        **_examples(record),
        **_effects(record),
        "nearest_atoms": ", ".join(f"{name(a)} (cos {format_number(c)})" for a, c in neighbours),
        "co_active_atoms": ", ".join(f"{name(a)} (lift {format_number(x)})" for a, x in together),
        "histogram": record.histogram.counts,
    }


def _effects(record: AtomSummary) -> dict[str, str]:
    """Return what it raises, with the way that was found; nothing where that is not known."""
    if not record.logits_up:
        return {}
    return {
        "raises": ", ".join(f"“{x}”" for x, _ in record.logits_up),
        "found_by": record.logits_by,
    }


def _examples(record: AtomSummary) -> dict[str, str]:
    """Return the rows and strengths of the examples shown: of every site, if they are side by side."""
    shown = {f"examples_at_{one.site}": one.examples for one in record.sites}
    return {
        name: f"{BAND_NAMES[record.band]}: "
        + "; ".join(f"{e.place}: {format_number(e.strength)}" for e in examples)
        for name, examples in (shown or {"examples": record.examples}).items()
    }
