"""Rows of tokens: a character over several of them counts once, and words are laid out in their direction."""

from __future__ import annotations

import numpy as np
import pytest
from sae_nb_widgets.components._spread_characters import RIGHT_TO_LEFT, directed, gathered, spans

from sae_nb.activations.tokens import CONTINUED


def test_a_character_has_the_largest_strength_of_its_tokens() -> None:
    """By magnitude, with its sign; places that were not read count for nothing."""
    texts = ["a", "ä", CONTINUED, "b", "é", CONTINUED, CONTINUED]
    assert spans(texts) == [(1, 3), (4, 7)]
    strengths = np.array([9.0, 1.0, -3.0, 5.0, np.nan, 2.0, 1.0])
    assert gathered(texts, strengths).tolist() == [9.0, -3.0, -3.0, 5.0, 2.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("texts", "special", "marked"),
    [
        (["<|begin|>", "1, ", "مرحبا"], [True, False, False], True),
        (["<|begin|>", "שלום", " Tom"], [True, False, False], True),
        (["<|begin|>", "Tom ", "مرحبا"], [True, False, False], False),
        (["مرحبا", "."], [False, False], False),
        (["<|begin|>", "123"], [True, False], False),
        ([], [], False),
    ],
)
def test_a_text_is_laid_out_in_the_direction_of_its_words(texts, special, marked: bool) -> None:
    """Not in that of the special token's name; a page asks nothing where there is none."""
    shown = directed(texts, special)
    assert [text.lstrip(RIGHT_TO_LEFT) for text in shown] == texts
    assert [text.startswith(RIGHT_TO_LEFT) for text in shown[:1]] == [marked][: len(texts)]
