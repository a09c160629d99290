"""The find box of a CorpusPanel: atoms by number, label or the word at which they peak."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.figures.theme import format_count, format_percent
from sae_nb_widgets.components._find_box import SHOWN, FindBox, FindRow, plain

if TYPE_CHECKING:
    from sae_nb_widgets.corpora._panel import CorpusPanel


class CorpusFinder:
    """Lists what answers while somebody types; nothing else of the panel changes until a row is taken."""

    def __init__(self, panel: CorpusPanel) -> None:
        self._panel = panel
        self.widget = FindBox(
            description="find atoms by a word, a name or a number",
            hint="find a word, name or number",
        )
        self.widget.add_class("sae-nb-search")
        self.widget.observe(lambda _: self._look(), "query")
        self.widget.on_choice(self.take)

    def search(self, word: str) -> None:
        """Look for a word as if it were typed."""
        if self.widget.query == word:
            self._look()
        else:
            self.widget.query = word

    def take(self, row: int = 0, query: str | None = None) -> None:
        """Show the atom of a row; ‹ and › then step through what was found."""
        panel = self._panel
        found = panel.matches(self.widget.query if query is None else query)
        if 0 <= row < len(found):
            self.widget.opened = False
            panel.search = (self.widget.query if query is None else query).strip()
            panel.atom = found[row]

    def clear(self) -> None:
        """End the search."""
        self.widget.query = ""
        self.widget.opened = False

    def _look(self) -> None:
        word = self.widget.query
        with self._panel.guarded("searching"):
            found = self._panel.matches(word)
            many = f"{format_count(min(SHOWN, len(found)))} of {format_count(len(found))} atoms"
            head = f"atoms that answer to “{word.strip()}”, largest difference first"
            rows = [self._row(atom, word) for atom in found[:SHOWN]]
            nothing = f"no atom peaks at “{word.strip()}”" * bool(word.strip())
            self.widget.show(word, rows, head if rows else nothing, many if rows else "")

    def _row(self, atom: int, word: str) -> FindRow:
        panel = self._panel
        row, (a, b) = panel.summary.table.loc[atom], panel.summary.names
        label = panel.names.labels.label(atom)
        before, peak, after = panel.line_of(atom)
        return FindRow(
            atom=atom,
            name=label or plain(panel.names.words(atom)) or f"atom {atom}",
            named=bool(label),
            before=before,
            word=peak,
            after=after,
            hit=peak.strip().casefold() == word.strip().casefold(),
            share=abs(float(row["difference"])),
            tip=f"in {format_percent(row['a'])} of {a}, {format_percent(row['b'])} of {b}",
        )
