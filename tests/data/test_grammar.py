"""Promises of the stories: every label can be checked against the words."""

from __future__ import annotations

import re

import pytest
import torch

from sae_nb.data import Stories, stories
from sae_nb.data.grammar import CONNECTIVES, ENDINGS, FEELINGS, HAPPENINGS, PEOPLE

N = 600


@pytest.fixture(scope="module")
def told() -> Stories:
    return stories(N, seed=3)


def _clauses(record: Stories) -> list[str]:
    c = record.clauses
    rows = zip(c.story.tolist(), c.start.tolist(), c.end.tolist(), strict=True)
    return [record.texts[story][start:end] for story, start, end in rows]


def test_a_story_depends_on_seed_and_number_alone():
    whole, part = stories(30, seed=5), stories(7, seed=5, start=11)
    assert part.texts == whole.texts[11:18]
    assert torch.equal(part.sentiment, whole.sentiment[11:18])
    assert stories(30, seed=6).texts != whole.texts


def test_the_first_story_never_changes():
    assert stories(1).texts[0] == (
        "One day Rose went to the mountain with a rabbit. She carried the basket in both "
        "hands. The rabbit looked at the basket. The rabbit ran away and did not come "
        "back. Rose wept and trembled with fear. It was the worst day of the year."
    )


def test_stories_have_three_to_eight_sentences(told):
    """Both ends occur; every sentence ends with a full stop and begins with a capital."""
    lengths = torch.bincount(told.clauses.story)
    assert (int(lengths.min()), int(lengths.max())) == (3, 8)
    for clause in _clauses(told):
        assert re.fullmatch(r"[A-Z][^.]*\.", clause), clause


def test_mentions_are_exactly_where_the_names_are(told):
    m = told.mentions
    marked = set(zip(m.story.tolist(), m.start.tolist(), m.end.tolist(), strict=True))
    names = "|".join(told.entities)
    found = {
        (story, match.start(), match.end())
        for story, text in enumerate(told.texts)
        for match in re.finditer(rf"\b(?:{names})\b", text)
    }
    assert marked == found
    for story, start, end, entity in zip(
        m.story.tolist(), m.start.tolist(), m.end.tolist(), m.entity.tolist(), strict=True
    ):
        assert told.texts[story][start:end] == told.entities[entity]


def test_the_cast_is_of_its_kind_and_the_only_one_named(told):
    """Person, animal, place and thing of a story; a plural story names a second person."""
    kinds = told.entity_kinds
    named: dict[int, set[int]] = {}
    for story, entity in zip(
        told.mentions.story.tolist(), told.mentions.entity.tolist(), strict=True
    ):
        named.setdefault(story, set()).add(entity)
    for i in range(len(told)):
        cast = {k: int(getattr(told, k)[i]) for k in ("person", "animal", "place", "thing")}
        assert all(kinds[entity] == kind for kind, entity in cast.items())
        others = named[i] - set(cast.values())
        assert len(others) == int(told.plural[i])
        assert all(kinds[entity] == "person" for entity in others)


def test_subject_number_agrees_with_the_verb(told):
    opening = re.compile(rf"(?:{'|'.join(CONNECTIVES)}) ")
    time = re.compile("One day |Early in the morning |On a quiet evening ")
    for clause, plural in zip(_clauses(told), told.clauses.plural.tolist(), strict=True):
        main = time.sub("", opening.sub("", clause))
        is_plural = re.match(r"[Tt]hey |[A-Z]\w+ and [A-Z]|[Tt]hieves |[Oo]ld friends ", main)
        assert plural == (is_plural is not None), clause
        assert not re.search(r"\b(they|[A-Z]\w+ and [A-Z]\w+) (was|has|feels|remembers)\b", main)
        assert not re.search(r"\b([Ss]he|[Hh]e) (were|have|feel|remember)\b", main)


def test_pronouns_agree_with_the_hero(told):
    pronoun_of = dict(PEOPLE)
    for i, text in enumerate(told.texts):
        used = set(re.findall(r"\b(she|he|they|his|him|them|their)\b", text.lower()))
        if told.plural[i]:
            assert used <= {"they", "them", "their"}
        elif pronoun_of[told.entities[int(told.person[i])]] == "she":
            assert used <= {"she"}
        else:
            assert used <= {"he", "his", "him"}


@pytest.mark.slow
def test_sentiment_of_clauses_is_that_of_their_words(told):
    """A clause is good or bad exactly if its pattern stands in the good or the bad list."""

    def pattern(text: str) -> str:
        parts = [re.escape(p) for p in re.split(r"\{[^}]*\}", text)]
        return r"\w[\w ]*".join(parts)

    lists = {
        sign: re.compile(
            "(?:[A-Z][a-z ]+ )??(?:"
            + "|".join(pattern(p) for p in (*HAPPENINGS[sign], *FEELINGS[sign], *ENDINGS[sign]))
            + ")",
            re.IGNORECASE,
        )
        for sign in (1, -1)
    }
    for clause, sentiment in zip(_clauses(told), told.clauses.sentiment.tolist(), strict=True):
        fits = [sign for sign, known in lists.items() if known.fullmatch(clause)]
        assert fits == ([sentiment] if sentiment else []), clause


def test_events_begin_at_their_boundaries(told):
    c = told.clauses
    up = (c.story[1:] == c.story[:-1]) & (c.event[1:] == c.event[:-1] + 1)
    starts = list(zip(c.story[1:][up].tolist(), c.start[1:][up].tolist(), strict=True))
    assert starts == list(zip(told.boundary_story.tolist(), told.boundary.tolist(), strict=True))
    assert int(c.event.max()) == 2
