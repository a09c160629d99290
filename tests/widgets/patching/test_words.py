"""The sentence of a map of states against its numbers: at which word, after which blocks, beyond the control."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from hypothesis import given, settings, strategies as st
from sae_nb_widgets.patching._queries import Answer, seen
from sae_nb_widgets.patching._words import answer_words, row_names, score_words, shows_estimates

from sae_nb.circuits import PatchMap

WORDS = ("The", " keys → key", " to", " cabinet")
N = 5


def patched(
    effect: Any, control: Any = 0.0, estimated: Any = None, direction: str = "denoise"
) -> Answer:
    effect = np.asarray(effect, dtype=float)
    found = PatchMap(
        sites="resid", direction=direction, method="exact", name="“are” − “is”", n_pairs=1, clean=2.0,
        corrupted=-1.0, rows=tuple(map(str, range(len(effect)))), columns=WORDS, effect=effect,
        estimated=effect if estimated is None else estimated,
        control=np.broadcast_to(np.asarray(control, dtype=float), effect.shape), control_source="another text",
    )  # fmt: skip
    return seen(found, "exact")


def moved(at: list[int], share: float = 0.9) -> np.ndarray:
    """A map with a share at one word of each row, and nothing elsewhere; −1: at no word."""
    effect = np.zeros((len(at), len(WORDS)))
    for row, word in enumerate(at):
        if word >= 0:
            effect[row, word] = share
    return effect


STRETCH = re.compile(
    r"at (“[^”]+”) (?:(at every block)|up to block (\d+)|from block (\d+) (?:on|to block (\d+))|after block "
    r"(\d+)|(before block 0))"
)


def claimed(sentence: str, n: int) -> dict[int, str]:
    """Row → word, as a reader takes the sentence: the state after block b is row b + 1."""
    found: dict[int, str] = {}
    for word, every, until, since, to, only, first in STRETCH.findall(sentence.partition(". ")[0]):
        low, high = 0, n - 1
        if until:
            high = int(until) + 1
        elif since:
            low, high = int(since) + 1, int(to) + 1 if to else n - 1
        elif only:
            low = high = int(only) + 1
        elif first:
            low = high = 0
        assert every or until or since or only or first
        found |= dict.fromkeys(range(low, high + 1), word)
    return found


rows = st.lists(st.integers(-1, len(WORDS) - 1), min_size=N, max_size=N)
shares = st.sampled_from([0.49, 0.5, 0.9, 1.2])


@settings(max_examples=200)
@given(at=rows, share=shares, control=st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_where_the_answer_is_said_to_be_it_is(at: list[int], share: float, control: float) -> None:
    """At every block that is named the word named carries half, more than the control; else nothing is said of it."""
    sentence = answer_words(patched(moved(at, share), control))
    where = claimed(sentence, N) if "difference between the answers is" in sentence else {}
    for row, word in where.items():
        assert at[row] >= 0, sentence
        assert WORDS[at[row]].strip() in word.replace("“ ", "“"), sentence
        assert share >= 0.5
        assert share > control
    if share >= 0.5 and share > control and where:
        assert [row for row in range(N) if at[row] >= 0] == sorted(where), sentence
    if where:
        assert len({*where.values()}) == sum(
            a != b for a, b in zip([-1, *at], at, strict=False) if b >= 0
        )


def test_an_answer_that_moves_once_is_named_by_the_block_that_moved_it() -> None:
    """Before block 3 is after block 2: what a map of neurons writes there is called the same."""
    said = answer_words(patched(moved([1, 1, 1, 3, 3])))
    assert "at “keys → key” up to block 1, at “cabinet” from block 2 on" in said
    assert "the state after block 2" in said.lower()
    assert row_names(patched(moved([1, 1, 1, 3, 3]))) == ("after block", ("–", "0", "1", "2", "3"))


def test_to_and_fro_is_no_move() -> None:
    assert "up to block" not in answer_words(patched(moved([1, 3, 1, 3, 3])))
    assert "at every block" in answer_words(patched(moved([1, 1, 1, 1, 1])))


def test_what_works_against_the_answer_does_not_bring_it_back() -> None:
    against = moved([-1, 2, -1, -1, -1], -0.4)
    assert "takes away 40" in answer_words(patched(against))
    assert "brings back 40" in answer_words(patched(against, direction="noise"))


def test_an_estimate_that_says_something_else_is_not_shown_beside_what_was_measured() -> None:
    effect = moved([1, 1, 1, 3, 3])
    other = patched(effect, estimated=moved([0, 2, 0, 2, 1]))
    assert other.found.agreement < 0.5
    assert not shows_estimates(other)
    assert "too little" in score_words(other)
    assert shows_estimates(patched(effect))
