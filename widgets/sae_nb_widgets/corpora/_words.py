"""The texts of a CorpusPanel: its answer, its rows, and the heading of an atom's examples."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from sae_nb.atoms import AtomCard, AtomNames, Labels
from sae_nb.corpora import CorpusSummary, Documents
from sae_nb.figures import category_style
from sae_nb.figures.shapes import shortened
from sae_nb.figures.theme import escape, format_count, format_number, format_percent
from sae_nb_widgets.components._base import atom_mark
from sae_nb_widgets.components._row_table import plain_cell

if TYPE_CHECKING:
    import pandas as pd

SIGNS = ('<circle cx="5" cy="5" r="4"/>', '<path d="M5 0 10 5 5 10 0 5Z"/>')
"""Of the two corpora, as the markers of the figure: drawn, since as letters their colours would be faint."""

UNITS = {"max": "strength", "mean": "mean strength", "count": "positions"}
CARD_EXAMPLES = 3
NEARLY = 0.5
"""A word of at least this share of an atom's difference would have shown it."""


class CorpusNames(AtomNames):
    """Names of atoms by what two corpora know of them: their labels, and the words at which they peak."""

    def __init__(self, docs: tuple[Documents, Documents], corpora: tuple[str, str]) -> None:
        super().__init__(None, Labels({**docs[1].labels, **docs[0].labels}))
        self._docs, self._corpora = docs, corpora
        self._peaks: dict[int, str] = {}

    def caption(self, atom: int) -> str:
        """Return where an atom peaks in the corpus of which it is in more: a word, or a place in images."""
        if atom not in self._peaks:
            docs = max(self._docs, key=lambda one: one.counts[atom] / len(one))
            word = docs.peak_word(atom)
            self._peaks[atom] = f"at “{word}”" if word else _peak_place(docs, atom)
        return self._peaks[atom]

    def card(self, atom: int) -> AtomCard:
        """Return the card shown on pointing at an atom: its strongest documents of both corpora."""
        both = (example for docs in self._docs for example in docs.examples(atom, CARD_EXAMPLES))
        examples = sorted(both, key=lambda example: -abs(example.strength))[:CARD_EXAMPLES]
        shares = (
            f"{format_percent(docs.counts[atom] / len(docs))} of {name}"
            for docs, name in zip(self._docs, self._corpora)
        )
        return replace(
            super().card(atom),
            fires=", ".join(shares),
            examples=tuple(examples),
            max_strength=max((abs(example.strength) for example in examples), default=0.0),
        )


def _peak_place(docs: Documents, atom: int) -> str:
    """The place at which most of the strongest images peak; empty where there is none."""
    if not docs.context.modality.is_image:
        return ""
    places = Counter(docs.context.token_name(one.position) for one in docs.examples(atom))
    (place, n), *_ = places.most_common(1) or [("", 0)]
    return f"at {place}" if n > places.total() / 2 else ""


def q_words(q: float) -> str:
    """Write a q."""
    if np.isnan(q):
        return ""
    return format_number(q) if q >= 1e-4 else f"{q:.1e}" if q > 0 else "0"


def reasons(summary: CorpusSummary, listed: Int[np.ndarray, " m"], max_q: float) -> str:
    """State how many atoms differ, and what their q means."""
    if not len(listed):
        return ""
    n, tested = format_count(len(listed)), format_count(summary.n_tested)
    verb = "differs" if len(listed) == 1 else "differ"
    return f"{n} of {tested} atoms {verb} (q ≤ {max_q:g}, the share of these that chance is expected to give)."


def numbers(summary: CorpusSummary, max_q: float, word: str) -> str:
    """State what was tested, and what a simpler method finds."""
    a, b = summary.names
    left_out = len(summary.table) - summary.n_tested
    text = (
        f"{format_count(summary.n_a)} {word}s of {a}, {format_count(summary.n_b)} of {b}. "
        f"{format_count(left_out)} atoms are in fewer than {summary.min_count} of them and were not tested."
    )
    if summary.simpler is None:
        return text
    kind = str(summary.simpler.columns[0])
    n = int((summary.simpler["q"] <= max_q).sum())
    return (
        f"{text} Without an SAE: {format_count(n)} of {format_count(len(summary.simpler))} {kind}s "
        "differ by the same limit."
    )


