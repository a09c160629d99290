"""How a row of tokens is laid out: characters that are spread over several, and words read from the right."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sae_nb.activations.tokens import CONTINUED

RIGHT_TO_LEFT = "\u200f"


def directed(texts: Sequence[str], special: Sequence[bool]) -> list[str]:
    """Return texts that are laid out in the direction of the words, not of a special token's name.

    A browser takes the direction of the first letter: before words that are read from the right goes a mark.
    """
    words = (letter for text, mark in zip(texts, special) if not mark for letter in text)
    strong = next((d for d in map(unicodedata.bidirectional, words) if d in ("L", "R", "AL")), "L")
    if strong == "L" or not any(special):
        return list(texts)
    return [RIGHT_TO_LEFT + texts[0], *texts[1:]]


def gathered(
    texts: Sequence[str], strengths: Float[np.ndarray, " tokens"]
) -> Float[np.ndarray, " tokens"]:
    """Return strengths in which a character spread over many tokens has the largest of theirs."""
    out = np.array(strengths)
    for start, stop in spans(texts):
        numbers = out[start:stop][~np.isnan(out[start:stop])]
        if len(numbers):
            out[start] = numbers[np.abs(numbers).argmax()]
    return out


def spans(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Return first and last-plus-one of the tokens of each character spread over more than one."""
    ends: list[tuple[int, int]] = []
    for i, text in enumerate(texts):
        if text != CONTINUED or i == 0:
            continue
        if ends and ends[-1][1] == i:
            ends[-1] = (ends[-1][0], i + 1)
        else:
            ends.append((i - 1, i + 1))
    return ends
