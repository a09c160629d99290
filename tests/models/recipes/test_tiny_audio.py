"""Promises of the recipe of the sound model: an honest card, with chance and controls; unseen sounds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from sae_nb.data import sounds
from sae_nb.models._sound_transformer import SoundTransformer
from sae_nb_studies.recipes import tiny_audio
from sae_nb_studies.recipes.tiny_audio import (
    AudioRecipe,
    AudioRun,
    accuracies,
    chances,
    probed,
    train_tiny_audio,
)

pytestmark = pytest.mark.slow

RECIPE = AudioRecipe(
    steps=6, decay_steps=3, batch=4, log_every=2, n_held_out=8, warmup_steps=2, seed=1
)


def test_the_card_states_what_the_file_does(tmp_path, monkeypatch):
    """Accuracy is that of the fp16 weights read back; chance, probe and untrained network stand by it."""
    monkeypatch.setattr(tiny_audio, "N_JUDGED", 24)
    card = train_tiny_audio(RECIPE, tmp_path)
    folder = tmp_path / "tiny-audio"
    assert json.loads((folder / "card.json").read_text()) == card
    model, held_out = SoundTransformer.from_folder(folder), sounds(24, seed=2_001)
    found = card["held_out"]
    assert found["accuracy"] == accuracies(model, held_out)
    assert found["chance"] == chances(held_out)
    assert found["probe"] == probed(model, sounds(24, seed=1_001), held_out)
    assert found["accuracy"].keys() == found["untrained"].keys() == found["probe"].keys()
    assert card["clips_seen"] == 24
    assert card["command"] in (folder / "card.md").read_text()


def test_training_lowers_the_loss():
    """Fifteen steps on one batch fit it."""
    state = AudioRun(replace(RECIPE, steps=200, batch=16))
    batch, losses = sounds(16, seed=0), []
    with torch.random.fork_rng(devices=[]):
        for _ in range(15):
            state.advance(batch)
            losses.append(state.loss)
    assert losses[-1] < 0.8 * losses[0]
