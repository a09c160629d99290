"""Stories are read by the grammar that told them, and nonsense is not."""

from __future__ import annotations

import pytest

from sae_nb.data import stories
from sae_nb_studies.pretrained import neutral_beginnings, story_sentiment


@pytest.mark.slow
def test_every_story_is_read_as_it_was_meant() -> None:
    told = stories(500, seed=77)
    for text, sentiment in zip(told.texts, told.sentiment.tolist(), strict=True):
        read = story_sentiment(text)
        assert read.sign == (1 if sentiment else -1), text
        assert read.grammatical == read.sentences > 0, text


def test_sentences_count_only_whole_and_word_for_word() -> None:
    assert story_sentiment("The dog came home safe and well.").sign == 1
    assert story_sentiment("The dog came home safe and ill.") == (0, 1, 0)
    assert story_sentiment("The dog came home safe and well") == (0, 0, 0)
    assert story_sentiment("He addorm came to the market and burned the gate.").sign == 0
    assert story_sentiment("") == (0, 0, 0)


def test_beginnings_are_neutral_and_end_a_sentence() -> None:
    told = stories(100, seed=5)
    for text, beginning in zip(told.texts, neutral_beginnings(100, seed=5), strict=True):
        assert text.startswith(beginning)
        assert beginning.endswith(".")
        read = story_sentiment(beginning)
        assert read.sign == 0
        assert read.grammatical == read.sentences >= 1
        assert story_sentiment(text[len(beginning) :]).sign != 0
