"""Sentences about the words of a region against the record, and the region enlarged."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given, settings, strategies as st
from sae_nb_widgets.concept_map._region import map_title, region_html, words_answer, words_title

from sae_nb.atoms import HeldWords

part = st.sampled_from([0.0, 0.01, 0.03, 0.0301, 0.24, 0.25, 1.0, float("nan")])
NAMES = ["all", "some", "w" * 80, "<b>", "any", "never", "ever"]


def held(share: float, random: list[float], n_words: int = 4, **more: Any) -> HeldWords:
    return HeldWords(
        words=tuple(NAMES[:n_words]), share=share, random=np.array(random), strongest=(), **more
    )


@settings(max_examples=200)
@given(
    share=part, random=st.lists(part, max_size=4), n_words=st.integers(0, 7), n=st.integers(2, 5000),
    is_region=st.booleans(),
)  # fmt: skip
def test_a_region_fires_on_words_only_where_they_hold_on_other_texts(
    share: float, random: list[float], n_words: int, n: int, is_region: bool
) -> None:
    found = held(share, random, n_words)
    title, (answer, how, bold) = words_title(found, n, is_region=is_region), words_answer(found, n)
    holds = (
        bool(random)
        and share >= 8 * sum(random) / len(random)
        and all(share > one for one in random)
    )
    quoted = re.findall("“(.+?)”", title)
    said = holds and n_words > 0
    assert ("fire" in title) == (said and share >= 0.5)
    assert ("prefer" in title) == (said and share < 0.5)
    assert quoted == (NAMES[: min(4, n_words)] if holds else [])
    assert ("share few" in title) == (not holds or not n_words)
    assert len(title.split()) <= 12
    if not (random and n_words):
        assert (how, bold) == ("", ())
    elif np.isfinite([share, *random]).all():
        first, second = (float(text) / 100 for text in re.findall(r"([\d.]+)\u2009%", answer))
        assert abs(first - share) <= 0.006
        assert abs(second - sum(random) / len(random)) <= 0.006
        assert bold[0] in answer
        assert str(len(random)) in how


def test_a_map_without_a_region_that_holds_says_so_in_its_title() -> None:
    def of(*found: HeldWords | None) -> str:
        return map_title(SimpleNamespace(clusters=[SimpleNamespace(held=one) for one in found]))

    few, good = held(0.02, [0.01]), held(0.3, [0.01])
    assert of(few, few) == "Neighbours on this map share little"
    assert of(few, good) == of(few, None) == of() == map_title(None) == ""


def test_words_of_an_enlarged_region_do_not_lie_on_each_other() -> None:
    """Of three atoms at one place one is a word, the word of the title; the others are points."""
    found = HeldWords(
        words=("all",),
        share=0.3,
        random=np.array([0.01]),
        strongest=("the", "all", "", "of<b>", "no"),
    )
    places = np.array([[0, 0]] * 7 + [[0.0, 1.0], [1.0, 1.0]], np.float32)
    record = SimpleNamespace(show="atoms", ids=np.arange(9), xy=places)
    drawn = region_html(record, SimpleNamespace(held=found, atoms=np.array([1, 2, 3, 8, 7])))
    assert re.findall(r"<text[^>]*>([^<]*)</text>", drawn) == ["all", "of&lt;b&gt;", "no"]
    assert drawn.count("<circle") == 2
    assert region_html(record, SimpleNamespace(held=None, atoms=np.array([1]))) == ""
    alone = HeldWords(words=(), share=0.0, random=np.zeros(0), strongest=("all",))
    assert "nan" not in region_html(record, SimpleNamespace(held=alone, atoms=np.array([1])))
