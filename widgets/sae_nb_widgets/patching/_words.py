"""The sentences of a PatchingPanel: which places decide, and what a cell is."""

from __future__ import annotations

import math
import re
from itertools import groupby

import numpy as np

from sae_nb.circuits import PatchMap
from sae_nb.figures import visible_token
from sae_nb.figures.theme import format_count, format_number, format_percent
from sae_nb_widgets.patching._queries import Answer

HALF = 0.5
"""Share from which on a place is counted as carrying the answer; correlation from which on an estimate is shown
beside what was measured."""

NOTHING = 0.01
"""Share below which no place is named."""

NOUNS = {
    "attn": "attention of block",
    "mlp": "the MLP of block",
    "heads": "head",
    "heads_by_position": "head",
}


def token_words(name: str) -> str:
    """Return a column's token in quotes; of one that differs both."""
    return "“" + " → ".join(visible_token(part, bare=True) for part in name.split(" → ")) + "”"


def asked_words(name: str) -> str:
    """Return what is asked of the answers, without the spaces before tokens."""
    return re.sub(r"“\s+(?=[^\s”])", "“", name)


def place_words(seen: Answer, row: int, column: int) -> str:
    """Return the name of a cell."""
    found = seen.found
    if not isinstance(found, PatchMap):
        return seen.rows[row]
    if found.sites == "resid":
        return f"the state {_after(seen, row)} at {token_words(seen.columns[column])}"
    noun = NOUNS[found.sites]
    if found.sites == "heads":
        return f"{noun} {seen.rows[row]}.{seen.columns[column]}"
    return f"{noun} {seen.rows[row]} at {token_words(seen.columns[column])}"


def _after(seen: Answer, row: int) -> str:
    """Return where a state is: what stands before a block is what the block before it wrote last."""
    block = int(seen.rows[row])
    return f"after block {block - 1}" if block else "before block 0"


def row_names(seen: Answer) -> tuple[str, tuple[str, ...]]:
    """Return what the rows of a map count, and their names: states by the last block that wrote them."""
    found = seen.found
    if not isinstance(found, PatchMap):
        return "atom", seen.rows
    if found.sites != "resid":
        return found.row, seen.rows
    return "after block", tuple(str(int(row) - 1) if int(row) else "–" for row in seen.rows)


def shows_estimates(seen: Answer) -> bool:
    """Return whether estimates stand beside what was measured: not where they say something else."""
    return not seen.exact or seen.found.agreement >= HALF


def first_cell(seen: Answer) -> tuple[int, int]:
    """Return the cell that a map opens on: the largest; of states, where the last place first has it."""
    effect = np.abs(seen.effect)
    if isinstance(seen.found, PatchMap) and seen.found.sites == "resid":
        column = int(effect[-1].argmax())
        reached = np.flatnonzero(effect[:, column] >= HALF)
        if effect[-1, column] >= HALF and len(reached):
            return int(reached[0]), column
    place = np.unravel_index(int(effect.argmax()), effect.shape)
    return int(place[0]), int(place[1])


def largest_cells(seen: Answer, n: int) -> list[tuple[int, int]]:
    """Return the n cells of the largest effects; of states one a position, since they stay for blocks."""
    effect = np.abs(seen.effect)
    if isinstance(seen.found, PatchMap) and seen.found.sites == "resid":
        cells = [(int(row), column) for column, row in enumerate(effect.argmax(axis=0))]
        cells.sort(key=lambda cell: -effect[cell])
        return cells[:n]
    order = np.argsort(-effect, axis=None, kind="stable")[:n]
    return [
        (int(row), int(column))
        for row, column in zip(*np.unravel_index(order, effect.shape), strict=True)
    ]


def answer_words(seen: Answer) -> str:
    """Return the answer to the panel's question in a sentence or two."""
    found = seen.found
    if isinstance(found, PatchMap) and found.sites == "resid":
        carried = _carried(seen)
        if carried:
            return carried
    if float(np.abs(seen.effect).max(initial=0.0)) < NOTHING:
        return "No place of this kind changes the answer by itself."
    row, column = np.unravel_index(int(np.abs(seen.effect).argmax()), seen.effect.shape)
    place = place_words(seen, int(row), int(column))
    place = place[0].upper() + place[1:]
    done, share = _done(seen, float(seen.effect[row, column]), 3)
    ends = (seen.control.min(initial=0.0), seen.control.max(initial=0.0))
    least, most = (format_percent(float(end), digits=3) for end in ends)
    by = "" if seen.exact else " by the estimate"
    return f"{place} alone {done} {share} of the difference{by}; controls {least} to {most}."


