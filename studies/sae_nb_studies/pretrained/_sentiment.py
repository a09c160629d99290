"""Whether a story goes well or badly, read off its sentences by the grammar that wrote it.

A sentence counts if the grammar can make it, word for word, with any names in its slots; a story's
sentiment is the sign of the sum of its sentences'.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from sae_nb.checks import Seed, checked
from sae_nb.data import stories
from sae_nb.data.grammar import (
    ANIMALS,
    BEGINNINGS,
    CONNECTIVES,
    ENDINGS,
    FEELINGS,
    HAPPENINGS,
    PEOPLE,
    PLACES,
    PLAIN,
    THINGS,
)

_SENTENCE = re.compile(r"[^.]+\.")
_SLOT = re.compile(r"\{([^}]*)\}")


class StorySentiment(NamedTuple):
    """Sentiment of a text, sentence by sentence."""

    sign: int
    """1 good, −1 bad, 0 neither, or both alike."""

    sentences: int
    grammatical: int
    """Whole sentences, without an unfinished last one; how many of them the grammar can make."""


@checked
def story_sentiment(text: str) -> StorySentiment:
    """Read the sentiment of a story, or of a continuation of one.

    Example
    -------
    >>> story_sentiment("The dog came home safe and well. Anna was very happy. Then, a").sign
    1
    >>> story_sentiment("Thieves came to the farm and burned the gate. She was very happy.").sign
    0
    """
    total = grammatical = 0
    sentences = [sentence.strip() for sentence in _SENTENCE.findall(text)]
    for sentence in sentences:
        signs = [sign for sign, pattern in _patterns() if pattern.fullmatch(sentence)]
        grammatical += bool(signs)
        total += signs[0] if signs else 0
    return StorySentiment((total > 0) - (total < 0), len(sentences), grammatical)


@checked
def neutral_beginnings(n: int, seed: Seed) -> list[str]:
    """Return how stories begin before anything good or bad has happened: prompts to continue.

    Example
    -------
    >>> {story_sentiment(text).sign for text in neutral_beginnings(5, seed=0)}
    {0}
    """
    whole = stories(n, seed)
    clause = whole.clauses
    plain = clause.sentiment == 0
    ends = {int(s): int(e) for s, e in zip(clause.story[plain], clause.end[plain], strict=True)}
    return [text[: ends[number]] for number, text in enumerate(whole.texts)]


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[int, re.Pattern[str]], ...]:
    charged = [(sign, HAPPENINGS[sign] + FEELINGS[sign] + ENDINGS[sign]) for sign in (1, -1)]
    opening = f"(?:(?:{'|'.join(CONNECTIVES)}) )?"
    return tuple(
        (sign, re.compile(f"{opening}(?:{'|'.join(map(_expression, made))})", re.IGNORECASE))
        for sign, made in [*charged, (0, BEGINNINGS + PLAIN)]
    )


def _expression(pattern: str) -> str:
    pieces = _SLOT.split(pattern)
    return "".join(
        _filling(piece) if at % 2 else re.escape(piece) for at, piece in enumerate(pieces)
    )


def _filling(slot: str) -> str:
    if slot in ("hero", "Hero"):
        names = "|".join(name for name, _ in PEOPLE)
        return f"(?:(?:{names})(?: and (?:{names}))?|she|he|they)"
    words: dict[str, Sequence[str]] = {
        "animal": ANIMALS,
        "beast": ANIMALS,
        "place": PLACES,
        "thing": THINGS,
    }
    return f"(?:{slot if '|' in slot else '|'.join(words[slot])})"
