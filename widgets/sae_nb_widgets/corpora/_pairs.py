"""The first sight of a CorpusPanel: a few atoms of each corpus, with two bars, a word and a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from sae_nb.atoms import is_content_word
from sae_nb.corpora import CorpusSummary
from sae_nb.figures import category_style
from sae_nb.figures.shapes import shortened
from sae_nb.figures.theme import THIN_SPACE, escape, format_count
from sae_nb_widgets.components._base import atom_mark

A_SIDE = 5
"""Atoms of each corpus."""

STRUCTURES = {
    "noun", "verb", "participle", "word", "words", "token", "position", "after", "before", "beginning",
}  # fmt: skip
"""Words of names that say a place in a text, and not what it is about."""

ONLY, AS_MUCH = 2 / 3, 0.95
"""Shares of an atom's difference: a word that differs by less is in "only" so many texts, one that differs by
more finds as much."""

STRONG = 0.3
"""Share of an atom's strongest firing anywhere, below which its strongest one here does not bear its name."""

AROUND = 34
"""Letters of a line before its word, and after it, to whole words."""


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """An atom in two corpora."""

    atom: int
    name: str
    """Its label; empty where it has none."""

    a: float
    b: float
    """Shares of the documents of either in which it fires."""

    word: str = ""
    """The word at its peak; empty where there is none."""

    word_a: float = np.nan
    word_b: float = np.nan
    """Shares of the documents with that word."""

    line: tuple[str, str, str] = ("", "", "")

    @property
    def difference(self) -> float:
        """Share of the first less that of the second."""
        return self.a - self.b

    @property
    def called(self) -> str:
        """The name, else the word at the peak, else the number."""
        return self.name or (f"at “{self.word}”" if self.word else f"atom {self.atom}")

    @property
    def word_share(self) -> float:
        """Part of the difference that the word has, too; NaN where it is not known."""
        return (self.word_a - self.word_b) / self.difference if self.difference else np.nan


def pair_rows(
    summary: CorpusSummary,
    listed: Int[np.ndarray, " m"],
    label: Callable[[int], str],
    line: Callable[[int], tuple[str, str, str]],
) -> tuple[list[PairRow], list[PairRow]]:
    """Return the atoms of which the first corpus has more, and the second: at most five each.

    Of the atoms listed those whose name tells what a text is about come first, then those whose word at the
    peak does, then others; one a word; each side by difference.
    """
    words = _word_shares(summary)
    sides: tuple[list[PairRow], list[PairRow]] = ([], [])
    table = summary.table
    difference = table["difference"].to_numpy()
    order = sorted(
        map(int, listed), key=lambda atom: _rank(label(atom), str(table.at[atom, "word"] or ""))
    )
    seen: set[tuple[int, str]] = set()
    for atom in order:
        side = int(difference[atom] < 0)
        word = str(table.at[atom, "word"] or "")
        if difference[atom] == 0 or len(sides[side]) == A_SIDE or (word and (side, word) in seen):
            continue
        seen.add((side, word))
        word_a, word_b = words.get(word, (np.nan, np.nan))
        name = label(atom) if tells(label(atom)) else ""
        sides[side].append(
            PairRow(
                atom=atom, name=name, a=float(table.at[atom, "a"]), b=float(table.at[atom, "b"]), word=word,
                word_a=word_a, word_b=word_b, line=line(atom),
            )
        )  # fmt: skip
    first, second = (sorted(side, key=lambda row: -abs(row.difference)) for side in sides)
    return first, second


def _rank(name: str, word: str) -> int:
    """Return how soon an atom is shown: with a telling name, a telling word at its peak, or neither."""
    return 0 if tells(name) else 1 if is_content_word(word) else 2


def tells(name: str) -> bool:
    """Return whether a name says what a text is about: neither a place in a sentence nor a word of none.

    >>> tells("humour, fun, jokes"), tells("noun after “the”"), tells("all"), tells("")
    (True, False, False, False)
    """
    words = name.replace(",", " ").split()
    return "“" not in name and STRUCTURES.isdisjoint(words) and any(map(is_content_word, words))


def _word_shares(summary: CorpusSummary) -> dict[str, tuple[float, float]]:
    """Return word → shares of the documents of either corpus that have it."""
    simpler = summary.simpler
    if simpler is None or simpler.columns[0] != "word":
        return {}
    return {
        str(word): (float(a), float(b))
        for word, a, b in zip(simpler["word"], simpler["a"], simpler["b"], strict=True)
    }


