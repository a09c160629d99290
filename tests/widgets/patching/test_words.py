"""What is said of a map against its numbers: at which word, from which block on, beyond its controls."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from hypothesis import given, settings, strategies as st
from sae_nb_widgets.patching._queries import Answer, seen
from sae_nb_widgets.patching._words import (
    claim,
    hundredths,
    legend_html,
    map_words,
    row_names,
    shows_estimates,
)

from sae_nb.circuits import PatchMap

WORDS = ("The", " keys →  key", " to", " cabinet")
PLAIN = ("The", "keys", "to", "cabinet")
N = 5


def patched(
    effect: Any,
    controls: Any = 0.0,
    estimated: Any = None,
    words: tuple[str, ...] = WORDS,
    **more: Any,
) -> Answer:
    effect = np.asarray(effect, dtype=float)
    every = np.asarray(controls, dtype=float)
    every = np.broadcast_to(every, (every.shape[0] if every.ndim == 3 else 1, *effect.shape))
    given = {
        "sites": "resid", "direction": "denoise", "method": "exact", "name": "“are” − “is”", "n_pairs": 1,
        "clean": 2.0, "corrupted": -1.0, "rows": tuple(map(str, range(len(effect)))), "columns": words,
        "effect": effect, "estimated": effect if estimated is None else estimated, "control": every[0],
        "control_source": "random directions", "controls": every if len(every) > 1 else None,
    }  # fmt: skip
    return seen(PatchMap(**{**given, **more}), "exact")


def moved(at: list[int], share: float = 0.9) -> np.ndarray:
    """A map with a share at one word of each row, and nothing elsewhere; −1: at no word."""
    effect = np.zeros((len(at), len(WORDS)))
    for row, word in enumerate(at):
        if word >= 0:
            effect[row, word] = share
    return effect


share = st.sampled_from([-0.6, -0.1, 0.0, 0.0, 0.1, 0.3, 0.49, 0.5, 0.51, 0.9, 1.2])
effects = st.lists(st.lists(share, min_size=4, max_size=4), min_size=1, max_size=N)
MOVES = re.compile(r"(?:At block (\d+) the|The) answer “are” moves from “(\w+)” to “(\w+)”")


@settings(max_examples=400)
@given(drawn=effects, control=st.lists(share, min_size=1, max_size=3))
def test_what_is_said_of_states_is_so(drawn: list[list[float]], control: list[float]) -> None:
    """Read row by row: a word carries with the most of its row, half at least, and beyond every control."""
    controls = np.array([np.full((len(drawn), 4), one) for one in control])
    low, high = min(0.0, *control), max(0.0, *control)
    said = claim(patched(drawn, controls))
    carried = []  # word → its rows
    for r, row in enumerate(drawn):
        most = max(row)
        if most >= 0.5 and most > high:
            word = PLAIN[row.index(most)]
            if carried and carried[-1][0] == word:
                carried[-1][1].append(r)
            else:
                carried.append((word, [r]))
    words = [word for word, _ in carried]
    if "No single place carries" in said.title:
        assert words == []
    elif "more than one word" in said.title:
        old, new = PLAIN.index(words[0]), PLAIN.index(words[-1])
        assert (
            len(words) > 2
            or len(set(words)) < len(words)
            or all(row[new] <= row[old] for row in drawn[carried[0][1][0] :])
        )
    elif "stays" in said.title:
        assert words == [said.title.split("“")[2].rstrip("”")]
        assert ("t every block" in said.answer) == (carried[0][1] == list(range(len(drawn))))
    else:
        block, old, new = MOVES.fullmatch(said.title).groups()
        assert words == [old, new]
        column, other = PLAIN.index(new), PLAIN.index(old)
        begin = carried[0][1][0]
        more = [r for r in range(begin, len(drawn)) if drawn[r][column] > drawn[r][other]]
        assert said.moves_at == more[0]
        there, before = drawn[more[0]][column], drawn[more[0] - 1][column]
        named = not low <= there <= high and low <= before <= high
        assert (block is not None) == named
        if block is not None:
            assert int(block) == more[0] - 1
        for verb, number in (("brings back", before), ("takes away", before)):
            if f"{verb} {100 * abs(number):.0f}" in said.answer.partition(", one block")[0]:
                assert (number >= 0) == (verb == "brings back") or number == 0
    assert len(said.title.split()) <= 12
    biggest = max(abs(one) for one in control)
    assert (
        f"{len(control)} random change{'s' * (len(control) > 1)} there: at most {100 * biggest:.0f}"
        in said.answer
    )


def test_an_answer_that_moves_once_is_named_by_the_block_that_moved_it() -> None:
    """Before block 3 is after block 2: what a map of neurons writes there is called the same."""
    map_ = patched(moved([1, 1, 1, 3, 3]))
    said = claim(map_)
    assert said.title == "At block 2 the answer “are” moves from “keys” to “cabinet”"
    assert said.moves_at == 3
    assert "After block 1 the state at “cabinet” brings back 0" in said.answer
    assert row_names(map_) == ("after block", ("–", "0", "1", "2", "3"))


def test_a_move_that_is_not_apart_from_its_controls_a_block_before_names_no_block() -> None:
    """At “cabinet” a tenth is there a block earlier, and of the controls nothing."""
    effect = moved([1, 1, 1, 3, 3])
    effect[2, 3] = 0.1
    assert claim(patched(effect)).title == "The answer “are” moves from “keys” to “cabinet”"
    assert claim(patched(effect, 0.1)).title.startswith("At block 2")


def test_an_effect_at_its_control_is_inside() -> None:
    assert "No single place" in claim(patched(moved([1, 1, 1, 1, 1], 0.6), 0.6)).title
    assert "stays" in claim(patched(moved([1, 1, 1, 1, 1], 0.61), 0.6)).title


def test_the_control_beside_a_share_is_that_of_its_own_place() -> None:
    """A cell of the first word goes further at random; the sentence is about another, which the margin draws."""
    chance = np.zeros((2, 5, 4))
    chance[0, :, 0], chance[1, 3, 3] = 0.35, -0.23
    assert claim(patched(moved([1, 1, 1, 3, 3]), chance)).answer.endswith("at most 23\u2009%.")


def test_a_map_says_what_is_put_where() -> None:
    put = map_words(patched(moved([1, 1, 1, 3, 3])))
    assert "“The keys to cabinet” put into “The key to cabinet”" in put
    assert put.endswith("brought back")
    taken = map_words(patched(moved([1, 1, 1, 3, 3]), direction="noise"))
    assert "“The key to cabinet” put into “The keys to cabinet”" in taken
    assert taken.endswith("taken away")
    assert "Share of the answer" in map_words(patched([[0.9]], sites="heads", words=("0",)))


def test_a_share_is_written_alike_everywhere() -> None:
    assert [hundredths(x) for x in (0.6947, 1.013, 0.997, -0.031, 0.0012, -0.0001)] == [
        "69", "101", "100", "−3.1", "0.12", "0"
    ]  # fmt: skip


def test_heads_are_named_only_beyond_their_controls() -> None:
    effect = np.array([[0.0, 0.9], [0.2, 0.0]])
    heads = {"sites": "heads", "words": ("0", "1"), "control_source": "other pairs"}
    assert (
        claim(patched(effect, 0.1, **heads)).title
        == "Head 0.1 alone brings back 90\u2009% of the answer “are”"
    )
    assert claim(patched(effect, 0.95, **heads)).title == "No single place goes beyond its control"
    assert "1 draw of other pairs" in claim(patched(effect, 0.1, **heads)).answer


def test_an_estimate_is_no_finding() -> None:
    found = patched(moved([1, 1, 1, 3, 3]), method="attribution")
    assert claim(found).title == ""
    assert claim(found).answer.startswith("By the estimate")


def test_estimates_are_shown_where_they_are_more_like_it_than_like_a_control() -> None:
    effect = moved([1, 1, 1, 3, 3])
    chance = np.stack([moved([0, 2, 0, 2, 1], 0.2), moved([2, 2, 2, 0, 0], 0.1)])
    other = patched(effect, chance, estimated=moved([0, 2, 0, 2, 1]))
    assert not shows_estimates(other)
    assert "not shown" in legend_html(other)
    assert shows_estimates(patched(effect, chance))
    assert math.isnan(patched(np.zeros((2, 4))).found.agreement)


def test_names_of_eighty_letters_and_maps_of_one_place() -> None:
    long = "x" * 80
    assert long in claim(patched([[0.9]], words=(long,))).title
    assert "No single place" in claim(patched([[0.0]], words=(long,))).title
