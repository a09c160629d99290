"""The first sight of two corpora against their shares, drawn at random and read by comparisons of their own."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sae_nb_widgets.corpora._pairs import answer, headline, pair_rows, pairs_html, tells

from sae_nb.corpora import CorpusSummary

NAMES = ("humour, fun", "all", "noun after “the”", "", "dark", "n" * 80)
WORDS = ("laughed", "gate", "the", "")
few = settings(max_examples=120)
share = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.505, 0.9, 1.0])
drawn_atoms = st.lists(
    st.tuples(share, share, st.sampled_from(NAMES), st.sampled_from(WORDS)), max_size=14
)
drawn_words = st.dictionaries(st.sampled_from(WORDS[:3]), st.tuples(share, share))


def summary(atoms: list[Any], words: dict[str, tuple[float, float]]) -> CorpusSummary:
    table = pd.DataFrame(
        {
            "a": [a for a, *_ in atoms],
            "b": [b for _, b, *_ in atoms],
            "difference": [a - b for a, b, *_ in atoms],
            "q": [0.001] * len(atoms),
            "word": [word for *_, word in atoms],
        },
        index=range(len(atoms)),
    )
    simpler = pd.DataFrame(
        [(word, a, b) for word, (a, b) in words.items()], columns=["word", "a", "b"]
    )
    return CorpusSummary(
        table=table, names=("sad", "glad"), n_a=40, n_b=40, min_count=5, simpler=simpler
    )


@few
@given(atoms=drawn_atoms, words=drawn_words)
def test_what_is_said_of_two_corpora_is_so(atoms: list[Any], words: dict[str, Any]) -> None:
    """A side has atoms that it has more of; "only" and "as much" are two thirds and all but a twentieth."""
    found = summary(atoms, words)
    order = np.argsort([-abs(a - b) for a, b, *_ in atoms], kind="stable").astype(int)
    rows = pair_rows(found, order, lambda atom: atoms[atom][2], lambda _: ("a", "word", "b"))
    for side, mine in enumerate(rows):
        assert len(mine) <= 5
        assert len({row.word for row in mine if row.word}) == sum(bool(row.word) for row in mine)
        gaps = [atoms[row.atom][side] - atoms[row.atom][1 - side] for row in mine]
        assert all(gap > 0 for gap in gaps)
        assert gaps == sorted(gaps, reverse=True)
    title, said = headline(found, rows), answer(found, rows)
    if any(a != b for a, b, *_ in atoms):
        assert ("of sad" in title.lower()) == any(a > b for a, b, *_ in atoms)
        assert ("of glad" in title.lower()) == any(b > a for a, b, *_ in atoms)
        every = [row for side in rows for row in side]
        most = max(abs(atoms[row.atom][0] - atoms[row.atom][1]) for row in every)
        numbers = [float(one) / 100 for one in re.findall(r"([\d.]+)\s?%", said)]
        assert numbers[0] - numbers[1] == pytest.approx(most, abs=0.011)
        if "the word" in said:
            word = re.search(r"the word “(\w+)” stands", said)[1]
            a, b = words[word]
            side = 0 if "% of sad" in said.partition(" and ")[0].replace("\u2009", " ") else 1
            assert numbers[2] == pytest.approx((a, b)[side], abs=0.006)
            gap = (a - b) if side == 0 else (b - a)
            assert ("only" in said) == (gap / most < 2 / 3)
        tied = {
            row.word
            for row in every
            if row.word in words
            and (words[row.word][0] - words[row.word][1]) / (row.a - row.b) >= 0.95
        }
        assert set(re.findall(r"“(\w+)”", said.partition(" For ")[2])) == tied
    else:
        assert title.startswith("No atom")
        assert pairs_html(found, rows, "story") == ""


def test_named_atoms_come_before_those_that_are_known_by_a_word() -> None:
    """A name of none, or of a place in a sentence, is left out, and the word at the peak stands in."""
    assert [tells(name) for name in NAMES] == [True, False, False, False, True, True]
    atoms = [(0.9, 0.1, "all", "gate"), (0.8, 0.1, "dark", "storm"), (0.1, 0.5, "", "")]
    found = summary(atoms, {"gate": (0.9, 0.1)})
    first, second = pair_rows(
        found, np.arange(3), lambda atom: atoms[atom][2], lambda _: ("", "", "")
    )
    assert [row.called for row in first] == ["at “gate”", "dark"]
    assert headline(found, (first, second)) == "Atoms of sad: “gate”, “dark”; of glad: atom 2"
    assert "For “gate” a count of words separates the two as well" in answer(found, (first, second))
    html = pairs_html(found, (first, second), "story")
    assert html.count("sae-nb-tick") == 3  # two bars of one word, and the legend
