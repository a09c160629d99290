"""Promises of every bundled model's files: whole, small, in half precision, with a card that tells how to make it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from sae_nb.models import bundled_names
from sae_nb.models._checkpoint_files import WEIGHTS
from sae_nb_studies.data.tasks import TASKS

NAMES = bundled_names()
FILES = {"card.json", "card.md", "config.json", "model.safetensors"}
TOKENIZER = {"tokenizer.json", "tokenizer_config.json"}
LARGEST = {"tiny-gpt": 6e6, "tiny-vit": 10e6, "two-towers": 1.5 * 2**20, "tiny-audio": 1.2e6}
LARGEST |= dict.fromkeys([*TASKS, "tiny-looped"], 0.3 * 2**20)
"""Bytes of all models of a family, checkpoints and towers included."""


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
