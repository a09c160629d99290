"""What do layers and models share? Latents that fire alike, and one universal code.

tiny-vit at resid_post.5, .6 and .10, and its twin without residual drop at resid_post.6, on the same
images. TopK SAEs of 512 atoms, k = 16; a universal SAE of 512 atoms, k = 16, trained on the models in
turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes
from sae_nb_studies.evaluation import compare_firing, match_latents, measure_universality

SHORT = {"pictures": 40, "steps": 60, "universal_steps": [60]}
HERE, NEAR, FAR = "resid_post.5", "resid_post.6", "resid_post.10"
N_ATOMS, K = 512, 16


def run(
    seed: int,
    *,
    pictures: int = 200,
    steps: int = 500,
    universal_steps: Sequence[int] = (250, 1000),
) -> dict[str, float]:
    """Compare two nearby and two distant layers, and two models.

    `pictures`: images to train on, and as many to compare on; `universal_steps`: of the universal code,
    one training for each.
    """
    shown = sn.data.scenes(pictures, 2 * seed + 900).images
    fresh = sn.data.scenes(pictures, 2 * seed + 901, "test").images
    model, twin = sn.load_model("tiny-vit"), sn.load_model("tiny-vit-plain")
    train = sn.capture(model, shown, [HERE, NEAR, FAR], progress=False)
    test = sn.capture(model, fresh, [HERE, NEAR, FAR], progress=False)
    numbers = _latents(train, test, seed, steps)
    pair = [train[NEAR], sn.capture(twin, shown, NEAR, progress=False)]
    judged = [test[NEAR], sn.capture(twin, fresh, NEAR, progress=False)]
    universal = {n: _universal(pair, judged, seed, n) for n in universal_steps}
    for n, found in universal.items():
        numbers[f"universal overlap, {n} steps"] = found["universal overlap"]
    order = torch.randperm(len(pair[1]), generator=torch.Generator().manual_seed(seed))
    strangers = sn.Activations.from_tensor(pair[1].x[order])
    alone = _universal(
        [sn.Activations.from_tensor(pair[0].x), strangers], judged, seed, universal_steps[0]
    )
    numbers["universal across r2, trained on shuffled rows"] = alone["universal across r2"]
    return numbers | universal[universal_steps[-1]]


def _latents(
    train: dict[str, Activations], test: dict[str, Activations], seed: int, steps: int
) -> dict[str, float]:
    codes = {place: _codes(train[place], test[place], seed, steps) for place in (HERE, NEAR, FAR)}
    near = match_latents(codes[HERE], codes[NEAR], n_bootstrap=0, seed=seed)
    far = match_latents(codes[HERE], codes[FAR], n_bootstrap=0, seed=seed)
    return {
        "matched near": near.value,
        "matched far": far.value,
        "matched by chance": float(near.floor or 0.0),
        "matched near − far": near.value - far.value,
        "above chance near": near.above_chance,
    }


def _codes(train: Activations, test: Activations, seed: int, steps: int) -> SparseCodes:
    sae = sn.TopK(train.d_in, N_ATOMS, K, generator=torch.Generator().manual_seed(seed))
    sn.train(sae, train, sn.TrainConfig(steps=steps, batch_size=512, seed=seed), progress=False)
    return sae.encode(test.x).detach()


def _universal(
    pair: list[Activations], judged: list[Activations], seed: int, steps: int
) -> dict[str, float]:
    start = torch.Generator().manual_seed(seed)
    sae = sn.UniversalSAE([one.d_in for one in pair], N_ATOMS, K, generator=start)
    sn.train(sae, pair, steps=steps, batch_size=512, seed=seed, progress=False)
    found = measure_universality(sae, judged, n_bootstrap=0, seed=seed)
    if found.r2 is None or found.r2_floor is None:
        raise ValueError("`measure_universality` must return R², and did not.")
    own, across = np.diag(found.r2), found.r2[~np.eye(2, dtype=bool)]
    ceiling = _ceiling(sae, judged, seed)
    return {
        "universal own r2": float(own.min()),
        "universal across r2": float(across.min()),
        "universal across r2, shuffled": float(found.r2_floor[~np.eye(2, dtype=bool)].max()),
        "universal overlap": found.value,
        "universal overlap, shuffled": float(found.floor or 0.0),
        "universal overlap, ceiling": ceiling,
        "universal overlap over ceiling": found.value / ceiling,
        "universal co-firing": float(np.nanmean(found.cofiring)),
        "universal entropy": float(np.nanmean(found.entropy)),
    }


@torch.no_grad()
def _ceiling(sae: sn.UniversalSAE, judged: list[Activations], seed: int) -> float:
    """Return a model's overlap with itself when noise as large as the SAE's error is added to one copy."""
    generator, found = torch.Generator().manual_seed(seed), []
    for number, one in enumerate(judged):
        codes = sae.encode(one, reads=number)
        error = (one.x - sae.decode(codes)[number]).square().mean().sqrt()
        noisy = one.x + error * torch.randn(one.x.shape, generator=generator)
        again = sae.encode(noisy, reads=number)
        found.append(compare_firing([codes, again], n_bootstrap=0, seed=seed).value)
    return float(np.mean(found))
