"""The find box of a panel: which atoms answer to a word, in the running model or in the panel's texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from sae_nb.atoms import FoundAtoms, find_atoms
from sae_nb_widgets.components._find_box import FindBox, find_rows, head_words

if TYPE_CHECKING:
    from sae_nb.atoms import AtomCatalogue
    from sae_nb.models import LiveModel
    from sae_nb_widgets.panel._panel import Panel

CHANNEL = "find"


class Finder:
    """The find box of a panel with atoms: `finder.widget` is its control, the rest is here.

    The box lists what `find_atoms` finds while somebody types; nothing else of the panel changes until a row is
    taken. Then `take(atom, found)` is called with the atom and the whole answer. Where the panel has a model it
    reads the word, off the main thread. Without a mouse: `search(word)` fills the box, `take(i)` takes a row;
    `found` is the answer on show.

    Parameters
    ----------
    panel
        Its `names` are shown, its thread and status line are used.
    catalogue
        Whose atoms are found; a function, as it may change. One that returns None, or is not encoded yet,
        finds nothing and says so.
    take
        Called with the atom of the row taken and the answer it is of.
    model
        A function that returns the running model, or None: the panel's texts are searched then.

    Example
    -------
        self.finder = Finder(self, lambda: self.catalogue, self._take, model=lambda: model)
        controls = [self.finder.widget, …]
        def _take(self, atom, found): self.atom = atom
    """

    def __init__(
        self,
        panel: Panel,
        catalogue: Callable[[], AtomCatalogue | None],
        take: Callable[[int, FoundAtoms], None],
        *,
        model: Callable[[], LiveModel | None] = lambda: None,
    ) -> None:
        self._panel, self._catalogue, self._take, self._model = panel, catalogue, take, model
        self._then: Callable[[FoundAtoms | None], None] = _nothing
        self.found: FoundAtoms | None = None
        self.widget = FindBox(description="find atoms by a word, a name or a number")
        self.widget.add_class("sae-nb-search")
        self.widget.observe(lambda _: self.refresh(), "query")
        self.widget.on_choice(lambda row, word: self.search(word, lambda _: self.take(row)))

    # --- without a mouse --------------------------------------------------------------------------

    def search(self, word: str, then: Callable[[FoundAtoms | None], None] | None = None) -> None:
        """Look for a word as if it were typed.

        `then` is called with the answer (None while there is nothing to search): at once, or when the model has
        read the word.
        """
        self._then = then or _nothing
        if self.widget.query.strip() != word.strip():
            self.widget.query = word
        elif self.found is None and not self.widget.working:
            self.refresh()
        elif not self.widget.working:
            self._settle()

    def take(self, row: int = 0) -> None:
        """Take one of the atoms found, the first unless told otherwise."""
        if self.found is None or not 0 <= row < len(self.found):
            return
        self.widget.opened = False
        self._take(int(self.found.atoms[row]), self.found)

    def clear(self) -> None:
        """End the search."""
        self._then = _nothing
        self.widget.query = ""
        self.widget.opened = False

    @property
    def advice(self) -> str:
        """What to do where nothing was found."""
        catalogue = self._catalogue()
        if catalogue is None or catalogue.acts.tokens is None:
            return "Try a number or a label."
        if catalogue.reads_words and self._model() is None:
            return "Only the texts were searched: pass model=, and the model reads the word."
        return "Try a number, a label or another word."

    # --- answers ----------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look for the word in the box again: names have changed, or the activations are encoded now."""
        word, catalogue = self.widget.query, self._catalogue()
        model = None if catalogue is None or not catalogue.reads_words else self._model()
        self.found, self.widget.working = None, False
        self._panel.forget_async(CHANNEL)
        if not word.strip() or catalogue is None or not catalogue.encoded:
            waits = bool(word.strip())
            self.widget.show(word, [], "the activations are being encoded" * waits)
            self._settle()
        elif model is None:
            with self._panel.guarded("searching"):
                self._answer(word, catalogue, find_atoms(catalogue, word))
        else:
            self.widget.working = True
            self._panel.run_async(
                lambda: find_atoms(catalogue, word, model=model),
                partial(self._answer, word, catalogue),
                doing=f"the model reads “{word.strip()[:60]}”",
                channel=CHANNEL,
                otherwise=partial(self._fail, word),
            )

    def _answer(self, word: str, catalogue: AtomCatalogue, found: FoundAtoms) -> None:
        self.found, self.widget.working = found, False
        rows = find_rows(found, catalogue, self._panel.names)
        head, note = head_words(found, catalogue)
        self.widget.show(word, rows, head, note if rows else self.advice)
        self._settle()

    def _fail(self, word: str) -> None:
        self._then, self.widget.working = _nothing, False
        self.widget.show(word, [], "the model could not read this")

    def _settle(self) -> None:
        then, self._then = self._then, _nothing
        then(self.found)


def _nothing(_: FoundAtoms | None) -> None: ...
