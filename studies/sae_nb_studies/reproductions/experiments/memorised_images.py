"""Which images does a network answer from memory? Near copies under planted wrong labels, in our scenes.

A small network is trained on scenes, some of which are shown in many near copies (shifted by up to one pixel,
with noise): half of these under one wrong label each, the others, the control, under the right one. Both are as
near to the training data. A second network is trained on the same pictures with right labels alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import pad

import sae_nb as sn
from sae_nb_studies.reproductions._small_images import accuracy, small_network, trained

SHORT = {"n": 400, "repeated": 8, "steps": 60, "fresh": 20}
POINT = "0.8"
"""After the third of four convolutions."""


def run(
    seed: int,
    *,
    n: int = 3000,
    repeated: int = 32,
    times: int = 12,
    steps: int = 700,
    fresh: int = 200,
) -> dict[str, float]:
    """Train both networks and ask which of new near copies, and of fresh scenes, are answered from memory.

    `repeated` scenes of each kind are shown `times` times beside `n` others.
    """
    generator = torch.Generator().manual_seed(seed)
    scenes = sn.data.scenes(n + 2 * repeated, seed=seed)
    held = sn.data.scenes(fresh, seed=seed, split="test")
    shown = scenes.images[n:]
    right = scenes.digit[n:]
    wrong = (right[:repeated] + torch.randint(1, 10, (repeated,), generator=generator)) % 10
    copies = [copied(shown, generator) for _ in range(times)]
    images = torch.cat([scenes.images[:n], *copies])
    asked = torch.cat([copied(shown, generator), held.images])
    numbers: dict[str, float] = {}
    for name, planted in (
        ("planted", torch.cat([wrong, right[repeated:]])),
        ("right labels", right),
    ):
        labels = torch.cat([scenes.digit[:n], planted.repeat(times)])
        network = small_network(8, seed=seed)
        trained(network, images, labels, steps=steps, seed=seed)
        model = sn.wrap(network, name="convolutions")
        found = sn.vision.memorised(model, asked, images, labels, POINT)
        table = found.table.sort_values("image")
        numbers |= {
            f"{name}: {key}": value for key, value in _measured(table, repeated, held.digit).items()
        }
        numbers[f"{name}: probe accuracy"] = found.probe_accuracy
        numbers[f"{name}: accuracy, fresh"] = accuracy(network, held.images, held.digit)
        answers = table["answer"].to_numpy()[:repeated]
        numbers[f"{name}: answered as planted"] = float(np.mean(answers == wrong.numpy()))
    return numbers


def copied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return near copies: shifted by up to a pixel either way, with noise of sd .03."""
    found = []
    for image in images:
        down, right = torch.randint(0, 3, (2,), generator=generator).tolist()
        wide = pad(image[None], (1, 1, 1, 1), mode="reflect")[0]
        found.append(wide[:, down : down + image.shape[1], right : right + image.shape[2]])
    moved = torch.stack(found)
    return (moved + 0.03 * torch.randn(moved.shape, generator=generator)).clamp(0, 1)


def _measured(table: Any, repeated: int, digits: Tensor) -> dict[str, float]:
    """AUC of several scores for the pictures whose label was planted, the first ones asked."""
    place = np.arange(len(table))
    own, fresh = place < repeated, place >= 2 * repeated
    errors = fresh.copy()
    errors[fresh] = table["answer"].to_numpy()[fresh] != digits.numpy()
    others = {"copies": ~own & ~fresh, "fresh": fresh, "errors": errors if errors.any() else fresh}
    scores = {
        "score": table["score"], "pixels": table["alike"], "sure": table["sure"], "probe": -table["said"],
    }  # fmt: skip
    numbers = {}
    for key, values in scores.items():
        values = values.to_numpy()
        for name, rest in others.items():
            either = own | rest
            numbers[f"{key}, against {name}"] = float(roc_auc_score(own[either], values[either]))
    numbers["copies found"] = float((table["copies"].to_numpy()[~fresh] > 1).mean())
    numbers["fresh taken for copies"] = float((table["copies"].to_numpy()[fresh] > 1).mean())
    return numbers
