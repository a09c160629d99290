"""The sentences of a PatchingPanel: which places decide, and what a cell is."""

from __future__ import annotations

import math
import re

import numpy as np

from sae_nb.circuits import PatchMap
from sae_nb.figures import visible_token
from sae_nb.figures.theme import format_count, format_number, format_percent
from sae_nb_widgets.patching._queries import Answer

HALF = 0.5
"""Share from which on a place is counted as carrying the answer."""

NOTHING = 0.01
"""Share below which no place is named."""

NOUNS = {
    "resid": "the state before block",
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
    noun = NOUNS[found.sites]
    if found.sites == "heads":
        return f"{noun} {seen.rows[row]}.{seen.columns[column]}"
    return f"{noun} {seen.rows[row]} at {token_words(seen.columns[column])}"


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
    direction = getattr(found, "direction", "denoise")
    done = {"denoise": "brings back", "noise": "takes away"}[direction]
    place = place_words(seen, int(row), int(column))
    place = place[0].upper() + place[1:]
    share = format_percent(float(seen.effect[row, column]), digits=3)
    ends = (seen.control.min(initial=0.0), seen.control.max(initial=0.0))
    least, most = (format_percent(float(end), digits=3) for end in ends)
    by = "" if seen.exact else " by the estimate"
    return f"{place} alone {done} {share} of the difference{by}; controls {least} to {most}."


def _carried(seen: Answer) -> str:
    """Describe at which tokens the answer is carried, block by block; empty where no place carries half."""
    best = seen.effect.argmax(axis=1)
    carries = seen.effect.max(axis=1) >= HALF
    rows = np.flatnonzero(carries)
    if not len(rows):
        return ""
    first, last = int(best[rows[0]]), int(best[rows[-1]])
    one, other = token_words(seen.columns[first]), token_words(seen.columns[last])
    said = "" if seen.exact else "By the estimate, "
    begin = f"{said}{'t' if said else 'T'}he difference between the answers is at {one}"
    if first == last:
        return (
            f"{begin} before blocks {seen.rows[rows[0]]} to {seen.rows[rows[-1]]}.{_single(seen)}"
        )
    until = rows[best[rows] == first].max()
    since = rows[best[rows] == last].min()
    said = f"{begin} up to block {seen.rows[until]}, at {other} from block {seen.rows[since]} on."
    return f"{said}{_single(seen)}"


def _single(seen: Answer) -> str:
    """State what exchanging the cell that the map opens on does, as an example of what its numbers mean."""
    row, column = first_cell(seen)
    done = {"denoise": "brings back", "noise": "takes away"}[
        getattr(seen.found, "direction", "denoise")
    ]
    share = format_percent(float(seen.effect[row, column]), digits=2)
    place = f"{token_words(seen.columns[column])} before block {seen.rows[row]}"
    said = f" The state at {place} alone {done} {share}"
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
    """Return how well estimates and effects agree, and the largest of the control."""
    found = seen.found
    most = format_number(float(np.abs(seen.control).max(initial=0.0)))
    against = f"control ({seen.control_source}) at most {most}"
    if not seen.exact:
        return f"estimates by attribution, one backward pass; {against}"
    n = found.effect.size if isinstance(found, PatchMap) else len(found.table)
    r = found.agreement
    if math.isnan(r):
        return against
    return (
        f"exact effects and attribution correlate at {format_number(r)} over {format_count(n)} places; "
        f"{against}"
    )
