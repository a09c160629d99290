"""Does training on masks move a classifier's gradient to the object, on images not seen, and keep its accuracy?

Masks of our scenes' digits are in the place of people's maps. A seed draws scenes and trains a small convolutional
network on digits; copies of it then train on: without maps, with their masks, and with masks of other images.
Judged on scenes of handwriting not trained on.
"""

from __future__ import annotations

import torch
from torch import nn

from sae_nb.data import scenes
from sae_nb_studies.vision import harmonise, map_agreement

SHORT = {"n": 300, "steps": 40, "more": 10}
WEIGHT = 0.5


def run(seed: int, *, n: int = 4000, steps: int = 450, more: int = 150) -> dict[str, float]:
    """Train the network and its three continuations, and judge all on held-out scenes."""
    train = scenes(n, seed=2 * seed + 50, split="train")
    test = scenes(max(n // 8, 60), seed=2 * seed + 51, split="test")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    fresh = _network(seed)
    begun = harmonise(
        fresh, train.images, train.digit, train.mask,
        weight=0.0, steps=steps, learning_rate=4e-3, seed=seed,
    )  # fmt: skip
    models = {"untrained": fresh}
    for name, masks, weight in (
        ("without maps", train.mask, 0.0),
        ("masks", train.mask, WEIGHT),
        ("masks of others", train.mask[order], WEIGHT),
    ):
        models[name] = harmonise(
            begun, train.images, train.digit, masks, weight=weight, steps=more, seed=seed + 1
        )
    numbers: dict[str, float] = {}
    for name, model in models.items():
        found = map_agreement(model, test.images, test.digit, test.mask)
        numbers |= {f"{name}: agreement": found.value, f"{name}: accuracy": found.accuracy}
    return numbers


def _network(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts: list[nn.Module] = []
        for read, write in ((3, 16), (16, 32), (32, 64)):
            parts += [nn.Conv2d(read, write, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
        return nn.Sequential(*parts, nn.Flatten(), nn.Linear(64 * 16, 10))
