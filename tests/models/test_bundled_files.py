"""Promises of every bundled model's files: whole, small, in half precision, with a card that tells how to make it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from sae_nb.data import TASKS
from sae_nb.models import bundled_names, load_model
from sae_nb.models._bundled import WEIGHTS

NAMES = bundled_names()
FILES = {"card.json", "card.md", "config.json", "model.safetensors"}
TOKENIZER = {"tokenizer.json", "tokenizer_config.json"}
LARGEST = {"tiny-gpt": 6e6, "tiny-vit": 10e6, "two-towers": 1.5 * 2**20, "tiny-audio": 1.2e6}
LARGEST |= dict.fromkeys([*TASKS, "tiny-looped"], 0.3 * 2**20)
"""Bytes of all models of a family, checkpoints and towers included."""

SHOWN = {
    "tiny-gpt": lambda held_out: f"{held_out['nats_per_token']['prose']:.3f}",
    "tiny-vit": lambda held_out: f"{held_out['accuracy']['digit']:.4f}",
    "tiny-audio": lambda held_out: f"{held_out['accuracy']['timbre']:.4f}",
    "two-towers": lambda held_out: f"{held_out['measured']['modality_gap']:.4f}",
} | dict.fromkeys([*TASKS, "tiny-looped"], lambda held_out: f"{held_out['accuracy']:.4f}")
"""A held-out number, as the page for people shows it."""


def card_of(name: str) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((WEIGHTS / name / "card.json").read_text())
    return card


def tensors_of(name: str) -> list[torch.Tensor]:
    with safe_open(WEIGHTS / name / "model.safetensors", "pt") as file:
        return [file.get_tensor(key) for key in file.keys()]  # noqa: SIM118


@pytest.mark.parametrize("name", NAMES)
def test_files_are_fp16_and_complete(name: str) -> None:
    """Weights, settings, both cards, a tokenizer of what reads texts; as many numbers as the card counts."""
    files = {path.name for path in (WEIGHTS / name).iterdir()}
    reads = {"two-towers@image": {"preprocessor_config.json"}}
    assert files - FILES in ({*reads.get(name, ())}, TOKENIZER)
    assert files >= FILES
    tensors = tensors_of(name)
    assert {tensor.dtype for tensor in tensors} == {torch.float16}
    if name.startswith("two-towers"):
        tensors = tensors_of("two-towers@image") + tensors_of("two-towers@text")
    assert sum(tensor.numel() for tensor in tensors) == card_of(name)["parameters"]


@pytest.mark.parametrize("family", LARGEST)
def test_all_files_of_a_family_stay_small(family: str) -> None:
    """A person installs them with the toolkit."""
    folders: list[Path] = [WEIGHTS / name for name in NAMES if name.startswith(family)]
    assert sum(file.stat().st_size for one in folders for file in one.iterdir()) < LARGEST[family]


@pytest.mark.parametrize("name", NAMES)
def test_the_card_tells_how_to_make_it_again(name: str) -> None:
    """Data, steps, loss, seed, date and command are all there, also for people."""
    card, family = card_of(name), next(family for family in SHOWN if name.startswith(family))
    told = {"data", "date", "held_out", "minutes", "parameters", "recipe", "seed", "step", "torch"}
    assert told <= set(card)
    assert card["name"] == name
    assert card["command"].startswith("python -m sae_nb_studies.recipes.")
    assert 0 < card["last_training_loss"] < 5
    text = (WEIGHTS / name / "card.md").read_text()
    assert card["command"] in text
    assert SHOWN[family](card["held_out"]) in text
    assert load_model(name, device="cpu").card == card
    assert card["minutes"] <= (3 if name in TASKS else 120)


def test_cards_count_what_was_seen() -> None:
    """Steps times rows: pictures, pairs, tokens."""
    for name, seen in (
        ("tiny-vit", "pictures_seen"),
        ("two-towers@text", "pairs_seen"),
        ("tiny-audio", "clips_seen"),
    ):
        card = card_of(name)
        assert card[seen] == card["step"] * card["recipe"]["batch"]
    card = card_of("tiny-gpt")
    assert card["tokens_seen"] == card["step"] * 1024
