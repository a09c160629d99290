"""Promises of the recipe of two towers: its loss by hand, pairs that belong together."""

from __future__ import annotations

import pytest
import torch

from sae_nb.data import scenes
from sae_nb_studies.recipes.two_towers import (
    TowersRecipe,
    TowersTraining,
    embeddings,
    make_pairs,
    new_tokenizer,
)

RECIPE = TowersRecipe(
    width=16, image_blocks=1, text_blocks=1, n_heads=2, patch_size=8,
    steps=4, decay_steps=2, batch=8, warmup_steps=2, log_every=2, seed=1,
)  # fmt: skip


def test_the_loss_is_that_of_the_definition():
    """Both cross-entropies by hand."""
    training, tokenizer = TowersTraining(RECIPE), new_tokenizer()
    pairs = make_pairs(scenes(7, seed=0), tokenizer, 0)
    loss = float(training._loss(pairs).detach())
    with torch.no_grad():
        image, text = embeddings(training.model, pairs)
        weights = (training.scale * image @ text.T).exp()
    own = weights.diagonal()
    by_hand = -(own / weights.sum(dim=1)).log() - (own / weights.sum(dim=0)).log()
    assert loss == pytest.approx(float(by_hand.mean() / 2), rel=1e-4)
