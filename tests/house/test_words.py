"""Words that were replaced stay out of what people read: pages, notebooks, claims, definitions, errors."""

from __future__ import annotations

import re

import pytest
from prose import CODE, SOURCES

# The word → what to write instead.
WORDS = {
    r"\btold\b|\btells?\b(?! (a|the|short) stor| us)|\btelling\b": "predict, reconstruct, detect, …",
    r"\b(order|direction|directions|orders) of chance\b": "random order, random directions",
    r"\bas many\b(?! as (you|half))": "the same number of",
    r"\bbeside (its|their|the) (floor|floors|null|control)\b": "with its floor",
    r"\bpictures?\b": "image",
    r"\brandom push|\bpush(es|ed)? (at|hard)\b": "perturbation",
    r"\brebirths?\b|\breborn\b": "resampling",
    r"\bpush-up loss\b": "pre-activation loss",
    r"\bswallow(s|ed|ing)?\b": "absorb",
    r"\b(living|silent) (atom|model|latent)s?\b": "alive, dead, live",
    r"\blisteners?\b": "callback",
    r"\bmake proofs\b|\bproof experiments?\b": "reproduction",
    r"\bready-made\b|\bready_made": "pretrained",
    r"\blie to each other\b": "which are alike",
    r"\bmade good\b": "corrected",
    r"\bstands? for\b": "represents",
}
BANNED = re.compile("|".join(f"(?:{word})" for word in WORDS), re.IGNORECASE)
READ = {name: source for name, source in SOURCES.items() if name != "docstrings"}


@pytest.mark.parametrize("source", READ)
def test_replaced_words_stay_away(source: str) -> None:
    """Each with where it stands; the list above says what to write instead."""
    read = list(READ[source]())
    assert len(read) > 10
    found = [
        f"{file}: …{text[max(hit.start() - 30, 0) : hit.end() + 30]}…".replace("\n", " ")
        for file, _, text, _ in read
        for hit in BANNED.finditer(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "planted",
    [
        "No single atom tells it.",
        "with an order of chance",
        "the same, with as many atoms",
        "each beside its floor",
        "Four pictures",
        "dead atoms are reborn",
        "a child swallows its parent",
        "living atoms",
        "a listener is called",
        "Ready-made SAEs",
        "How do concepts lie to each other?",
        "what an atom stands for",
    ],
)
def test_a_planted_word_is_found(planted: str) -> None:
    """One sentence for each kind."""
    assert BANNED.search(planted)


def test_code_and_stories_pass() -> None:
    """Names that people type, and what a language model does."""
    assert not BANNED.search(
        CODE.sub("", "`sn.data.pictures(folder)` and [this](pictures/map.webp)")
    )
    assert not BANNED.search("has learned to tell short stories; as many as you like")
