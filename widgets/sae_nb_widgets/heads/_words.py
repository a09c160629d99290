"""The sentences of the HeadsPanel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sae_nb.figures import visible_token
from sae_nb.figures.theme import format_number, format_percent

if TYPE_CHECKING:
    from sae_nb.atoms import AtomNames
    from sae_nb.circuits import QueryKey
    from sae_nb_widgets.heads._queries import Answer, HeadName, Look

SAYS = 1.0
"""Logits by which a head raises the word it looks at, above the mean word, for it to say it."""

MUCH, MOST = 0.25, 0.5
"""Attention from which a head looks at one place, and from which it rests on the first."""

TOLD = {
    "induction": "what followed this token before",
    "previous": "the token before",
    "same": "earlier copies of this token",
    "itself": "its own position",
    "neighbours": "the patches around",
    "sink": "the first token",
}
"""The place that a head of each role attends to, in words."""

LEGEND = (
    "grid: rows are layers, the last on top, columns heads · a row of the square: where one place looks · "
    "grey: the first token, where heads rest"
)


def head_name(head: HeadName) -> str:
    """Return "L26H1"."""
    return f"L{head[0]}H{head[1]}"


def quoted(token: str) -> str:
    """Return a token in quotes, without the space it begins with."""
    shown = visible_token(token)
    return f"“{shown.strip() or shown}”"


def place(seen: Answer, position: int) -> str:
    """Return the word at a position, or the name of a patch."""
    token = seen.tokens[position]
    return quoted(token) if seen.picture is None else token


def looks(seen: Answer, look: Look, position: int, source: int) -> str:
    """Return what a head does, in a few words."""
    row = look.pattern[position]
    share = float(row[source])
    if share < MUCH and float(row[0]) >= MOST:
        return f"rests on the first {'token' if seen.picture is None else 'place'}"
    if share < MUCH:
        return "looks at many places"
    if source == position:
        return "looks at its own place"
    back = "back " if source < position and seen.picture is None else ""
    says = " and says it" if look.own_word > SAYS and position == len(row) - 1 else ""
    return f"looks {back}at {place(seen, source)}{says}"


def answer(seen: Answer, look: Look, position: int, source: int, role: str) -> tuple[str, str]:
    """Return where the attention lies, and the answer without the head next to random ones; what is bold."""
    share = float(look.pattern[position, source])
    before, left = format_percent(seen.probability), format_percent(look.without)
    if before == left:
        effect = f"Without it {quoted(seen.name)} stays at {left}"
    else:
        does = "falls" if look.without < seen.probability else "rises"
        effect = f"Without it {quoted(seen.name)} {does} from {before} to {left}"
    low, high = map(format_percent, seen.chance)
    chance = low if low == high else f"{low} to {high}"
    told = f" It is a head for {TOLD[role]}." if role else ""
    return (
        f"{format_percent(share)} of its attention lies on {place(seen, source)}. {effect}; without one of "
        f"{len(seen.random)} random heads it is {chance}.{told}"
    ), left


def direct(seen: Answer, look: Look) -> str:
    """Return what the head itself adds to the answer."""
    size = format_number(float(seen.direct[look.head]))
    return f"{size} logits of {quoted(seen.name)}, straight to the answer"


def numbers(seen: Answer, look: Look) -> str:
    """Return what an expert asks for next."""
    return (
        f"direct effect {format_number(float(seen.direct[look.head]))} logits; estimate of the change "
        f"{format_number(-float(seen.estimated[look.head]))}"
    )


def pairs(found: QueryKey, names: AtomNames, n: int) -> tuple[str, list[str], list[list[str]]]:
    """Return the title, headers and rows of the pairs of atoms that make a head look where it looks."""
    rows = [
        [_part(names, query), _part(names, key), f"{value:+.2f}".replace("-", "−")]
        for query, key, value in found.table.head(n).itertuples(index=False)
    ]
    asks, offers = (f"at {quoted(found.tokens[i])}" for i in (found.query, found.key))
    title = "Why it looks there: pairs of atoms"
    if len(found.random):
        title += (
            f". Without the largest {format_percent(found.without)} of its attention is left, without two "
            f"others {format_percent(float(np.mean(found.random)))}"
        )
    return title, [asks, offers, "adds"], rows


def _part(names: AtomNames, part: str) -> str:
    return names.name(int(part)) if part.isdigit() else part
