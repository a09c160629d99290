"""The sentence of a steering on 48 images and 20 texts: it denies no effect, and random directions have none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sae_nb_widgets.steering._words import changed_tokens, verdict_words

import sae_nb as sn
from sae_nb.steering import SteeringRecipe, SteeringSummary, summarise_steering

DIGITS = {4: 308, 7: 132, 2: 17, 0: 92, 8: 105, 3: 82}
"""Atoms of resid_post.6 of tiny-vit by the digit that they are named for."""

TEXTS = [
    "The cat sat on", "She opened the door and", "Once upon a time there", "He did not know", "They went to the",
    "The old man said", "In the morning the", "A little girl was", "The dog ran away and", "It was very cold",
    "The king looked at", "I want to", "There was a big", "My mother told me", "We saw the", "The list of",
    "On the table there was", "Nobody could", "The water was", "At last he",
]  # fmt: skip
DENIAL = "no more than chance"


def at_twice(sae: Any, atom: int, **given: Any) -> SteeringRecipe:
    return SteeringRecipe(
        hook_point=sae.hook_point,
        atom=atom,
        strength=2.0,
        unit="p99",
        p99=float(sae.strength_p99[atom]),
        **given,
    )


def said(summary: SteeringSummary, label: str = "") -> str:
    return verdict_words(summary, label)


@pytest.fixture(scope="module")
def vision() -> tuple[Any, Any, Any]:
    name = "tiny-vit/resid_post.6"
    images = sn.load_examples(name).acts.context.pictures[:8]
    return sn.load_model("tiny-vit"), sn.load_sae(name), images


def test_no_effect_on_an_atoms_own_class_is_denied(vision: tuple[Any, Any, Any]) -> None:
    """48 cases: a class that moves .05, and thrice a usual push, is counted against all; where its digit rises further than under 19 other random directions, that is not called chance.

    By the top class alone some of these were ("stays 2 … no more than chance", while 4 rose from .5 to 15 %).
    """
    model, sae, images = vision
    judged = 0
    for digit, atom in DIGITS.items():
        for i in range(len(images)):
            recipe = at_twice(sae, atom)
            found = summarise_steering(model, images[i : i + 1], sae, recipe)
            moved, drawn = (
                np.abs(values - found.before) for values in (found.after, found.controls)
            )
            if ((moved > 0.05) & (moved > 3 * np.median(drawn, axis=0))).any():
                for label in ("", f"digit {digit}"):
                    assert DENIAL not in said(found, label), (digit, i, said(found, label))
            rises = found.after[digit] - found.before[digit]
            if rises < 0.02:
                continue
            fresh = summarise_steering(model, images[i : i + 1], sae, replace(recipe, seed=500))
            clear = found.after[digit] > 1.5 * max(
                fresh.controls[:, digit].max(), found.controls[:, digit].max()
            )
            if clear:
                judged += 1
                sentence = said(found, f"digit {digit}")
                assert DENIAL not in sentence, (digit, i, sentence)
    assert judged >= 10


def test_random_directions_are_seldom_called_effects(vision: tuple[Any, Any, Any]) -> None:
    """A random direction in the atom's place beats 19 others in about one case of twenty, by either rule."""
    model, sae, images = vision
    by = float(np.median([sae.strength_p99[atom] for atom in DIGITS.values()]))
    claimed = 0
    for seed in range(32):
        direction = sn.steering.random_direction(sae.d_in, 1000 + seed)[None]
        noise = type("Noise", (), {"d_in": sae.d_in, "n_atoms": 1, "dictionary": direction})()
        recipe = SteeringRecipe(hook_point=sae.hook_point, atom=0, strength=2 * by)
        found = summarise_steering(model, images[seed % 8 : seed % 8 + 1], noise, recipe)
        claimed += DENIAL not in said(found)
    assert claimed <= 6  # P < .01 at one in ten


def test_texts_that_move_further_than_at_random_are_not_denied() -> None:
    """20 texts: the verdict is that of the divergence, and the outcome named changes more than the answer."""
    model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    effects = 0
    for text in TEXTS:
        found = summarise_steering(model, [text], sae, at_twice(sae, 25, text=text))
        further = found.kl > found.kl_controls.max()
        effects += further
        assert not (further and DENIAL in said(found)), (text, said(found))
        place = found.names.index(found.changed_most)
        counts = [found.as_far(name) for name in found.names]
        assert counts[place] == min(counts)
    assert effects >= 5


def test_changed_tokens_are_those_that_are_new() -> None:
    """A token that both share in order is not marked, wherever it stands."""
    assert changed_tokens("abcd", "abcd").tolist() == [False] * 4
    assert changed_tokens("abcd", "xabcd").tolist() == [True, False, False, False, False]
    assert changed_tokens("abcd", "").tolist() == []
    assert changed_tokens("", "ab").tolist() == [True, True]
