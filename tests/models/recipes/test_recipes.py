"""Promises of every recipe: a killed run continues exactly, and settings that cannot be are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sae_nb_studies.recipes import tiny_audio, tiny_gpt, tiny_vit, two_towers
from sae_nb_studies.recipes._language_training import LanguageTraining
from sae_nb_studies.recipes._vision_training import TrainingState
from sae_nb_studies.recipes.known_circuits import CircuitTraining, train_circuit
from sae_nb_studies.recipes.photo_vit import PhotoTraining, train_photo_vit
from sae_nb_studies.recipes.tiny_audio import AudioRun
from sae_nb_studies.recipes.two_towers import TowersTraining
from tests.models.recipes import (
    test_known_circuits as circuits,
    test_photo_vit as photo,
    test_tiny_audio as audio,
    test_tiny_gpt as gpt,
    test_tiny_vit as vit,
    test_two_towers as towers,
)

pytestmark = pytest.mark.slow

TIED = replace(vit.CONFIG, variant="tiny-vit-tied")
RUNS: dict[str, tuple[type, Any, Callable[..., Any]]] = {
    "tiny-induction": (CircuitTraining, circuits.RECIPE, train_circuit),
    "tiny-audio": (AudioRun, audio.RECIPE, tiny_audio.train_tiny_audio),
    "tiny-gpt": (LanguageTraining, gpt.RECIPE, tiny_gpt.train_tiny_gpt),
    "tiny-vit": (TrainingState, vit.CONFIG, tiny_vit.train_tiny_vit),
    "tiny-vit-tied": (TrainingState, TIED, tiny_vit.train_tiny_vit),
    "photo-vit": (PhotoTraining, photo.RECIPE, train_photo_vit),
    "two-towers": (TowersTraining, towers.RECIPE, two_towers.train_two_towers),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_continues_bit_exactly(
    name: str, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between checkpoints and called again, the weights are those of a whole run."""
    whole_judge = two_towers.held_out_pairs
    monkeypatch.setattr(tiny_gpt, "gather", gpt._small)
    monkeypatch.setattr(tiny_vit, "N_JUDGED", 24)
    monkeypatch.setattr(tiny_audio, "N_JUDGED", 24)
    monkeypatch.setattr(two_towers, "held_out_pairs", lambda t, seed: whole_judge(t, seed, 12))
    kind, recipe, train = RUNS[name]
    if name == "photo-vit":
        train = partial(train, photos=photos)
    train(recipe, out=tmp_path / "whole")
    advance, last = kind.advance, recipe.steps - 1  # type: ignore[attr-defined]

    def killed(self: Any, batch: Any) -> None:
        if self.step == last:
            raise KeyboardInterrupt
        advance(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "advance", killed)
        told = (
            rf"after step {last} of {recipe.steps}\. With --resume it goes on from step {last - 1}"
        )
        with pytest.raises(KeyboardInterrupt, match=told):
            train(recipe, out=tmp_path / "killed")
    (record,) = (tmp_path / "killed").glob("*.checkpoint/checkpoint.json")
    assert json.loads(record.read_text())["step"] == last - 1
    assert not list((tmp_path / "killed").glob("*/model.safetensors"))
    train(recipe, out=tmp_path / "killed", resume=True)
    written = {file.parent.name: file for file in tmp_path.glob("whole/*/model.safetensors")}
    assert written
    for folder, file in written.items():
        again = tmp_path / "killed" / folder / file.name
        assert file.read_bytes() == again.read_bytes()
