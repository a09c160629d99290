"""The find box of a CorpusPanel: atoms by number, label or the word at which they peak."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.figures.theme import format_count, format_percent
from sae_nb_widgets.components._find_box import SHOWN, FindRow, plain
from sae_nb_widgets.panel._finding import Finder

if TYPE_CHECKING:
    from sae_nb_widgets.corpora._panel import CorpusPanel


class CorpusFinder(Finder):
    """Finds atoms by what the panel knows of both corpora; there is no text of which everything is kept."""

    advice = "Try a number, a label, or a word at a peak."

    def __init__(self, panel: CorpusPanel) -> None:
        super().__init__(panel, lambda: None, panel.take_found)
        self._panel: CorpusPanel = panel

    def refresh(self) -> None:
        """Look for the word in the box again."""
        word = self.widget.query
        with self._panel.guarded("searching"):
            self.found = self._panel.matches(word)
            n, first = len(self.found), self.found.atoms[:SHOWN].tolist()
            many = f"{format_count(len(first))} of {format_count(n)} atoms"
            head = f"atoms that answer to “{word.strip()}”, largest difference first"
            nothing = f"no atom peaks at “{word.strip()}”" * bool(word.strip())
            rows = [self._row(atom, word) for atom in first]
            self.widget.show(word, rows, head if rows else nothing, many if rows else "")
            self._settle()

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
