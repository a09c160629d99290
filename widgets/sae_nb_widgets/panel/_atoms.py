"""A panel's use of atoms: their names, their cards, the browser beneath, the work list."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets as t

from sae_nb.atoms import AtomNames
from sae_nb.checks import checked
from sae_nb.figures.theme import format_count
from sae_nb.sessions import Annotations
from sae_nb_widgets.components._atom_card import card_content, cards_html
from sae_nb_widgets.panel._browsers import BROWSERS
from sae_nb_widgets.panel._glossary import an_atom
from sae_nb_widgets.panel._pages import Page
from sae_nb_widgets.panel._panel import Panel
from sae_nb_widgets.panel._sites import AsSite, SiteSubject

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

LONGEST_QUERY = 60


class HasAtoms(AsSite, Panel):
    """Names of atoms wherever they are shown; each opens its card, a browser, or is put on the work list."""

    opened = t.Int(-1, help="Atom to open in a browser; -1 for none.")
    opens_below = t.Bool(True, help="Whether that browser opens under this panel.")

    _below_names: AtomNames | None = None

    def __init__(self, **kwargs: Any) -> None:
        self._atom_names = AtomNames()
        super().__init__(**kwargs)

    def _build_frame(self) -> None:
        super()._build_frame()
        self.observe(self._open_below, "opened")

    def _begin_to_react(self) -> None:
        if self.has_trait("atom"):
            self.bind_key("s", self._star_shown)
        super()._begin_to_react()

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

    @checked
    def star(self, atom: int, starred: bool = True) -> None:
        """Put an atom on the work list, or take it off; the key s does so with the atom shown."""
        names, atom = self.whose(atom)
        names.labels.star(atom, starred)
        self.say(f"Atom {atom} is {'' if starred else 'no longer '}on the work list.")

    @checked
    def keep_labels(self, folder: str | Path = Annotations.FOLDER) -> Path:
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

    def say_found(self, query: str, n: int, advice: str) -> None:
        """Report how many atoms a search has found; if none, what else to do."""
        short = query if len(query) <= LONGEST_QUERY else f"{query[:LONGEST_QUERY]}…"
        if not n:
            self.say(f"No atom matches “{short}”. {advice}")
            return
        matches = "1 match" if n == 1 else f"{format_count(n)} matches"
        self.say(f"{matches} for “{short}”. ‹ › to step, Esc to clear.")

    def _send_card(self, atom: int) -> None:
        card = self.names.card(atom)
        names, own = self.whose(atom)
        context = None if names.catalogue is None else names.catalogue.acts.context
        content = card_content(card, starred=names.labels.is_starred(own), context=context)
        self._frame.keys.send({"kind": "card", "atom": atom, "card": content})

    def _message(self, content: dict[str, Any]) -> None:
        atom = content.get("atom")
        if not isinstance(atom, int):
            return
        with self.guarded(f"atom {atom}"):
            if content["kind"] == "card":
                self._send_card(atom)
            elif content["kind"] == "open":
                self.open_atom(atom)
            elif content["kind"] == "star":
                self.star(atom, bool(content.get("starred")))

    # --- exports ----------------------------------------------------------------------------------

    def export_name(self) -> str:
        """Return the name, without ending, of files the export buttons write; it names the atom."""
        return f"{self.stem}_atom_{self.atom}" if self.has_trait("atom") else self.stem

    def page_now(self, *, main: str = "", detail: str = "") -> Page:
        """Return what is shown now as a page whose atoms show their cards."""
        page = super().page_now(main=main, detail=detail)
        return replace(page, cards=partial(cards_html, names=self._atom_names))

    def site_subject(self) -> SiteSubject:
        """Return the panel's atoms, if it shows some whose activations are known."""
        names = self._atom_names
        if names is None or names.catalogue is None:
            raise ValueError(
                f"A site must be made from a panel of atoms with activations, got {type(self).__name__}. "
                "Use sae_nb_widgets.AtomBrowser(sae, acts).to_site(folder), or to_html(path) for this "
                "panel alone."
            )
        return SiteSubject(names, getattr(self, "model", None), lens=getattr(self, "_lens", None))
