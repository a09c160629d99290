"""Exchanging layers: nothing lost where two layers are one, everything back in its place afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.data import scenes
from sae_nb.models import LiveModel, load_model
from sae_nb_studies.dynamics import swap_layers
from tests.refusing import refused


@pytest.fixture(scope="module")
def tied() -> LiveModel:
    return load_model("tiny-vit-tied")


@pytest.mark.slow
def test_layers_of_a_true_phase_can_be_exchanged(tied: LiveModel) -> None:
    pictures = scenes(24, seed=3)
    pairs = [(1, 4), (5, 8), (9, 12), (4, 5), (2, 10), (8, 9)]
    found = swap_layers(tied, pictures, pictures.digit, pairs=pairs)
    contrast = found.within_and_across((0, 4, 8, 12))
    assert contrast.within == 0
    assert contrast.across > 0.1
    assert np.isnan(found.drop[0, 1])
    assert found.score[0, 0] == found.whole
    assert found.score[0, 3] == found.score[3, 0]


def test_the_model_is_as_it_was_also_after_an_error(tied: LiveModel) -> None:
    pictures, blocks = scenes(2, seed=0).images, list(tied.module.blocks)
    before = tied(pictures)
    swap_layers(tied, pictures, pairs=[(1, 12)])
    assert torch.equal(tied(pictures), before)

    def refuse(*_: object) -> None:
        raise RuntimeError("no")

    handle = blocks[0].register_forward_hook(refuse)
    refused("no", swap_layers, tied, pictures, pairs=[(1, 12)], error=RuntimeError)
    handle.remove()
    assert all(a is b for a, b in zip(tied.module.blocks, blocks, strict=True))


def test_own_answers_stand_in_for_labels(tied: LiveModel) -> None:
    found = swap_layers(tied, scenes(3, seed=0), head="texture", pairs=[(1, 2)])
    assert found.whole == 1.0
    assert found.against == "own answers"
    assert found.score[0, 1] == 1.0


@pytest.mark.slow
def test_language_models_can_be_tried_too() -> None:
    model = load_model("tiny-gpt")
    found = swap_layers(model, torch.arange(20).view(2, 10), pairs=[(1, 2)])
    assert found.whole == 1.0
    assert 0 <= found.score[0, 1] <= 1
