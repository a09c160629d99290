"""WorkList: the atoms with a star, a label or a note, in one table across panels and sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets as t
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import check_sae
from sae_nb.atoms import AtomCatalogue, Labels
from sae_nb.checks import checked
from sae_nb.figures.theme import format_count, format_percent
from sae_nb.files import write_bytes
from sae_nb.pretrained import needed_examples
from sae_nb.sessions import Session, names_of, open_session
from sae_nb_widgets.atom._comparison import AtomComparison
from sae_nb_widgets.atom._controls import AtomNotes
from sae_nb_widgets.components._base import VBox
from sae_nb_widgets.components._chips import DOTS
from sae_nb_widgets.components._row_table import RowTable
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import Atom, control, line, reacts, show, small_button

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder

SHOWN = ("starred", "starred or written about", "all with a label")
HERE = "here"
DOUBTFUL = 2
"""Dots of a name up to which its atom deserves another look. Ours."""
EMPTY = (
    "No atom is on this list yet. Press ★ on the card of an atom, or s in a panel that shows one."
)


@checked(leave=("acts",))
class WorkList(HasAtoms):
    """Which atoms deserve another look?

    Every atom with a star, a label or a note, from any panel of this SAE or from saved sessions. A row
    chosen sets `atom`; the row chosen before is `other`, so that `compare` puts the two side by side.

    Parameters
    ----------
    sae
        Any sparse autoencoder.
    acts
        Activations of its width, for frequencies and automatic names. None: those another panel of
        this SAE has, or the examples of a pretrained one.
    sessions
        Saved sessions of the same SAE, or their folders, whose stars and notes are listed too.
    labels, catalogue
        As for `AtomBrowser`.

    Raises
    ------
    ValueError: If a session is of another SAE.
    FileNotFoundError: If there is no such session.

    Example
    -------
    >>> import torch
    >>> from sae_nb.codes import SparseCodes
    >>> class Signs:
    ...     d_in, n_atoms, dictionary = 2, 2, torch.eye(2)
    ...     def encode(self, x, k=None):
    ...         return SparseCodes.from_dense(x.relu())
    >>> todo = WorkList(Signs(), torch.tensor([[1.0, -1.0], [2.0, 3.0]]))
    >>> todo.wait()
    >>> todo.star(1)
    >>> print(todo.to_csv(), end="")
    starred,atom,label,note,automatic name,fires on
    ★,1,,,,50.0%
    >>> todo.close()
    """

    question = "Which atoms deserve another look?"
    explanation = (
        "The atoms that were starred, labelled or noted in any panel of this SAE, and in the sessions "
        "given. Stars, labels and notes are kept in one file next to the SAE, or in the one that "
        "labels= names.",
        "A label is what somebody called an atom, not a proof of what it does: look at its examples, "
        "and steer with it.",
        "Ours.",
    )
    stem = "work_list"
    kept_traits = ("shown", "sorted_by", "other", "atom")
    needs_kernel = "Sorting, comparing and editing need a running kernel; the table is all here."

    atom = Atom(help="The atom of the row chosen.")
    other = Atom(help="The atom of the row chosen before: what `compare` compares it with.")
    shown = t.Enum(SHOWN, default_value=SHOWN[1], help="Which atoms are listed.")
    sorted_by = t.Tuple(
        t.Int(),
        t.Bool(),
        default_value=(-1, False),
        help="Column and whether it falls; -1 for none.",
    )
    label = t.Unicode("", help="What the atom chosen is called.")
    note = t.Unicode("", help="Anything else about it.")
    saved = t.Bool(False, help="Whether what is written about it is on disk.")
    comparison: AtomComparison | None = None

    def __init__(
        self,
        sae: Any,
        acts: Activations | Float[Tensor, "n d_in"] | None = None,
        *,
        sessions: Sequence[Session | str | Path] = (),
        labels: Labels | Mapping[int, str] | str | Path | None = None,
        catalogue: AtomCatalogue | None = None,
    ) -> None:
        check_sae(sae)
        if catalogue is None and acts is not None:
            catalogue = AtomCatalogue(sae, acts)
        self.sae, self.n_atoms = sae, int(sae.n_atoms)
        names = names_of(sae, catalogue, labels)
        self._others = _books(sae, sessions)
        super().__init__(chips={"SAE": type(sae).__name__, "atoms": format_count(self.n_atoms)})
        self.names = names
        # An empty table shows nobody what it is for: until an atom is starred, all with a label are listed.
        self._waits = not self._atoms(names.labels) and len(names.labels) > 0
        if self._waits:
            self.shown = SHOWN[2]
        self._rows: list[tuple[int, str]] = []
        self._build()
        for book in self._others.values():
            book.listen(self._draw)
        self._draw()
        known = names.catalogue
        if known is not None and not known.encoded:
            self.run_async(lambda: known.frequency, lambda _: self._draw(), doing="encoding")

    def _build(self) -> None:
        self.table = RowTable(description="atoms to look at again", empty_text=EMPTY).add_class(
            "sae-nb-wide"
        )
        self.table.observe(self._choose, "selected")
        self.notes = AtomNotes(self, self.names.labels)
        self._compared = VBox()
        take = small_button("take over", "Copy the words of this session's row to here", self.adopt)
        show(take, bool(self._others))
        self.arrange(
            controls=[
                control(self, "shown", "list", "Which atoms are listed", 260),
                line(
                    control(self, "atom", "atom", "The atom chosen", 110),
                    self.notes.star,
                    small_button("open", "Open this atom in a browser", self.open_atom),
                ),
                line(
                    control(self, "other", "with", "The atom chosen before", 110),
                    small_button("compare", "Show both atoms side by side", self.compare),
                ),
                take,
                small_button("⤓ csv", "Write the table as comma-separated text", self._write_csv),
            ],
            figure=[self.table, self.notes.widget, self._compared],
        )
        t.link((self, "sorted_by"), (self.table, "sorted_by"))

    # --- the table --------------------------------------------------------------------------------

    def _atoms(self, book: Labels) -> list[int]:
        starred = set(book.starred)
        if self.shown == SHOWN[0]:
            return sorted(starred)
        words = {atom for atom in book if self.shown == SHOWN[2] or book.is_written(atom)}
        return sorted(starred | words)

    @reacts("shown", doing="listing")
    def draw_names(self) -> None:
        """Relist the atoms: a label, a note or a star was changed."""
        self._draw()

    def _draw(self) -> None:
        """Relist the atoms, with their present names."""
        if self._closed:
            return
        if self._waits and self.names.labels.starred:
            self._waits = False
            if self.shown == SHOWN[2]:
                self.shown = SHOWN[1]  # which draws
                return
        books = {HERE: self.names.labels, **self._others}
        self._rows = [(atom, name) for name, book in books.items() for atom in self._atoms(book)]
        self._rows.sort(key=lambda row: self._doubt(*row), reverse=True)
        headers = ["starred", "atom", "label", "how sure", "note", "automatic name", "fires on"]
        left_out = "" if any(self._dots(*row) is not None for row in self._rows) else "how sure"
        headers = [header for header in headers if header != left_out]
        headers += ["session"] * bool(self._others)
        every = (self._cells(atom, books[name], name) for atom, name in self._rows)
        cells = [[row[header] for header in headers] for row in every]
        self.table.show(
            headers, cells, numeric=[header in ("atom", "fires on") for header in headers],
            atoms=(atoms := [atom for atom, _ in self._rows]),
        )  # fmt: skip
        if self._waits and atoms and self.atom not in atoms:
            self.atom = atoms[0]  # the one that deserves a look first
        self.table.selected = atoms.index(self.atom) if self.atom in atoms else -1
        self.notes.show(self.atom)
        self.conclude(self._answer() if self._rows else EMPTY)

    def _answer(self) -> str:
        """Say how many atoms are listed and starred; without a star, how one is given."""
        n, stars = len(self._rows), len(self.names.labels.starred)
        listed = f"{format_count(n)} atom{'s' * (n != 1)}"
        if self.shown != SHOWN[0]:
            listed += f" {'have' if n != 1 else 'has'} a name or a note"
        doubtful = [atom for atom, name in self._rows if self._doubt(atom, name) > 0]
        if doubtful:
            said = (
                f"The names of {format_count(len(doubtful))} of these {format_count(n)} atoms are half sure at "
                f"best, first {self.names.in_text(doubtful[0])}: these deserve another look."
            )
            return f"{said} {self._stars(stars)}"
        return f"{listed}. {self._stars(stars)}"

    def _stars(self, n: int) -> str:
        """Say how many are starred, and what can be done."""
        if not n:
            return "None is starred yet: ☆ keeps the chosen one in this list."
        return f"{format_count(n)} starred. Choose a row to read or change its name."

    def _dots(self, atom: int, session: str) -> int | None:
        """Return the dots of a row's name, 0 to 4; None where nothing was measured of it."""
        return self.names.sureness(atom)[0] if session == HERE else None

    def _doubt(self, atom: int, session: str) -> int:
        """Return how much a row deserves another look: more, the fewer dots; 0 without doubt or test."""
        dots = self._dots(atom, session)
        return 0 if dots is None else max(DOUBTFUL + 1 - dots, 0)

    def _cells(self, atom: int, book: Labels, session: str) -> dict[str, str]:
        catalogue = self.names.catalogue
        often = catalogue.frequency[atom] if catalogue is not None and catalogue.encoded else None
        made = self.names.made(atom)
        dots = self._dots(atom, session)
        return {
            "starred": "★" if book.is_starred(atom) else "",
            "atom": f"{atom}",
            "label": book.label(atom),
            "how sure": "" if dots is None else "●" * dots + "○" * (DOTS - dots),
            "note": book.note(atom),
            "automatic name": "" if made is None else made.fires_on,
            "fires on": "" if often is None else format_percent(float(often)),
            "session": session,
        }

    def _choose(self, change: t.Bunch) -> None:
        if 0 <= change["new"] < len(self._rows):
            atom = self._rows[change["new"]][0]
            if atom != self.atom:
                self.other, self.atom = self.atom, atom

    @reacts("atom", doing="atom {panel.atom}")
    def _show_notes(self) -> None:
        self.notes.show(self.atom)

    # --- what is done with a row ------------------------------------------------------------------

    def compare(self) -> None:
        """Show the atom chosen and the one chosen before side by side, under the table."""
        with self.guarded("comparing"):
            if self.comparison is None:
                catalogue = self.names.catalogue or needed_examples(self.sae).catalogue(self.sae)
                self.comparison = AtomComparison(
                    self.sae, catalogue=catalogue, labels=self.names.labels,
                    atom=self.other, other=self.atom,
                )  # fmt: skip
                self.comparison.observe(self._pass_on, "opened")
                self._compared.children = (self.comparison,)
            with self.comparison.hold_trait_notifications():
                self.comparison.atom, self.comparison.other = self.other, self.atom

    def _pass_on(self, change: t.Bunch) -> None:
        if change["new"] >= 0:
            self.open_atom(change["new"])

    def adopt(self) -> None:
        """Copy label, note and star of the row chosen, which is of a saved session, to here."""
        chosen = self.table.selected
        atom, session = self._rows[chosen] if chosen >= 0 else (-1, HERE)
        if session == HERE:
            self.say("take over: choose a row of a saved session first.")
            return
        book = self._others[session]
        with self.guarded("taking over"):
            stars = [atom] if book.is_starred(atom) else []
            words = {atom: (book.label(atom), book.note(atom))} if book.is_written(atom) else {}
            self.names.labels.write_all(words, stars)
            self.say(f"Atom {atom} taken over from session {session}.")

    @checked
    def to_csv(self, path: str | Path | None = None) -> str:
        """Return the table as comma-separated text, and write it to `path` if one is given."""
        text = self.table.to_csv()
        if path is not None:
            write_bytes(Path(path), text.encode())
        return text

    def _write_csv(self) -> None:
        self._write_table(self.stem, self.to_csv, f"{format_count(len(self._rows))} rows")

    @property
    def record(self) -> dict[str, Any]:
        """The table as a record, for the table of exported pages."""
        return {
            f"atom {row[1]}": " · ".join(x for x in (row[0], *row[2:]) if x)
            for row in self.table.cells
        }

    def close(self) -> None:
        """Free the panel and the comparison in it."""
        if self.comparison is not None:
            self.comparison.close()
        super().close()


def _books(sae: SparseAutoencoder, sessions: Sequence[Session | str | Path]) -> dict[str, Labels]:
    """The labels of each session, by a name that no two share."""
    books: dict[str, Labels] = {}
    for one in sessions:
        session = one if isinstance(one, Session) else open_session(one)
        session.check_sae(sae)
        name = session.path.name
        if name in (HERE, *books):
            name = f"{session.path.parent.name}/{name}"
        books[name] = session.labels
    return books
