"""Promises of the recipe of two towers: its loss by hand, pairs that belong together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sae_nb.data import captions, scenes
from sae_nb_studies.recipes.two_towers import (
    TowersRecipe,
    TowersTraining,
    embeddings,
    judge,
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


def test_every_word_has_a_token_of_its_own():
    """No caption has an unknown word; each begins and ends with its mark and fits into the context."""
    tokenizer = new_tokenizer()
    drawn = scenes(200, seed=5)
    ids = make_pairs(drawn, tokenizer, 7).ids
    assert not bool((ids == tokenizer.unk_token_id).any())
    assert bool((ids[:, 0] == tokenizer.bos_token_id).all())
    assert bool(((ids == tokenizer.eos_token_id).sum(dim=1) == 1).all())
    assert ids.shape[1] <= tokenizer.model_max_length
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == captions(drawn, 7)[0]


def test_towers_that_learned_nothing_find_nothing():
    """Retrieval near chance; the gap is there from the start."""
    training = TowersTraining(replace(RECIPE, seed=3))
    found = judge(training.model, make_pairs(scenes(100, seed=0), new_tokenizer(), 0))
    assert found["image_to_text"] < 0.1
    assert found["text_to_image"] < 0.1
    assert found["modality_gap"] > 0.3
