"""The find box of a panel: which atoms answer to a word, in its texts or in the running model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sae_nb.atoms import FoundAtoms, find_atoms
from sae_nb_widgets.components._find_box import FindBox, find_rows, head_words

if TYPE_CHECKING:
    from sae_nb.atoms import AtomCatalogue
    from sae_nb.models import LiveModel
    from sae_nb_widgets.panel._panel import Panel

CHANNEL = "find"
READS = "reads the word in four sentences and lists what fires"


class Finder:
    """The find box of a panel with atoms: `finder.widget` is its control, the rest is here.

    The box lists what `find_atoms` finds while somebody types; nothing else of the panel changes until a row is
    taken. Then `take(atom, found)` is called with the atom and the whole answer. The last row asks the running
    model, off the main thread. Without a mouse: `search(word)` fills the box and returns the answer, `take(i)`
    takes a row, `ask()` asks the model; `found` is the answer on show.

    Parameters
    ----------
    panel
        Its `names` are shown, its thread and status line are used.
    catalogue
        Whose texts are searched; a function, as it may change. One that returns None, or is not encoded yet,
        finds nothing and says so.
    take
        Called with the atom of the row taken and the answer it is of.
    model
        A function that returns the running model; of None the last row says how to pass one.
    among
        Which atoms may be found (those on a map, say); None for all.
    find
        In place of `find_atoms`, for a panel that looks elsewhere; it returns `FoundAtoms` of the catalogue.

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
        among: Callable[[], Sequence[int] | None] = lambda: None,
        find: Callable[[str], FoundAtoms] | None = None,
        hint: str = "find a word, name or number",
    ) -> None:
        self._panel, self._catalogue, self._take, self._model = panel, catalogue, take, model
        self._among, self._find = among, find
        self.found: FoundAtoms | None = None
        self.widget = FindBox(description="find atoms by a word, a name or a number", hint=hint)
        self.widget.add_class("sae-nb-search")
        self.widget.observe(lambda _: self._look(), "query")
        self.widget.on_choice(self._chosen)

    # --- without a mouse --------------------------------------------------------------------------

    def search(self, word: str) -> FoundAtoms | None:
        """Look for a word as if it were typed; return the answer, None while there is nothing to search."""
        if self.widget.query == word:
            self._look()
        else:
            self.widget.query = word
        return self.found

    def take(self, row: int = 0) -> None:
        """Take one of the atoms found, the first unless told otherwise."""
        if self.found is None or not 0 <= row < len(self.found):
            return
        self.widget.opened = False
        self._take(int(self.found.atoms[row]), self.found)

    def ask(self) -> None:
        """Ask the running model what it does with the word in the field."""
        word, model, catalogue = self.widget.query.strip(), self._model(), self._catalogue()
        if not word or catalogue is None:
            return
        if model is None or not self._can_ask(catalogue):
            self._panel.say("Pass model= to see what the model does with a word.")
            return
        self.widget.working = True
        among = self._among()
        self._panel.run_async(
            lambda: find_atoms(catalogue, word, model=model, among=among),
            self._answer,
            doing=f"asking the model about “{word[:60]}”",
            channel=CHANNEL,
            otherwise=lambda: self.widget.set_trait("working", False),
        )

    def refresh(self) -> None:
        """Look again: names have changed, or the activations are encoded now."""
        if self.widget.query.strip():
            self._look()

    def clear(self) -> None:
        """End the search."""
        self.widget.query = ""
        self.widget.opened = False

    # --- answers ----------------------------------------------------------------------------------

    def _chosen(self, kind: str, row: int, query: str) -> None:
        if self.widget.answered.strip() != query.strip():
            self._look()
        if kind == "ask":
            self.ask()
        else:
            self.take(row)

    def _look(self) -> None:
        word, catalogue = self.widget.query, self._catalogue()
        self.widget.working = False
        if not word.strip() or catalogue is None or not catalogue.encoded:
            self.found = None
            waits = bool(word.strip())
            self.widget.show(word, [], "the activations are being encoded" * waits)
            return
        with self._panel.guarded("searching"):
            if self._find is None:
                self.found = find_atoms(catalogue, word, among=self._among())
            else:
                self.found = self._find(word)
            self._show(word, self.found, catalogue)

    def _answer(self, found: FoundAtoms) -> None:
        self.widget.working = False
        catalogue, word = self._catalogue(), self.widget.query
        if catalogue is not None and " ".join(word.split()).startswith(found.query):
            self.found = found
            self._show(word, found, catalogue)

    def _show(self, word: str, found: FoundAtoms, catalogue: AtomCatalogue) -> None:
        rows = find_rows(found, catalogue, self._panel.names)
        head, note = head_words(found, catalogue)
        can = self._can_ask(catalogue)
        asks = can and self._model() is not None
        offered = "" if found.live or not can else f"ask the model about “{found.query[:60]}”"
        hint = READS if asks else "needs the running model: pass model="
        self.widget.show(word, rows, head, note, ask=offered, ask_hint=hint, asks=asks)

    @staticmethod
    def _can_ask(catalogue: AtomCatalogue) -> bool:
        """Whether a word can be read where these activations are of."""
        is_text = catalogue.acts.context.modality.is_text
        return is_text and bool(catalogue.acts.hook_point) and not catalogue.sites
