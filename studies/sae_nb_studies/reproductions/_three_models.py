"""Shared parts of experiments on three models: tiny-vit's pictures, tiny-gpt's and MiniLM's stories, an SAE.

MiniLM is a real network that was trained elsewhere: all-MiniLM-L6-v2 as a folder, by default `minilm` in
the working directory. Without a folder (a short run) it is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.architectures import SparseAutoencoder

PLACES = {"tiny-vit": "resid_post.6", "tiny-gpt": "resid_post.3", "minilm": "resid_post.3"}
"""Hook point at which each is read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """A model's activations on samples to train an SAE on, and on fresh ones to judge it on."""

    name: str
    """Of the model."""

    train: Activations
    """To train on."""

    test: Activations
    """Of samples that were not trained on."""

    labels: dict[str, Int[Tensor, " samples"]]
    """Labels of the test samples, by name."""


def models_of(minilm: str) -> dict[str, str]:
    """Return the sources of the models, by name; MiniLM only if a folder is given."""
    bundled = {"tiny-vit": "tiny-vit", "tiny-gpt": "tiny-gpt"}
    return bundled | ({"minilm": minilm} if minilm else {})


def seen_by(name: str, source: str, seed: int, *, train: int, test: int) -> Seen:
    """Show fresh samples to a model and keep its activations at its place."""
    model, place = sn.load_model(source), PLACES[name]
    seeds = (2 * seed + 700, 2 * seed + 701)
    if name == "tiny-vit":
        shown = sn.data.scenes(train, seeds[0])
        fresh = sn.data.scenes(test, seeds[1], "test")
        inputs: tuple[Any, Any] = (shown.images, fresh.images)
        labels = {"digit": fresh.digit, "texture": fresh.texture}
        shifted = fresh.colour >= 4
    else:
        told, new = sn.data.stories(train, seeds[0]), sn.data.stories(test, seeds[1])
        inputs = (list(told.texts), list(new.texts))
        labels = {"sentiment": new.sentiment + 1, "plural": new.plural}
        shifted = new.person >= new.person.median()
    kept, held = (sn.capture(model, part, place, progress=False) for part in inputs)
    return Seen(name=name, train=kept, test=held, labels=labels | {"shifted": shifted})


def trained_on(seen: Seen, seed: int, *, steps: int) -> SparseAutoencoder:
    """Train a TopK SAE of 8 atoms per dimension, at most 2048, k = 16.

    `seen`: activations of the model; `steps` of 512 rows.
    """
    generator = torch.Generator().manual_seed(seed)
    sae = sn.TopK(seen.train.d_in, min(8 * seen.train.d_in, 2048), 16, generator=generator)
    config = sn.TrainConfig(steps=steps, batch_size=512, seed=seed)
    sn.train(sae, seen.train, config, progress=False)
    return sae
