"""FindBox: a field, and under it the atoms that answer to what is typed, where they fire, and how strongly."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import traitlets as t

from sae_nb.atoms import examples_of
from sae_nb.figures.theme import escape, format_count, format_number
from sae_nb_widgets.components._base import Component, style_sheet
from sae_nb_widgets.components._concordance import words_around
from sae_nb_widgets.components._scripts import read_static, script

if TYPE_CHECKING:
    from sae_nb.atoms import AtomCatalogue, AtomNames, FoundAtoms

SHOWN = 5
"""Rows under the field: what is read at a glance."""

_QUOTED = re.compile(r"“[^“”]*”(, “[^“”]*”)*( or “[^“”]*”)?( …)?")


@dataclass(frozen=True, kw_only=True)
class FindRow:
    """One atom under the field."""

    atom: int
    name: str
    """What it is called; without a name what it fires on."""

    named: bool
    dots: int | None = None
    before: str = ""
    """A line of text in which it fires: before the word, the word itself, after it."""

    word: str = ""
    after: str = ""
    hit: bool = False
    """Whether that word is the one looked for, and not the atom's own strongest."""

    share: float = 0.0
    """Its strength where the word stands, as a share of the largest ever seen; 0: no bar."""

    tip: str = ""


class FindBox(Component):
    """A field; typing in it, or setting `query`, has the rows under it replaced by whoever observes `query`.

    Rows of another word are dimmed until `show` brings those of this one. Enter or a click takes a row; whoever
    listens with `on_choice` hears which.

    Examples
    --------
    >>> box = FindBox(description="find an atom")
    >>> box.query = "wedding"
    >>> rows = [FindRow(atom=3202, name="marriage", named=True, share=0.8)]
    >>> box.show("wedding", rows, "atoms that fire at “wedding”", "1 place")
    >>> box.on_choice(lambda row, query: print(box.rows[row]["atom"], query))
    >>> box.choose(0)
    3202 wedding
    """

    _esm = script("find_box")
    _css = style_sheet("components.css", "find_box.css")

    query = t.Unicode("", help="What is looked for.").tag(sync=True)
    answered = t.Unicode("", help="What the rows answer to.").tag(sync=True)
    rows = t.List(t.Dict(), help="Rows as `FindRow`.").tag(sync=True)
    head = t.Unicode("", help="What the rows are.").tag(sync=True)
    note = t.Unicode("", help="Out of how many.").tag(sync=True)
    working = t.Bool(False, help="Whether the running model reads the word.").tag(sync=True)
    opened = t.Bool(False, help="Whether the rows are shown.").tag(sync=True)
    hint = t.Unicode("find a word, name or number", help="Said in the empty field.").tag(sync=True)

    def __init__(self, **settings: object) -> None:
        self._heard: list[Callable[[int, str], None]] = []
        super().__init__(**settings)
        self.on_msg(self._message)

    def show(self, query: str, rows: Sequence[FindRow], head: str = "", note: str = "") -> None:
        """Replace the rows by those of a query, in one message to the browser."""
        with self.hold_sync(), self.hold_trait_notifications():
            self.rows = [asdict(row) for row in rows]
            self.atoms = [row.atom for row in rows]
            self.head, self.note, self.answered = head, note, query

    def on_choice(self, heard: Callable[[int, str], None]) -> None:
        """Call back with the row taken and the word in the field."""
        self._heard.append(heard)

    def choose(self, row: int = 0) -> None:
        """Take a row, as Enter does."""
        for heard in self._heard:
            heard(row, self.query)

    def _message(self, _: object, content: object, __: object) -> None:
        if not isinstance(content, dict) or content.get("kind") != "take":
            return
        row, query = content.get("row"), content.get("query")
        if isinstance(row, int) and isinstance(query, str):
            self.query = query
            self.choose(row)

    def static_html(self) -> str:
        """Return the rows as escaped HTML; a field that nothing answers is no part of a page."""
        if not self.rows:
            return ""
        lines = "".join(
            f'<div class="sae-nb-findrow" data-atom="{row["atom"]}"><span class="sae-nb-findname">'
            f"{'' if row['named'] else 'no name yet: '}{escape(row['name'])}</span>"
            f'<span class="sae-nb-findline"><span class="sae-nb-findbefore"><bdi>{escape(row["before"])}</bdi>'
            f'</span><b>{escape(row["word"])}</b><span class="sae-nb-findafter">{escape(row["after"])}</span>'
            f"</span><span>{escape(row['tip'])}</span></div>"
            for row in self.rows
        )
        return (
            f"<style>{read_static('find_box.css')}</style><div class='sae-nb-component sae-nb-find'>"
            f'<p class="sae-nb-drophead">{escape(self.head)} {escape(self.note)}</p>{lines}</div>'
        )


