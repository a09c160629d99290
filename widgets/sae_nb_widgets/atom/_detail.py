"""What stands beside an atom's histogram: facts, label and note, its neighbours, where it fires."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.atoms import AtomSummary, Labels
from sae_nb.figures import escape, format_count, format_number, format_percent
from sae_nb.sessions import Annotations
from sae_nb_widgets.atom._controls import BAND_NAMES
from sae_nb_widgets.components import PictureGrid, Sparkbars
from sae_nb_widgets.panel import control, show

# -------------------------------------------------------------------------------------------------
# What stands beside an atom's histogram: how often, its neighbours, where it fires, its logits.


MOST_FOUND = 8


class AtomDetail:
    """The cards of the AtomBrowser's detail column."""

    def __init__(
        self, labels: ipw.Widget, name_of: Callable[[int], str], go: Callable[[int], None]
    ) -> None:
        self._name_of, self._go = name_of, go
        self.facts = ipw.HTML()
        self.found = Sparkbars(description="atoms that answer to the search")
        self.near = Sparkbars(description="nearest atoms (cosine)")
        self.joint = Sparkbars(description="co-active atoms (lift over chance)")
        self.where = Sparkbars(description="where it fires (share of rows there)")
        self.map = PictureGrid(
            description="share of pictures in which each patch fires it",
            titled=True,
            bare=True,
            unit="%",
        )
        self.tokens = Sparkbars(description="next tokens it raises and lowers (direct path)")
        self.joint.empty_text = "No atom fires with it more often than by chance."
        bars = (self.near, self.joint, self.where, self.map)
        self.widgets: tuple[ipw.Widget, ...] = (self.found, self.facts, labels, *bars)
        self._listed: dict[Sparkbars, Sequence[int]] = {}
        for clickable in (self.found, self.near, self.joint):
            clickable.observe(self._clicked, "selected")
        for widget in (self.found, self.where, self.map, self.tokens):
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
        names = [self._name_of(atom) for atom in atoms]
        bars.show(names, values, notes=notes, signed=signed, maximum=maximum)

    def show(self, record: AtomSummary) -> None:
        """Draw a record."""
        self.facts.value = facts_html(record)
        cosines = record.nearest_cosines.tolist()
        notes = [format_number(cosine) for cosine in cosines]
        self._list(self.near, record.nearest_atoms.tolist(), cosines, notes, maximum=1.0)
        lifts = record.coactive_lifts.tolist()
        counts = record.coactive_counts.tolist()
        notes = [f"{format_number(x)} ({format_count(n)}×)" for x, n in zip(lifts, counts)]
        self._list(self.joint, record.coactive_atoms.tolist(), lifts, notes)
        tokens = [*record.logits_up, *record.logits_down[::-1]]
        show(self.tokens, bool(tokens))
        self.tokens.show([f"“{x}”" for x, _ in tokens], [y for _, y in tokens], signed=True)
        self._show_where(record)

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
                blank, heat=100 * patches[None].astype(np.float32), captions=["share of pictures"]
            )

    def show_found(self, atoms: Sequence[int], frequency: Sequence[float]) -> None:
        """List the atoms that answer to a search; an empty list hides the card."""
        show(self.found, bool(atoms))
        shown, often = list(atoms[:MOST_FOUND]), list(frequency[:MOST_FOUND])
        self._list(self.found, shown, often, [format_percent(f) for f in often])


def facts_html(record: AtomSummary) -> str:
    """Return how often and how strongly the atom fires, as HTML."""
    if not record.n_fired:
        return (
            f"<p><b>Atom {record.atom} never fires</b> on these "
            f"{escape(format_count(record.n_rows))} rows.</p>"
        )
    often = format_percent(record.frequency, of=f"{format_count(record.n_rows)} rows")
    numbers = (
        ("mean", record.mean_strength),
        ("99 %", record.p99),
        ("max", record.max_strength),
    )
    strengths = " · ".join(
        f'<span class="sae-nb-keep">{name} <b>{escape(format_number(value))}</b></span>'
        for name, value in numbers
    )
    return (
        f'<p>Fires on <b class="sae-nb-keep">{escape(often)}</b> '
        f'<span class="sae-nb-keep">({escape(format_count(record.n_fired))})</span>.<br>'
        f"Strength there: {strengths}.{_never(record)}</p>"
    )


def _never(record: AtomSummary) -> str:
    n = int(record.frequencies.marks.get("never", 0))
    text = f"{format_count(n)} of {format_count(record.n_atoms)} atoms never fire here."
    return f"<br>{escape(text)}" if n else ""


# -------------------------------------------------------------------------------------------------
# Label and note of the atom a panel shows: on disk before the panel says "saved".


IN_MEMORY = "in memory only; pass labels=folder to keep it"


class AtomNotes:
    """The label and the note of a panel's atom, kept in `labels`.

    Two panels on one file show each other's words as soon as they are saved.
    """

    def __init__(self, panel: Any, labels: Labels, names_changed: Callable[[], None]) -> None:
        self._panel, self._labels, self._names_changed = panel, labels, names_changed
        self._reading, self._atom = False, -1
        self.saved_line = ipw.HTML().add_class("sae-nb-live-only")
        fields = [
            self._field("label", "what would you call it?"),
            self._field("note", "anything else"),
        ]
        self.widget = ipw.VBox([*fields, self.saved_line], layout=ipw.Layout(overflow="hidden"))
        panel.observe(self._words_changed, ["label", "note"])
        if isinstance(labels, Annotations):
            labels.listen(self._others_wrote)

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

    def _others_wrote(self) -> None:
        if not self._panel._closed and self._atom >= 0:
            self.show(self._atom)
            self._names_changed()

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
            text = "not saved; see below"
        elif isinstance(book, Annotations) and atom in book.given and written:
            text = "measured, not typed"
        elif written:
            text = IN_MEMORY
        else:
            text = ""
        self.saved_line.value = f'<span title="{escape(path or text)}">{escape(text)}</span>'


# -------------------------------------------------------------------------------------------------
# The numbers of a record.


def table(record: AtomSummary, labels: Labels) -> dict[str, Any]:
    """Return the numbers of a record in reading order, for exported pages."""
    neighbours = zip(record.nearest_atoms.tolist(), record.nearest_cosines.tolist())
    together = zip(record.coactive_atoms.tolist(), record.coactive_lifts.tolist())
    return {
        "atom": record.atom,
        "label": labels.label(record.atom) or None,
        "note": labels.note(record.atom) or None,
        "rows": record.n_rows,
        "rows_in_which_it_fires": record.n_fired,
        "frequency": record.frequency,
        "mean_strength": record.mean_strength,
        "99th_percentile": record.p99,
        "max_strength": record.max_strength,
        "examples": f"{BAND_NAMES[record.band]}: "
        + "; ".join(f"{e.place}: {format_number(e.strength)}" for e in record.examples),
        "nearest_atoms": ", ".join(f"{a} (cos {format_number(c)})" for a, c in neighbours),
        "co_active_atoms": ", ".join(f"{a} (lift {format_number(x)})" for a, x in together),
        "histogram": record.histogram.counts,
    }
