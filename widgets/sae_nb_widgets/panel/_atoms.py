"""A panel's use of atoms: their names, their cards, the browser beneath, the work list."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import traitlets as t

from sae_nb.atoms._names import AtomNames
from sae_nb.checks import checked
from sae_nb.figures.theme import format_count
from sae_nb.sessions._annotations import HERE, Annotations
from sae_nb_widgets.components._atom_card import card_content
from sae_nb_widgets.panel._browsers import BROWSERS
from sae_nb_widgets.panel._closing import close_whole
from sae_nb_widgets.panel._declaring import small_button
from sae_nb_widgets.panel._glossary import an_atom
from sae_nb_widgets.panel._status import HasStatus

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb_widgets.panel._panel import Panel

LONGEST_QUERY = 60


class HasAtoms(HasStatus):
    """Names of atoms wherever they are shown; each opens its card, a browser, or is put on the work list."""

    opened = t.Int(-1, help="Atom to open in a browser; -1 for none.")
    opens_below = t.Bool(True, help="Whether that browser opens under this panel.")

    _atom_names: AtomNames
    _below: Panel | None = None
    _below_names: AtomNames | None = None
    if TYPE_CHECKING:  # the panel's
        _drawing: threading.RLock

        @property
        def _closed(self) -> bool: ...

        @property
        def _reacts(self) -> bool: ...

        @property
        def ready(self) -> bool: ...

    @property
    def has_atoms(self) -> bool:
        """Whether the panel shows atoms."""
        return self.has_trait("atom")

    @property
    def atom_line(self) -> str:
        """Description of an atom, in one line; empty if none is shown."""
        return an_atom(self.dictionary_shown) if self.has_atoms else ""

    @property
    def dictionary_shown(self) -> SparseAutoencoder | None:
        """Whose atoms these are; None where that is not known."""
        catalogue = self.names.catalogue
        return None if catalogue is None else catalogue.sae

    @property
    def names(self) -> AtomNames:
        """Names of the atoms."""
        return self._atom_names

    @names.setter
    def names(self, names: AtomNames) -> None:
        if names is not self._atom_names:
            self._atom_names = names
            names.observe(self._labels_changed)

    def whose(self, atom: int) -> tuple[AtomNames, int]:
        """Return the dictionary of this atom, and its number there: panels of several dictionaries
        renumber.
        """
        return self.names, atom

    def _labels_changed(self) -> None:
        if self._closed:
            return
        self._frame.keys.send({"kind": "forget cards"})
        if self._reacts and self.ready:
            with self._drawing, self.guarded("labels"):
                self.draw_names()

    def draw_names(self) -> None:
        """Rewrite names wherever they are shown: a label was changed, here or in another panel."""

    @checked
    def open_atom(self, atom: int | None = None) -> None:
        """Ask for an atom to be opened in a browser, as the button on its card does.

        `atom`: None takes the one the panel shows.
        """
        self.opened = -1
        self.opened = getattr(self, "atom", -1) if atom is None else atom

    def _open_below(self, change: t.Bunch) -> None:
        """Show the atom in a browser under a panel that is not part of another view, and is not a
        browser itself.
        """
        if change["new"] < 0 or not self.opens_below or not BROWSERS:
            return
        names, atom = self.whose(change["new"])
        if names.catalogue is None:
            self.say("Opening an atom needs example activations; this panel knows none.")
            return
        with self.guarded(f"opening atom {atom}"):
            if self._below is not None and self._below_names is not names:
                self.shut_below()
            self._below_names = names
            self.show_below(BROWSERS[0](names, atom, self._below), "close this browser")

    def show_below(self, panel: Panel, shut: str = "close this panel") -> None:
        """Show another panel under this one, in view, with a button that takes it off the page."""
        self._below = panel
        panel.come_forward()
        if not self._frame.drawer.children:
            self._frame.drawer.children = (
                panel, small_button(shut, "Take it off the page", self.shut_below)
            )  # fmt: skip

    def shut_below(self) -> None:
        """Take the panel under this one off the page."""
        below, self._below = self._below, None
        if below is not None:
            close_whole(self._frame.drawer.children[-1])
            self._frame.drawer.children = ()
            below.close()

    @checked
    def star(self, atom: int, starred: bool = True) -> None:
        """Put an atom on the work list, or take it off; the key s does so with the atom shown."""
        names, atom = self.whose(atom)
        names.labels.star(atom, starred)
        self.say(f"Atom {atom} is {'' if starred else 'no longer '}on the work list.")

    @checked
    def keep_labels(self, folder: str | Path = HERE) -> Path:
        """Keep the labels, notes and stars of this SAE in a folder; panels opened here later show them again.

        Parameters
        ----------
        folder
            Made where it is missing; each SAE gets a file of its own in it. Those in ./labels are found again
            without a word, others by `labels=` with the file.

        Returns
        -------
        Path
            The file. Labels that have one already stay there.
        """
        book, sae = self.names.labels, self.dictionary_shown or getattr(self, "sae", None)
        if not isinstance(book, Annotations) or sae is None:
            raise ValueError(
                "Labels can be kept where the panel made their record and knows their SAE, and this one was "
                'given both from outside. Open it with labels="folder".'
            )
        book.keep_in(folder, sae)
        return Path(book.path or folder)

    def _star_shown(self) -> None:
        atom = self.atom
        self.star(atom, not self.names.labels.is_starred(atom))

    def say_found(self, query: str, n: int, part: str = "part of a token") -> None:
        """Report how many atoms a search has found; if none, suggest what else to try."""
        short = query if len(query) <= LONGEST_QUERY else f"{query[:LONGEST_QUERY]}…"
        if not n:
            self.say(f"No atom matches “{short}”. Try a number, a label, or {part}.")
            return
        matches = "1 match" if n == 1 else f"{format_count(n)} matches"
        self.say(f"{matches} for “{short}”. ‹ › to step, Esc to clear.")

    def _send_card(self, atom: int) -> None:
        card = self.names.card(atom)
        names, own = self.whose(atom)
        context = None if names.catalogue is None else names.catalogue.acts.context
        content = card_content(card, starred=names.labels.is_starred(own), context=context)
        self._frame.keys.send({"kind": "card", "atom": atom, "card": content})