def find_rows(
    found: FoundAtoms, catalogue: AtomCatalogue, names: AtomNames, n: int = SHOWN
) -> list[FindRow]:
    """Return the first atoms that were found as rows: each place once, then an atom's own strongest."""
    rows, shown = [], set()
    for i, atom in enumerate(found.atoms[:n].tolist()):
        row = int(found.rows[i])
        hit = row >= 0 and row not in shown
        shown.add(row)
        before, word, after = _line(catalogue, atom, row if hit else -1)
        strength, share = float(found.strengths[i]), float(found.shares[i])
        peak = format_number(float(catalogue.max_strength[atom]))
        tip = f"strength {format_number(strength)} there; strongest seen {peak}" if share else ""
        rows.append(
            FindRow(
                atom=atom,
                name=plain(names.short(atom)),
                named=bool(names.source(atom)),
                dots=names.sureness(atom)[0],
                before=before,
                word=word,
                after=after,
                hit=hit,
                share=share,
                tip=tip,
            )
        )
    return rows


def plain(words: str) -> str:
    """Return words that a caption lists in quotes as a row shows them.

    >>> plain("“wife”, “marry” or “marriage”"), plain("after “his” or “my”")
    ('wife · marry · marriage', 'after “his” or “my”')
    """
    if _QUOTED.fullmatch(words) is None:
        return words
    return re.sub("”(, | or )“", " · ", words).replace("“", "").replace("”", "")


def _line(catalogue: AtomCatalogue, atom: int, row: int) -> tuple[str, str, str]:
    """Return a line of text in which an atom fires: of a row, or where it fires most strongly (−1)."""
    context = catalogue.acts.context
    if not context.modality.is_text or context.token_ids is None:
        return "", "", ""
    for example in examples_of(catalogue, atom, 1, rows=None if row < 0 else [row]):
        return words_around(example.tokens, example.position - example.first_position)
    return "", "", ""


def head_words(found: FoundAtoms, catalogue: AtomCatalogue, n: int = SHOWN) -> tuple[str, str]:
    """Return what the rows of an answer are, and out of how many."""
    query, many, context = found.query, len(found), catalogue.acts.context
    if not many:
        return f"no atom answers to “{query}”", ""
    where = (
        f"as the model reads “{query}”" if found.live else f"at “{query}”" if found.n_places else ""
    )
    head = f"atoms that fire {where}" if where else f"atoms that answer to “{query}”"
    strengths = found.strengths[:n]
    if where and (strengths > 0).all() and (np.diff(strengths) <= 0).all():
        head += ", strongest first"
    shown = f"{format_count(min(n, many))} of {_counted(many, 'atom')}"
    if found.live or not found.n_places:
        return head, shown
    places = (
        f"{_counted(found.n_places, 'place')} in {_counted(context.n_samples, context.sample_word)}"
    )
    return head, f"{shown} · {places}"


def _counted(n: int, word: str) -> str:
    return f"{format_count(n)} {word}{'s' * (n != 1)}"
