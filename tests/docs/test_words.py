"""The dozen words that a student stumbles over most stay out of what is read."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "tools"))

from prose import SOURCES  # noqa: E402

# The word → what to write instead.
WORDS = {
    r"\btold\b|\btells?\b(?! (a|the|short) stor| us)|\btelling\b": "predict, reconstruct, detect",
    r"\b(order|direction|directions|orders) of chance\b": "random order, random directions",
    r"\bbeside (its|their|the) (floor|floors|null|control)\b": "with its floor",
    r"\bpush(es|ed)? (at|hard)\b": "perturbation",
    r"\brebirths?\b|\breborn\b": "resampling",
    r"\bswallow(s|ed|ing)?\b": "absorb",
    r"\b(living|silent) (atom|model|latent)s?\b": "alive, dead, live",
    r"\blisteners?\b": "callback",
    r"\bready-made\b|\bready_made": "pretrained",
    r"\bstands? for\b": "represents",
    r"\b(?:somebody|nobody|whoever)\b": "you, or the passive",
    r"\banew\b": "again",
}
READ = ("errors", "pages", "notebooks")


@pytest.mark.parametrize("source", READ)
def test_replaced_words_stay_away(source: str) -> None:
    """Each with where it is; the list above has what to write instead."""
    read = list(SOURCES[source]())
    assert len(read) > 10
    found = [
        f"{prose.file}: …{prose.text[max(hit.start() - 30, 0) : hit.end() + 30]}… → {better}"
        for prose in read
        for word, better in WORDS.items()
        for hit in re.finditer(word, prose.text, re.IGNORECASE)
    ]
    assert not found, "\n".join(found)
