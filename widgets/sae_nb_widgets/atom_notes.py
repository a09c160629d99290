"""Label and note of the atom a panel shows: on disk before the panel says "saved"."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ipywidgets as ipw
import traitlets as t

from sae_nb.annotations import Annotations
from sae_nb.summaries.labels import Labels
from sae_nb_widgets.figures.theme import escape
from sae_nb_widgets.panel import Panel

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
