"""Promises of the prose: clean, without repeats, and split the same way everywhere."""

from __future__ import annotations

import re

import pytest

from sae_nb.data import prose
from sae_nb.data._texts import clean_paragraph, first_told, side_of_split

SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+")


def _long_sentences(texts) -> list[str]:
    return [s for t in texts for s in SENTENCE_END.split(t.lower()) if len(s) >= 40]


@pytest.mark.slow
def test_no_long_sentence_is_in_both_halves():
    train, test = prose("train"), prose("test")
    assert not set(_long_sentences(train.texts)) & set(_long_sentences(test.texts))


def test_no_paragraph_shares_a_long_sentence_with_another():
    per_text = [set(_long_sentences([t])) for t in prose("all").texts]
    assert sum(map(len, per_text)) == len(set().union(*per_text))


def test_the_halves_are_the_whole():
    whole, train, test = prose("all"), prose("train"), prose("test")
    assert sorted(whole.texts) == sorted(train.texts + test.texts)
    assert list(whole.topic) == sorted(whole.topic)
    assert len(whole) == len(whole.topic) == len(train) + len(test)
    assert 0.05 < len(test) / len(whole) < 0.16


def test_the_side_of_a_paragraph_depends_on_its_words_alone():
    text = "The del statement unbinds names."
    assert side_of_split(text) == side_of_split("  the DEL\nstatement unbinds names.")
    sides = [side_of_split(f"Paragraph number {i}.") for i in range(1_000)]
    assert 70 < sides.count("test") < 130
    assert [i for i, side in enumerate(sides) if side == "test"][:4] == [34, 49, 59, 61]


def test_there_is_enough_to_read():
    texts = prose("train").texts
    assert sum(map(len, texts)) > 100_000
    assert min(map(len, texts)) >= 60
    assert not any("\n" in t or "  " in t or "::=" in t or ">>>" in t for t in texts)


@pytest.mark.parametrize(
    "block",
    [
        "The assert statement\n********************",
        "   assert_stmt ::= 'assert' expression, which is grammar and surely not an English text.",
        "   >>> print('this is an example at the prompt and surely not an English text at all.')",
        "   for i in range(10):\n       total += values[i] * weights[i] + offsets[i] # and so on.",
        "Too short.",
        "no capital letter at the beginning, so it is the middle of something else entirely.",
        "A sentence that never comes to an end because the block was cut before its last word",
    ],
)
def test_headings_code_and_grammar_are_left_out(block):
    assert clean_paragraph(block) == ""


def test_a_repeat_goes_even_if_it_is_hidden_in_other_words():
    """The first paragraph with a sentence stays, a later one with the same sentence goes."""
    shared = "This very sentence is certainly longer than forty characters."
    texts = [f"One. {shared}", f"Two. {shared.upper()} Three.", "Four is short.", "Four is short."]
    assert first_told(texts) == [True, False, True, False]
