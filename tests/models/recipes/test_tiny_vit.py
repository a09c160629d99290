"""Promises of the vision recipe: honest cards, and data it never mixes up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from sae_nb.models._vision_transformer import VisionTransformer
from sae_nb_studies.recipes import tiny_vit
from sae_nb_studies.recipes._vision_training import (
    RecipeConfig,
    TrainingState,
    accuracies,
    photo_batches,
)
from sae_nb_studies.recipes.tiny_vit import train_tiny_vit

CONFIG = RecipeConfig(
    steps=6, decay_steps=3, batch=4, log_every=2, n_held_out=8, warmup_steps=2, seed=1
)


@pytest.fixture(autouse=True)
def _few_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_vit, "N_JUDGED", 24)


@pytest.mark.slow
def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    """Only how long it takes may change, and only before the step size begins to fall."""
    state = TrainingState(CONFIG)
    state.save(tmp_path)
    TrainingState(replace(CONFIG, steps=9, log_every=7)).restore(tmp_path)
    with pytest.raises(ValueError, match="must continue with the recipe it was begun with"):
        TrainingState(replace(CONFIG, batch=5)).restore(tmp_path)
    with pytest.raises(ValueError, match="'data': 'cifar10'"):
        TrainingState(CONFIG, "cifar10").restore(tmp_path)
    state.step, state.loss = 4, 1.0
    state.save(tmp_path)
    TrainingState(CONFIG).restore(tmp_path)
    with pytest.raises(ValueError, match="'steps': 9"):
        TrainingState(replace(CONFIG, steps=9)).restore(tmp_path)


@pytest.mark.slow
def test_a_lengthened_run_is_the_long_run(tmp_path):
    """Steps of the constant phase do not depend on where it ends."""
    short = replace(CONFIG, variant="tiny-vit-tied")
    long = replace(short, steps=8, decay_steps=5)
    stream, _ = tiny_vit._scenes(short)
    state = TrainingState(short)
    with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
        for step in range(2):
            state.advance(stream(4 * step, 4))
    state.save(tmp_path / "tiny-vit-tied.checkpoint")
    train_tiny_vit(long, tmp_path, resume=True)
    train_tiny_vit(long, tmp_path / "whole")
    files = [
        folder / "tiny-vit-tied/model.safetensors" for folder in (tmp_path, tmp_path / "whole")
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_training_lowers_the_loss():
    """Twenty-five steps on one batch fit it."""
    config = replace(CONFIG, steps=200, batch=16)
    stream, _ = tiny_vit._scenes(config)
    batch = stream(0, 16)
    state = TrainingState(config)
    losses = []
    with torch.random.fork_rng(devices=[]):
        for _ in range(25):
            state.advance(batch)
            losses.append(state.loss)
    assert losses[-1] < 0.7 * losses[0]


def test_every_parameter_is_trained_once():
    """The two optimisers share the parameters out without gap or overlap."""
    for variant in tiny_vit.VARIANTS:
        state = TrainingState(replace(CONFIG, variant=variant))
        held = [p for o in state.optimisers.values() for g in o.param_groups for p in g["params"]]
        own = [*state.model.parameters(), *state.patch_digit.parameters()]
        assert sorted(map(id, held)) == sorted(map(id, own))


@pytest.mark.slow
def test_the_card_tells_what_the_file_does(tmp_path, monkeypatch):
    """Accuracy on the card is that of the fp16 weights read back; counts and command add up."""
    monkeypatch.setattr(tiny_vit, "SNAPSHOTS", (1, 4))
    card = train_tiny_vit(CONFIG, tmp_path)
    folder = tmp_path / "tiny-vit"
    assert json.loads((folder / "card.json").read_text()) == card
    _, held_out = tiny_vit._scenes(CONFIG)
    model = VisionTransformer.from_folder(folder)
    assert card["held_out"]["accuracy"] == accuracies(model, held_out(24))
    assert card["pictures_seen"] == 24
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert "--steps 6 --decay-steps 3 --batch 4 --seed 1" in card["command"]
    assert card["command"] in (folder / "card.md").read_text()
    assert sorted(path.name for path in tmp_path.glob("*@step-*")) == [
        "tiny-vit@step-1",
        "tiny-vit@step-4",
    ]


def test_held_out_pictures_come_from_unseen_handwriting():
    """Training reads the train split, judging the test split."""
    from sae_nb.data import scenes

    stream, held_out = tiny_vit._scenes(CONFIG)
    assert torch.equal(stream(3, 2).images, scenes(2, seed=1_001, split="train", start=3).images)
    assert torch.equal(held_out(2).images, scenes(2, seed=2_001, split="test").images)


def test_photographs_are_only_mirrored_and_shifted(tmp_path):
    """Each training picture is a window of its padded original or of its mirror image."""
    generator = np.random.default_rng(0)
    records = generator.integers(0, 10, (1, 3073), dtype=np.uint8)
    records[:, 1:] = generator.integers(0, 256, (1, 3072), dtype=np.uint8)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (tmp_path / f"{name}.bin").write_bytes(records.tobytes())
    stream, _ = photo_batches(Path(tmp_path), CONFIG.seed, shift=3)
    original = torch.from_numpy(records[0, 1:].reshape(3, 32, 32).copy()).float() / 255
    core = original[:, 3:29, 3:29]
    windows = stream(0, 6).images.unfold(2, 26, 1).unfold(3, 26, 1)
    for wanted in (core, core.flip(2)):
        assert bool((windows == wanted[None, :, None, None]).flatten(4).all(-1).all(1).any())
    either = sum(
        (windows == wanted[None, :, None, None]).flatten(4).all(-1).all(1).flatten(1).any(1).int()
        for wanted in (core, core.flip(2))
    )
    assert bool((either > 0).all())