def headline(summary: CorpusSummary, rows: Sequence[Sequence[PairRow]]) -> str:
    """Return the title: the first two atoms of each corpus that has some."""
    a, b = (shortened(name, 13, 200) for name in summary.names)
    named = [", ".join(map(_short, side[:2])) for side in rows]
    if not summary.n_tested:
        return "No atom is in enough documents to be tested"
    if not any(named):
        return f"No atom tells {a} from {b}"
    if all(named):
        return f"Atoms of {a}: {named[0]}; of {b}: {named[1]}"
    return f"Atoms of {a if named[0] else b}: {named[0] or named[1]}"


def _short(row: PairRow) -> str:
    named = row.name.split(",")[0].strip() or row.word
    return f"“{named}”" if named else row.called


def answer(summary: CorpusSummary, rows: Sequence[Sequence[PairRow]]) -> str:
    """Return what the atom that differs most does, and for which rows a count of words finds as much."""
    every = [row for side in rows for row in side]
    if not summary.n_tested:
        return f"None is in {summary.min_count} documents of both together."
    if not every:
        return "No difference is sure enough, within the limits asked for."
    first = max(every, key=lambda row: abs(row.difference))
    more = int(first.b > first.a)
    shares, names = (first.a, first.b), summary.names
    who = (
        f"“{first.name}”" if first.name else f"The atom {first.called}".replace("atom atom", "atom")
    )
    said = (
        f"{who} fires in {_whole(shares[more])}{THIN_SPACE}% of {names[more]} and "
        f"{_whole(shares[1 - more])}{THIN_SPACE}% of {names[1 - more]}"
    )
    if not np.isnan(first.word_share):
        only = "only " if first.word_share < ONLY else ""
        share = _whole((first.word_a, first.word_b)[more])
        said += f"; the word “{first.word}” stands in {only}{share}{THIN_SPACE}%"
    as_much = [f"“{row.word}”" for row in every if row.word_share >= AS_MUCH]
    return f"{said}." + (
        f" For {' and '.join(filter(None, (', '.join(as_much[:-1]), as_much[-1])))} a count of words "
        "separates the two as well."
        if as_much
        else ""
    )


def _whole(share: float) -> str:
    """Return a share in percent as it is written everywhere: whole."""
    return f"{100 * share:.0f}"


def pairs_html(summary: CorpusSummary, rows: Sequence[Sequence[PairRow]], unit: str) -> str:
    """Return both sides as escaped HTML."""
    if not any(rows):
        return ""
    key = tuple(
        f"atom in {format_count(n)} {name}"
        for n, name in zip((summary.n_a, summary.n_b), summary.names, strict=True)
    )
    sides = "".join(
        f"<section><h4>Atoms that fire more in {escape(name)}<span>% of {escape(unit)}s</span></h4>"
        f"{''.join(_row_html(row, key * (not i)) for i, row in enumerate(side)) or '<p>No atom.</p>'}</section>"
        for name, side in zip(summary.names, rows, strict=True)
    )
    return f'<div class="sae-nb-pairs">{sides}</div>'


def _row_html(row: PairRow, key: Sequence[str]) -> str:
    """Return an atom with its bars, which say what they are where there is a key."""
    before, word, after = row.line
    if len(before) > AROUND:
        before = f"… {before[-AROUND:].partition(' ')[2]}"
    if len(after) > AROUND:
        after = f"{after[:AROUND].rpartition(' ')[0]} …"
    line = f"{escape(before)} <mark>{escape(word)}</mark> {escape(after)}" if word else ""
    bars = ""
    for i, (share, with_word) in enumerate(((row.a, row.word_a), (row.b, row.word_b))):
        tick = (
            ""
            if np.isnan(with_word)
            else f'<i class="sae-nb-tick" style="left:{100 * with_word:.1f}%"></i>'
        )
        bars += "".join(f"<small>{escape(said)}</small>" for said in key[i : i + 1])
        bars += (
            f'<span><u style="width:{100 * share:.1f}%;background:{category_style(i)[0]}"></u>{tick}</span>'
            f"<b>{_whole(share)}</b>"
        )
    if key and not np.isnan(row.word_a):
        bars += f'<small><i class="sae-nb-tick"></i> word “{escape(row.word)}” in them</small>'
    tip = "" if np.isnan(row.word_a) else f"“{row.word}”: {row.word_a:.0%}, {row.word_b:.0%}"
    return (
        f'<div class="sae-nb-pair"><div>{atom_mark(row.atom, row.called)}<small>{line}</small></div>'
        f'<div class="sae-nb-twobars" title="{escape(tip)}">{bars}</div></div>'
    )
