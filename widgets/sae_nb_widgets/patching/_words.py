"""The sentences of a PatchingPanel: which places decide, and what a cell is."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from sae_nb.circuits import PatchMap
from sae_nb.figures import visible_token
from sae_nb.figures.theme import THIN_SPACE, escape, format_count, format_number
from sae_nb_widgets.patching._queries import Answer

HALF = 0.5
"""Share from which on a place is counted as carrying the answer."""

NOTHING = 0.01
"""Share below which no place is named."""

NOUNS = {
    "attn": "attention of block",
    "mlp": "the MLP of block",
    "heads": "head",
    "heads_by_position": "head",
}


LEAST = 0.0005
"""Share below which none is written."""


def hundredths(share: float) -> str:
    """Return a share in percent without the sign, as it is written everywhere."""
    shown = 100 * share if abs(share) >= LEAST else 0.0
    return format_number(shown, digits=2 if abs(share) < 1 else 3)


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{hundredths(share)}{THIN_SPACE}%"


def token_words(name: str) -> str:
    """Return a column's token in quotes; of one that differs both."""
    return "“" + " → ".join(visible_token(part, bare=True) for part in name.split(" → ")) + "”"


def asked_words(name: str) -> str:
    """Return what is asked of the answers, without the spaces before tokens."""
    return re.sub(r"“\s+(?=[^\s”])", "“", name)


def answer_words(seen: Answer) -> str:
    """Return the answer that is brought back, by its name; of pairs that differ in it: "the clean answer"."""
    first = asked_words(seen.found.name).partition(" − ")[0]
    return f"the answer {first}" if first.startswith("“") else first


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
    """Return whether estimates stand beside what was measured: where they are more like it than any control."""
    if not seen.exact or not isinstance(seen.found, PatchMap):
        return True
    by_chance = [_alike(seen.estimated, one) for one in seen.controls]
    return seen.found.agreement > max((r for r in by_chance if not math.isnan(r)), default=0.0)


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two maps; NaN where one of them is flat."""
    if min(np.ptp(one), np.ptp(other)) == 0:
        return math.nan
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


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


@dataclass(frozen=True)
class Claim:
    """What a map shows: the title, the sentence below it, and the row at which the answer moves, if it does."""

    title: str
    answer: str
    moves_at: int | None = None


def claim(seen: Answer) -> Claim:
    """Return what can be said of a map: the first form whose condition holds."""
    row, column = map(int, np.unravel_index(int(np.abs(seen.effect).argmax()), seen.effect.shape))
    place, share = _capital(place_words(seen, row, column)), _share(seen, row, column)
    chance = controls_words(seen, row, column)
    if not seen.exact:
        estimate = (
            f"By the estimate, {place[0].lower()}{place[1:]} alone {share} of {answer_words(seen)}."
        )
        return Claim("", estimate if abs(seen.effect[row, column]) >= NOTHING else "")
    if not (isinstance(seen.found, PatchMap) and seen.found.sites == "resid"):
        if abs(seen.effect[row, column]) < NOTHING or not seen.outside[row, column]:
            return Claim("No single place goes beyond its control", chance)
        return Claim(f"{place} alone {share} of {answer_words(seen)}", chance)
    path = _path(seen)
    words = [column for column, _ in path]
    if not path:
        return Claim(
            f"No single place carries {answer_words(seen)}",
            f"{place} alone {share}, the most of all. {chance}",
        )
    old, new, first = words[0], words[-1], path[0][1][0]
    more = seen.effect[first:, new] > seen.effect[first:, old]
    if len(set(words)) < len(words) or len(words) > 2 or (old != new and not more.any()):
        return Claim(
            f"{_capital(answer_words(seen))} is at more than one word",
            f"{place} alone {share}, the most of all. {chance}",
        )
    if old == new:
        return Claim(
            f"{_capital(answer_words(seen))} stays at {clean_word(seen, old)}",
            f"{_capital(_blocks(seen, path[0][1]))} it alone {share} at most. {chance}",
        )
    at = first + int(np.argmax(more))
    moves = f"{answer_words(seen)} moves from {clean_word(seen, old)} to {clean_word(seen, new)}"
    if seen.outside[at, new] and not seen.outside[at - 1, new]:
        title = f"At block {int(seen.rows[at]) - 1} {moves}"
    else:
        title = _capital(moves)
    before, after = (_share(seen, row, new) for row in (at - 1, at))
    return Claim(
        title,
        f"{_capital(_after(seen, at - 1))} the state at {clean_word(seen, new)} {before} of the answer, one "
        f"block later it {after}. {controls_words(seen, at, new)}",
        at,
    )


def _path(seen: Answer) -> list[tuple[int, list[int]]]:
    """Return the words that carry the answer, in the order of blocks, each with its rows.

    A word carries it where it has the largest share of its row, at least half, and beyond the controls there.
    """
    best = seen.effect.argmax(axis=1)
    there = np.arange(len(best))
    carries = (seen.effect[there, best] >= HALF) & seen.outside[there, best]
    runs = groupby(there[carries].tolist(), key=lambda row: int(best[row]))
    return [(word, list(rows)) for word, rows in runs]


def clean_word(seen: Answer, column: int) -> str:
    """Return a position's token as the clean text has it."""
    return token_words(seen.columns[column].partition(" → ")[0])


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _share(seen: Answer, row: int, column: int) -> str:
    """Return what a place does to the difference: "brings back 69 %"."""
    effect = float(seen.effect[row, column])
    away = (getattr(seen.found, "direction", "denoise") == "noise") == (effect >= 0)
    return f"{'takes away' if away else 'brings back'} {percent(abs(effect))}"