def _done(seen: Answer, effect: float, digits: int) -> tuple[str, str]:
    """Return what a place does to the difference, as a verb, and how much of it."""
    noise = getattr(seen.found, "direction", "denoise") == "noise"
    away = noise == (effect >= 0)
    return "takes away" if away else "brings back", format_percent(abs(effect), digits=digits)


def _carried(seen: Answer) -> str:
    """Say at which word the answer is, block by block.

    Only where it stays at one word, or moves once: at each of these blocks that word carries at least half,
    and more than any place of the control. Empty otherwise.
    """
    best, most = seen.effect.argmax(axis=1), seen.effect.max(axis=1)
    carries = (most >= HALF) & (most > seen.control.max(initial=0.0))
    at = np.where(carries, best, -1)
    runs = [(word, list(rows)) for word, rows in groupby(range(len(at)), key=lambda row: at[row])]
    carried = [(int(word), rows[0], rows[-1]) for word, rows in runs if word >= 0]
    if len(carried) not in (1, 2) or len({word for word, *_ in carried}) < len(carried):
        return ""
    places = (
        f"at {token_words(seen.columns[word])} {_blocks(seen, first, last)}"
        for word, first, last in carried
    )
    begin = "The difference" if seen.exact else "By the estimate, the difference"
    return f"{begin} between the answers is {', '.join(places)}.{_single(seen)}"


def _blocks(seen: Answer, first: int, last: int) -> str:
    """Return a stretch of rows in words: "up to block 25", "from block 26 on"."""
    end = len(seen.rows) - 1
    if first == 0 and last == end:
        return "at every block"
    if first == last:
        return _after(seen, first)
    if first == 0:
        return f"up to block {int(seen.rows[last]) - 1}"
    since = f"from block {int(seen.rows[first]) - 1}"
    return f"{since} on" if last == end else f"{since} to block {int(seen.rows[last]) - 1}"


def _single(seen: Answer) -> str:
    """State what exchanging the cell that the map opens on does, as an example of what its numbers mean."""
    row, column = first_cell(seen)
    done, share = _done(seen, float(seen.effect[row, column]), 2)
    place = place_words(seen, row, column)
    said = f" {place[0].upper()}{place[1:]} alone {done} {share}"
    if seen.of_atoms:
        return f"{said}."
    return f"{said} (control: {format_percent(float(seen.control[row, column]), digits=2)})."


def numbers_words(seen: Answer) -> str:
    """Return what an expert asks for next."""
    found = seen.found
    pairs = "1 pair" if found.n_pairs == 1 else f"{found.n_pairs} pairs"
    return (
        f"{asked_words(found.name)}: {format_number(found.clean)} on the clean text, "
        f"{format_number(found.corrupted)} on the corrupted one ({pairs})"
    )


def legend_words(seen: Answer) -> str:
    """Return the meaning of the colours, and how far the map can be trusted."""
    noise = getattr(seen.found, "direction", "denoise") == "noise"
    warm = "takes the answer away" if noise else "brings the answer back"
    said = score_words(seen)
    return f"Orange {warm}, blue works against that. {said[0].upper()}{said[1:]}."


def score_words(seen: Answer) -> str:
    """Return how well estimates and effects agree, and the largest effect of the control."""
    found = seen.found
    most = format_number(float(np.abs(seen.control).max(initial=0.0)))
    against = f"largest share of the control ({seen.control_source}): {most}"
    if not seen.exact:
        return f"estimates by attribution, one backward pass; {against}"
    n = found.effect.size if isinstance(found, PatchMap) else len(found.table)
    r = found.agreement
    if math.isnan(r):
        return against
    hidden = "" if shows_estimates(seen) else ", too little to show it"
    return (
        f"exact effects and attribution correlate at {format_number(r)} over {format_count(n)} places"
        f"{hidden}; {against}"
    )
