"""Promises of the photo recipe: an honest card, and refusals before any work."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import sae_nb as sn
from sae_nb_studies.recipes import photo_vit
from sae_nb_studies.recipes._vision_training import accuracies, photo_batches
from sae_nb_studies.recipes.photo_vit import PhotoRecipe, PhotoTraining, main

pytestmark = pytest.mark.slow

RECIPE = PhotoRecipe(
    steps=6, decay_steps=3, batch=4, log_every=2, n_held_out=8, warmup_steps=2, seed=1
)


def test_the_card_states_what_the_file_does(tmp_path, photos):
    """The model loads like a bundled one; its accuracy is that of the weights read back."""
    given = ["--photos", str(photos), "--out", str(tmp_path), "--steps", "2", "--decay-steps", "1"]
    main([*given, "--seed", "3", "--residual-drop", "0"])
    folder = tmp_path / "photo-vit-drop0-seed3"
    card = json.loads((folder / "card.json").read_text())
    model = sn.load_model(folder)
    assert (model.module.config.d_model, model.module.config.residual_drop) == (96, 0)
    held_out = photo_batches(photos, 3, shift=photo_vit.SHIFT)[1](20)
    assert card["held_out"]["accuracy"] == accuracies(model.module, held_out)
    assert card["pictures_seen"] == 2 * 96
    assert "--residual-drop 0 --steps 2 --decay-steps 1 --seed 3 --out DIR" in card["command"]


def test_training_lowers_the_loss(photos):
    """Twenty-five steps on one batch fit it; the heads that have no labels stay as they were drawn."""
    state = PhotoTraining(replace(RECIPE, steps=200, batch=16))
    batch = photo_batches(photos, 0, shift=photo_vit.SHIFT)[0](0, 16)
    drawn, losses = state.model.texture.weight.clone(), []
    with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
        for _ in range(25):
            state.advance(batch)
            losses.append(state.loss)
    assert losses[-1] < 0.7 * losses[0]
    assert torch.equal(state.model.texture.weight, drawn)