def _blocks(seen: Answer, rows: list[int]) -> str:
    """Return rows in words: "after blocks 3 to 7"."""
    if len(rows) == len(seen.rows):
        return "at every block"
    first, last = (_after(seen, row) for row in (rows[0], rows[-1]))
    return first if rows[0] == rows[-1] else f"from {first} to {last}"


def controls_words(seen: Answer, row: int, column: int) -> str:
    """Return how far the controls go at a place, of atoms at any, and how many there are."""
    most = max(abs(float(end[row, column])) for end in seen.ends)
    there = "" if seen.of_atoms else " there"
    return f"{_capital(control_words(seen))}{there}: at most {percent(most)}."


def _two_texts(seen: Answer) -> tuple[str, str] | None:
    """Return the clean and the corrupted text of a map of one pair; None where its places are no words."""
    found = seen.found
    if not isinstance(found, PatchMap) or found.sites == "heads" or found.n_pairs > 1:
        return None
    ends = [name.partition(" → ") for name in seen.columns]
    clean, corrupted = "".join(old for old, *_ in ends), "".join(new or old for old, _, new in ends)
    return visible_token(clean, bare=True), visible_token(corrupted, bare=True)


def map_words(seen: Answer) -> str:
    """Return what a cell of the map is: what is put where, and what the share is of."""
    noise = getattr(seen.found, "direction", "denoise") == "noise"
    does, texts = "taken away" if noise else "brought back", _two_texts(seen)
    estimate = "" if seen.exact else " (estimate)"
    if texts is None:
        return f"Share of the answer {does}, in percent{estimate}"
    put, into = texts[::-1] if noise else texts
    what = "state" if seen.found.sites == "resid" else "output"  # type: ignore[union-attr]
    return f"One {what} of “{put}” put into “{into}”: share of the answer {does}{estimate}"


def control_words(seen: Answer) -> str:
    """Return how many controls there are, and of what: "19 random changes"."""
    n = len(seen.controls)
    one, several = {
        "random directions": ("random change", "random changes"),
        "other pairs": ("draw of other pairs", "draws of other pairs"),
        "atoms at random": ("random atoms", "random atoms"),
        "another input": ("other input", "other inputs"),
    }.get(seen.control_source, (seen.control_source, seen.control_source))
    return several if seen.of_atoms else f"{n} {one if n == 1 else several}"


def numbers_words(seen: Answer) -> str:
    """Return what an expert asks for next."""
    found = seen.found
    pairs = "1 pair" if found.n_pairs == 1 else f"{found.n_pairs} pairs"
    texts = _two_texts(seen)
    clean, corrupted = (f"after “{one}”" for one in texts) if texts else ("clean", "corrupted")
    return (
        f"{asked_words(found.name)}, difference of their logits: {format_number(found.clean)} {clean}, "
        f"{format_number(found.corrupted)} {corrupted} ({pairs})"
    )


def legend_html(seen: Answer) -> str:
    """Return the meaning of the colours, and how far the estimates can be trusted."""
    noise = getattr(seen.found, "direction", "denoise") == "noise"
    does, against = (
        ("taken away", "towards the answer") if noise else ("brought back", "away from the answer")
    )
    keys = [
        (
            "linear-gradient(90deg, transparent, color-mix(in srgb, var(--sae-nb-warm) 50%, transparent))",
            f"0 to 100 % of the answer {does}",
        ),
        ("color-mix(in srgb, var(--sae-nb-blue) 30%, transparent)", against),
    ]
    if not seen.of_atoms:
        grey = "color-mix(in srgb, var(--sae-nb-quiet) 30%, transparent)"
        keys.insert(1, (grey, f"within {control_words(seen)} there"))
    parts = "".join(
        f'<span><i style="background:{colour}"></i>{escape(words)}</span>' for colour, words in keys
    )
    return f'<div class="sae-nb-patchkey">{parts}<span>{escape(_capital(score_words(seen)))}.</span></div>'


def score_words(seen: Answer) -> str:
    """Return how well estimates and effects agree, and whether the estimates are shown."""
    found = seen.found
    if not seen.exact:
        return "estimates by attribution, one backward pass"
    n = found.effect.size if isinstance(found, PatchMap) else len(found.table)
    r = found.agreement
    if math.isnan(r):
        return f"{format_count(n)} places were measured"
    hidden = "" if shows_estimates(seen) else "; no more than with a control, so they are not shown"
    return (
        f"estimates by attribution against what was measured: correlation {format_number(r)} over "
        f"{format_count(n)} places{hidden}"
    )
