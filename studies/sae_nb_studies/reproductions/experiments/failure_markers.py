"""Do markers of class geometry on known data foretell which of several networks fails on other data?

A seed trains small convolutional networks on handwritten digits, of drawn widths, rates, decays and so on, and
measures the states before their last layer on the digits they learned from. Other data: test digits with noise,
moved by a pixel along both axes, over a grey slope, and with little contrast.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.geometry import class_geometry, class_markers, failure_forecast
from sae_nb_studies.reproductions._small_images import accuracy, small_network, trained

SHORT = {"networks": 4, "most_steps": 60}
STEPS = (150, 300)


def run(seed: int, *, networks: int = 16, most_steps: int = max(STEPS)) -> dict[str, float]:
    """Train `networks` of them and judge what ranks them by their accuracy on other data."""
    known, held = sn.data.digits("train"), sn.data.digits("test")
    images, asked = (one.images[:, None].float() for one in (known, held))
    others = shifts(asked, torch.Generator().manual_seed(seed))
    rng = np.random.default_rng(seed)
    markers: dict[str, list[float]] = {}
    own, shifted = [], []
    for i in range(networks):
        network = small_network(
            int(rng.choice([4, 8, 16])),
            channels=1,
            dropout=float(rng.choice([0.0, 0.3])),
            seed=100 * seed + i,
        )
        trained(
            network, images, known.digit, steps=min(int(rng.choice(STEPS)), most_steps), seed=i,
            learning_rate=float(10 ** rng.uniform(-2.7, -1.7)), weight_decay=float(rng.choice([0.0, 0.1, 1.0])),
            smoothing=float(rng.choice([0.0, 0.1, 0.3])),
        )  # fmt: skip
        own.append(accuracy(network, asked, held.digit))
        shifted.append([accuracy(network, moved, held.digit) for moved in others.values()])
        with torch.no_grad():
            states = network[0](images)
        found = class_markers(states, known.digit, seed=seed)
        spread = class_geometry(states[:400], known.digit[:400], n_draws=1, seed=seed)
        measured = {
            "dimension": found.dimension, "utility": found.utility, "capacity": found.capacity,
            "radius": -found.radius, "participation": float(spread.dimension.mean()),
        }  # fmt: skip
        for name, value in measured.items():
            markers.setdefault(name, []).append(value)
    return _judged(markers, np.array(own), np.array(shifted), seed) | _each(
        markers, own, shifted, list(others)
    )


def shifts(images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the test digits as no network has seen them."""
    steps = torch.randint(0, 2, (len(images), 2), generator=generator) * 2 - 1
    moved = [
        torch.roll(one, tuple(step), (1, 2))
        for one, step in zip(images, steps.tolist(), strict=True)
    ]
    slope = torch.linspace(0, 1, images.shape[-1]) * torch.rand(
        len(images), 1, 1, 1, generator=generator
    )
    return {
        "noise": images + 0.3 * torch.randn(images.shape, generator=generator),
        "moved": torch.stack(moved),
        "slope": torch.maximum(images, 0.6 * slope),
        "contrast": 0.35 * images + 0.2,
    }


def _judged(
    markers: dict[str, list[float]], own: np.ndarray, shifted: np.ndarray, seed: int
) -> dict[str, float]:
    """Rank correlations with the mean accuracy on other data."""
    found = failure_forecast(markers, own, shifted, seed=seed)
    at = found.table.set_index("marker")
    numbers = {f"{name}: rank": float(at.loc[name, "rank"]) for name in at.index}
    numbers |= {f"{name}: beyond accuracy": float(at.loc[name, "beyond"]) for name in at.index}
    shuffled = np.random.default_rng(seed).permutation(len(own))
    mixed = {name: np.array(values)[shuffled] for name, values in markers.items()}
    again = failure_forecast(mixed, own, shifted, n_permutations=20, seed=seed).table.set_index(
        "marker"
    )
    return numbers | {
        "forecast: shuffled markers": float(again.loc["forecast", "rank"]),
        "forecast: 95 % of shuffles": float(at.loc["forecast", "shuffled"]),
        "accuracy, known": float(own.mean()),
        "accuracy, other": float(shifted.mean()),
        "accuracy, other: sd": float(shifted.mean(axis=1).std()),
    }


def _each(
    markers: dict[str, list[float]], own: list[float], shifted: list[list[float]], names: list[str]
) -> dict[str, float]:
    """Rank correlations of the forecast and of accuracy with each kind of other data."""
    numbers: dict[str, float] = {}
    for name, values in zip(names, np.array(shifted).T, strict=True):
        table = failure_forecast(markers, np.array(own), values, n_permutations=20).table.set_index(
            "marker"
        )
        numbers |= {
            f"{name}, {row}": float(table.loc[row, "rank"]) for row in ("forecast", "accuracy")
        }
    return numbers
