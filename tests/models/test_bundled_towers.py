"""Promises of the two bundled towers: as good as their cards say, small, live, and by one space joined."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

import sae_nb.models
from sae_nb.capturing import capture
from sae_nb.data import captions, scenes
from sae_nb.models import LiveModel, load_model
from sae_nb_studies.recipes.two_towers import held_out_pairs, judge, load_towers, pixel_values

WEIGHTS = Path(sae_nb.models.__path__[0]) / "weights"
TOWERS = ("two-towers@image", "two-towers@text")
N_AGAIN = 400


@functools.cache
def _model(name: str) -> LiveModel:
    return load_model(name, device="cpu")


def _card(name: str) -> dict[str, Any]:
    return json.loads((WEIGHTS / name / "card.json").read_text())


@pytest.mark.slow
def test_they_open_by_name_with_their_cards():
    """One reads images, one texts; both have the standard hook points, and no name stands for both."""
    image, text = map(_model, TOWERS)
    assert (image.kind, text.kind, text.causal) == ("vision", "language", False)
    assert image.patch_grid == (8, 8)
    assert image.structure.additive is True
    for model, name in ((image, TOWERS[0]), (text, TOWERS[1])):
        assert model.name == name
        assert model.card == _card(name)
        assert model.dtype == torch.float32
        assert {"resid_post.0", "mlp_out.1"} <= set(model.hook_points())
    with pytest.raises(ValueError, match="image, text"):
        load_model("two-towers")


def test_an_answer_is_the_embedding_the_recipe_judges():
    """`model(…)` of both, and `capture` at the projection, one row per pair."""
    drawn = scenes(5, seed=3, split="test")
    said = captions(drawn, seed=4)
    image, text = map(_model, TOWERS)
    x, y = image(drawn.images), text(said)
    assert x.shape == y.shape == (5, 64)
    both = load_towers(*(WEIGHTS / name for name in TOWERS))
    with torch.no_grad():
        own = both.visual_projection(
            both.vision_model(pixel_values=pixel_values(drawn.images)).pooler_output
        )
    torch.testing.assert_close(x, own, rtol=1e-3, atol=2e-2)  # images pass through bytes
    torch.testing.assert_close(text(said[:2]), y[:2], rtol=1e-4, atol=1e-4)
    acts = capture(image, drawn.images, "resid_post.1", progress=False)
    assert acts.d_in == image.width("resid_post.1")
    assert len(capture(text, said, "resid_post.1", progress=False).sample.unique()) == 5


@functools.cache
def _measured() -> dict[str, float]:
    both = load_towers(*(WEIGHTS / name for name in TOWERS))
    return judge(both, held_out_pairs(_model(TOWERS[1]).tokenizer, seed=77, n=N_AGAIN))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["image_to_text", "text_to_image"])
def test_unseen_pairs_are_found_as_often_as_the_card_says(way):
    """Among 400 others: easier than among the card's thousand, and far above chance."""
    promised = _card(TOWERS[0])["held_out"]["measured"][way]
    assert _measured()[way] > promised - 3 * (promised * (1 - promised) / N_AGAIN) ** 0.5
    assert promised > 20 / 1000


@pytest.mark.slow
def test_the_gap_is_that_of_the_card():
    """The distance between the means of unseen pairs, by `modality_gap` too."""
    card = _card(TOWERS[0])["held_out"]["measured"]
    measured = _measured()
    assert measured["modality_gap"] == pytest.approx(card["modality_gap"], abs=0.05)
    drawn = scenes(200, seed=9, split="test")
    both = [_model(TOWERS[0])(drawn.images), _model(TOWERS[1])(captions(drawn))]
    gap = sae_nb.evaluation.modality_gap(both)
    assert gap.value == pytest.approx(card["modality_gap"], abs=0.07)
    cosines = normalize(both[0], dim=1) @ normalize(both[1], dim=1).T
    assert float(cosines.diagonal().mean()) == pytest.approx(card["cosine_of_pairs"], abs=0.05)
