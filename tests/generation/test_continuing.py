"""A text continued before and after an edit, and under random directions."""

from __future__ import annotations

import pytest

import sae_nb as sn
from sae_nb.generation import summarise_continuation
from sae_nb.steering import SteeringRecipe, control_of
from tests.models.small_models import PlainSae, small_gpt


def recipe(strength: float, seed: int = 0) -> SteeringRecipe:
    return SteeringRecipe(hook_point="resid_post.0", atom=5, strength=strength, seed=seed)


@pytest.mark.slow
def test_continuation_is_what_generate_gives() -> None:
    """Before is the plain continuation, after the one under `sn.steer`."""
    words = ["<end>", "the", "cat", "sat", "on", "a", "mat", "<script>", "dog", "ran"]
    gpt, sae = small_gpt(words, initializer_range=0.4), PlainSae(16, 32)
    asked = recipe(8.0)
    record = summarise_continuation(gpt, ["the cat"], sae, asked, max_new_tokens=6)
    plain = gpt.generate("the cat", 6, return_ids=True, echo=False)
    with sn.steer(gpt, "resid_post.0", sae, 5, 8.0):
        steered = gpt.generate("the cat", 6, return_ids=True, echo=False)
    assert list(record.before) == gpt.tokenizer.convert_ids_to_tokens(plain.tolist())
    assert list(record.after) == gpt.tokenizer.convert_ids_to_tokens(steered.tolist())
    assert len(record.rows) == 2 + len(record.random) == 5
    for seed, text in enumerate(record.random):  # each is what its seed alone gives
        one = recipe(8.0, seed)
        with control_of(gpt, sae, one):
            alone = gpt.generate("the cat", 6, return_ids=True, echo=False)
        assert list(text) == gpt.tokenizer.convert_ids_to_tokens(alone.tolist())
    nothing = summarise_continuation(gpt, ["the cat"], sae, recipe(0.0), max_new_tokens=6)
    assert nothing.after == nothing.before == record.before
