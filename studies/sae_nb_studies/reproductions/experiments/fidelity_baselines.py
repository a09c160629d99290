"""Does a baseline made by feature visualisation judge pixel attributions better than plain ones?

Two models of our scenes: the bundled tiny-vit, and a small convolutional network with ReLU features, as the
paper's, that a seed trains. Every baseline is measured by what it leaves of the answer, by how unusual its
images are, and by how well it orders maps whose order is planted: the digit's pixels, under more and more noise.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb.statistics import rank_correlation
from sae_nb_studies.reproductions._small_images import accuracy, small_network, trained
from sae_nb_studies.reproductions.experiments.attribution_maps import on_digit

SHORT = {
    "n": 3,
    "steps": 20,
    "methods": ("gradient", "smooth"),
    "models": ("convolutions",),
}
PLAIN = ("zero", "mean", "blur", "noise", "inpaint")
MADE, START = "visualised", "random phase"
METHODS = ("occlusion", "sobol", "gradient", "integrated", "smooth")
NOISE = (0.0, 0.35, 0.7, 1.0)
"""Shares of noise in the planted maps."""


def run(
    seed: int,
    *,
    n: int = 10,
    steps: int = 600,
    methods: tuple[str, ...] = METHODS,
    models: tuple[str, ...] = ("convolutions", "tiny-vit"),
) -> dict[str, float]:
    """Judge attributions, and maps of a planted order, of `n` scenes under every baseline; `steps` of training."""
    scenes = sn.data.scenes(n, seed=seed, split="test")
    numbers: dict[str, float] = {}
    for name in models:
        if name == "tiny-vit":
            model, features = sn.load_model(name, "cpu"), None
        else:
            shown = sn.data.scenes(8000, seed=seed)
            network = small_network(8, seed=seed)
            trained(network, shown.images, shown.digit, steps=steps, seed=seed)
            numbers[f"{name}: accuracy"] = accuracy(network, scenes.images, scenes.digit)
            model, features = sn.wrap(network, name=name), "0"
        found = _of_model(model, features, scenes, methods, seed)
        numbers |= {f"{name}: {key}": value for key, value in found.items()}
    return numbers


def _of_model(
    model: Any, features: str | None, scenes: Any, methods: tuple[str, ...], seed: int
) -> dict[str, float]:
    """Measure every baseline on one model."""
    n = len(scenes)
    generator = torch.Generator().manual_seed(seed)
    truth = scenes.mask.float()
    planted = {
        f"noise {share}": (1 - share) * truth + share * torch.rand(truth.shape, generator=generator)
        for share in NOISE
    }
    outcome = scenes.digit.tolist()
    sizes: dict[str, Any] = {"n_designs": 4, "n_steps": 8, "outcome": outcome, "seed": seed}
    own = {
        name: sn.vision.attribution(model, scenes.images, name, **sizes)  # type: ignore[arg-type]
        for name in methods
    }
    maps = {name: one.maps for name, one in own.items()}
    hit = [[on_digit(one.on_grid(8, 8)[i : i + 1], scenes.patch_mask[i : i + 1]) for one in own.values()]
           for i in range(n)]  # fmt: skip
    found = sn.vision.pixel_fidelity(
        model, scenes.images, maps | planted, outcome=outcome, baselines=(*PLAIN, MADE, START),
        features=features, n_steps=6, n_masks=24, n_bootstrap=0, seed=seed,
    )  # fmt: skip
    return _measured(found, len(maps), np.array(hit))


def _measured(found: Any, n_maps: int, hit: np.ndarray) -> dict[str, float]:
    """Both axes of each baseline, the planted order, and the order of the methods."""
    numbers: dict[str, float] = {}
    axes = found.of_baselines
    scores = found.scores  # (metrics, baselines, maps, n)
    quality = 1 - np.array(NOISE)
    for j, name in enumerate(found.baselines):
        numbers |= {f"{name}, {key}": axes.loc[name, key] for key in axes}
        numbers[f"{name}, planted order"] = _mean_rank(scores[:, j, n_maps:-1], quality[:, None])
        numbers[f"{name}, on the digit"] = _mean_rank(scores[:, j, :n_maps], hit.T)
    orders = {name: scores[:, j, :n_maps] for j, name in enumerate(found.baselines)}
    pairs = [_agree(orders[a], orders[b]) for a, b in combinations(PLAIN, 2)]
    numbers["plain baselines agree"] = float(np.mean(pairs))
    for name in (MADE, START):
        numbers[f"{name} agrees with plain ones"] = float(
            np.mean([_agree(orders[name], orders[b]) for b in PLAIN])
        )
    for key in (*axes, "planted order", "on the digit"):
        numbers[f"plain, {key}"] = float(np.mean([numbers[f"{b}, {key}"] for b in PLAIN]))
    for name in (MADE, START):
        for removed in ("left", "certain"):
            both = [removed, "unusual"]
            better = (axes.loc[list(PLAIN), both] <= axes.loc[name, both]).all(axis=1)
            numbers[f"{name}, beaten by plain ones ({removed})"] = float(better.mean())
    return {key: float(value) for key, value in numbers.items()}


def _mean_rank(scores: np.ndarray, truth: np.ndarray) -> float:
    """Spearman correlation over maps, of every metric and image, in the mean."""
    metrics, _, n = scores.shape
    wide = np.broadcast_to(truth, scores.shape[1:])
    return float(
        np.mean([rank_correlation(scores[m, :, i], wide[:, i], undefined=0.0)
                 for m in range(metrics) for i in range(n)])
    )  # fmt: skip


def _agree(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean([_mean_rank(one[m : m + 1], other[m]) for m in range(len(one))]))
