"""Label and note of the atom a panel shows: on disk before the panel says "saved"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.atoms import AtomSummary, Labels
from sae_nb.figures import escape, format_count, format_number, format_percent
from sae_nb.sessions import Annotations
from sae_nb_widgets.atom._controls import facts_html, visible
from sae_nb_widgets.components import PictureGrid, Sparkbars
from sae_nb_widgets.panel import Panel

# -------------------------------------------------------------------------------------------------
# What stands beside an atom's histogram: how often, its neighbours, where it fires, its logits.


MOST_FOUND = 8


class AtomDetail:
    """The cards of the AtomBrowser's detail column."""

    def __init__(
        self, labels: ipw.Widget, name_of: Callable[[int], str], go: Callable[[int], None]
    ) -> None:
        self._name_of, self._go = name_of, go
        self._facts = ipw.HTML()
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
        self.widgets: tuple[ipw.Widget, ...] = (self.found, self._facts, labels, *bars)
        self._listed: dict[Sparkbars, Sequence[int]] = {}
        for clickable in (self.found, self.near, self.joint):
            clickable.observe(self._clicked, "selected")
        for widget in (self.found, self.where, self.map, self.tokens):
            visible(widget, False)

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
        self._facts.value = facts_html(record)
        cosines = record.nearest_cosines.tolist()
        notes = [format_number(cosine) for cosine in cosines]
        self._list(self.near, record.nearest_atoms.tolist(), cosines, notes, maximum=1.0)
        lifts = record.coactive_lifts.tolist()
        counts = record.coactive_counts.tolist()
        notes = [f"{format_number(x)} ({format_count(n)}×)" for x, n in zip(lifts, counts)]
        self._list(self.joint, record.coactive_atoms.tolist(), lifts, notes)
        tokens = [*record.logits_up, *record.logits_down[::-1]]
        visible(self.tokens, bool(tokens))
        self.tokens.show([f"“{x}”" for x, _ in tokens], [y for _, y in tokens], signed=True)
        self._show_where(record)

    def _show_where(self, record: AtomSummary) -> None:
        found = record.footprint
        visible(self.where, found is not None)
        patches = None if found is None else found.patch_frequency
        visible(self.map, patches is not None)
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
        visible(self.found, bool(atoms))
        shown, often = list(atoms[:MOST_FOUND]), list(frequency[:MOST_FOUND])
        self._list(self.found, shown, often, [format_percent(f) for f in often])


# -------------------------------------------------------------------------------------------------
# Label and note of the atom a panel shows: on disk before the panel says "saved".


IN_MEMORY = "in memory only; pass labels=folder to keep it"


class AtomNotes(Panel):
    """A panel with a label and a note on its atom, kept in `labels`.

    Two panels on one file show each other's words as soon as they are saved.
    """

    labels: Labels

    label = t.Unicode("", help="What this atom is called.")
    note = t.Unicode("", help="Anything else about it.")
    saved = t.Bool(False, help="Whether what is written about this atom is on disk.")

    _reading = False
    _named_atom = -1

    def open_notes(self) -> ipw.VBox:
        """Return the fields for label and note, and start listening to the file."""
        self._saved_line = ipw.HTML().add_class("sae-nb-live-only")
        fields = [
            self._field("label", "what would you call it?"),
            self._field("note", "anything else"),
        ]
        if isinstance(self.labels, Annotations):
            self.labels.listen(self._others_wrote)
        return ipw.VBox([*fields, self._saved_line], layout=ipw.Layout(overflow="hidden"))

    def _field(self, name: str, hint: str) -> ipw.Text:
        field = ipw.Text(
            description=name,
            placeholder=hint,
            tooltip=f"The {name} of this atom; kept when you press Enter or leave the field",
            continuous_update=False,
            layout=ipw.Layout(width="auto"),
            style={"description_width": "3em"},
        )
        t.link((self, name), (field, "value"))
        return field

    def show_notes(self, atom: int) -> None:
        """Fill the fields with what is written about an atom."""
        self._named_atom = atom
        if isinstance(self.labels, Annotations):
            with self.guarded("reading labels"):
                self.labels.look()
        with self._from_book():
            self.label, self.note = self.labels.label(atom), self.labels.note(atom)
        self._say_saved()

    @contextmanager
    def _from_book(self) -> Iterator[None]:
        """Set label and note from the book without writing them back."""
        self._reading = True
        try:
            yield
        finally:
            self._reading = False

    @t.observe("label", "note")
    def _words_changed(self, _: t.Bunch) -> None:
        if self._reading or self._named_atom < 0:
            return
        self.saved = False
        with self.guarded("saving the label"):
            self.labels.write(self._named_atom, self.label, self.note)
            self.say("")
        self._say_saved()

    def _others_wrote(self) -> None:
        if not self._closed and self._named_atom >= 0:
            self.show_notes(self._named_atom)
            self.names_changed()

    def names_changed(self) -> None:
        """Draw the names of other atoms again; panels that show some override this."""

    def _say_saved(self) -> None:
        """Say where the words are; "saved" only when the file holds exactly these."""
        atom, book = self._named_atom, self.labels
        same = (book.label(atom), book.note(atom)) == (self.label, self.note)
        on_disk = isinstance(book, Annotations) and book.is_saved(atom)
        self.saved = same and on_disk
        path = getattr(book, "path", None)
        if self.saved and path is not None:
            text = f"saved ✓ {path.parent.name}/{path.name}"
        elif not same:
            text = "not saved; see below"
        elif isinstance(book, Annotations) and atom in book.given and (self.label or self.note):
            text = "measured, not typed"
        elif self.label or self.note:
            text = IN_MEMORY
        else:
            text = ""
        self._saved_line.value = f'<span title="{escape(path or text)}">{escape(text)}</span>'