def hover(summary: CorpusSummary, atom: int, name: str) -> str:
    """Return the tooltip of an atom in the figure."""
    row, (a, b) = summary.table.loc[atom], summary.names
    return (
        f"{name}\n{a} {format_percent(row['a'])} · {b} {format_percent(row['b'])}\n"
        f"q {q_words(row['q'])}"
    )


def headers(summary: CorpusSummary, with_words: bool) -> list[str]:
    """Name the columns of the list."""
    a, b = (shortened(name, 13, 90) for name in summary.names)
    first = ["atom", "name", a, b, "difference", "95 % interval", "relative", "q"]
    return [*first, "word at peak", "word differs"] if with_words else first


NUMERIC = (True, False, True, True, True, False, True, True, False, True)


def cells(summary: CorpusSummary, atom: int, words: str, with_words: bool) -> list[str]:
    """Write the row of an atom."""
    row = summary.table.loc[atom]
    first = [
        f"{atom}",
        words,
        *(format_percent(row[name]) for name in ("a", "b", "difference")),
        interval(row["low"], row["high"]),
        format_number(row["relative"]),
        q_words(row["q"]),
    ]
    if not with_words:
        return first
    change = row["word_difference"]
    return [*first, str(row["word"]), "" if np.isnan(change) else format_percent(change)]


def interval(low: float, high: float) -> str:
    """Write an interval of shares."""
    if np.isnan(low):
        return ""
    ends = (format_number(100 * end, digits=2) for end in (low, high))
    return "{} … {} %".format(*ends)


def heading(summary: CorpusSummary, atom: int, names: AtomNames) -> str:
    """Write the heading of an atom's examples, as escaped HTML."""
    row = summary.table.loc[atom]
    said = [f"<b>{atom_mark(atom, names.name(atom))}</b>"]
    if np.isnan(row["q"]):
        said.append(escape(f"in fewer than {summary.min_count} documents of both: too few to test"))
    else:
        said.append(escape(f"q {q_words(row['q'])}"))
    word = _word_words(row)
    return f'<div class="sae-nb-cardtitle">{" · ".join(said)}</div>' + (
        f'<div style="margin-bottom:8px">{escape(word)}</div>' if word else ""
    )


def _word_words(row: pd.Series) -> str:
    """Say whether a count of the word at which an atom peaks would have shown the same."""
    if not row["word"] or np.isnan(row["word_difference"]):
        return ""
    change, wanted = float(row["word_difference"]), float(row["difference"])
    alike = change * wanted > 0 and abs(change) >= NEARLY * abs(wanted)
    return (
        f"Counting words instead: “{row['word']}”, the word at its peaks, differs by "
        f"{format_percent(change)} where the atom differs by {format_percent(wanted)}; a count would "
        f"{'have shown this too' if alike else 'not have shown this'}."
    )


def side_title(summary: CorpusSummary, atom: int, side: int, docs: Documents) -> str:
    """Write the heading of one corpus's examples, as escaped HTML."""
    row, key = summary.table.loc[atom], "ab"[side]
    colour, _ = category_style(side)
    ends = interval(row[f"low_{key}"], row[f"high_{key}"])
    text = (
        f"{summary.names[side]}: in {format_count(int(docs.counts[atom]))} of {format_count(len(docs))} "
        f"{docs.context.sample_word}s, {format_percent(row[key])}"
    )
    return (
        f'<div class="sae-nb-cardtitle"><svg width="10" height="10" fill="{colour}" aria-hidden="true">'
        f"{SIGNS[side]}</svg> "
        f'{escape(text)} <span class="sae-nb-cardfacts">({escape(ends)})</span></div>'
    )


def file_of_atoms(summary: CorpusSummary, names: AtomNames) -> str:
    """Write every atom as comma-separated text: number, label, word, then fractions."""
    a, b = summary.names
    where = {"a": f"share of {a}", "b": f"share of {b}"}
    where |= {f"{end}_a": f"{end} of {a}" for end in ("low", "high")}
    where |= {f"{end}_b": f"{end} of {b}" for end in ("low", "high")}
    table = summary.table.rename(columns=where)
    said = [names.labels.label(atom) for atom in table.index]
    for place, (name, column) in enumerate((("label", said), ("word", table.pop("word")))):
        table.insert(place, name, [plain_cell(text, False) for text in column])
    table.columns = [plain_cell(name, False) for name in table.columns]
    return str(table.to_csv(float_format="%.6g", index_label="atom", lineterminator="\n"))
