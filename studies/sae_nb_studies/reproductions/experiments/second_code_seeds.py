"""Is a firing that a second solver keeps one that another training has, too? tiny-gpt and tiny-vit.

Two TopK SAEs of two seeds, their atoms matched one to one. A firing returns if the matched atom of the other SAE
fires in the same row. Does it return more often if orthogonal matching pursuit keeps it than if it drops it, at
equal strength? And do atoms of which more is kept return (cosine) more?
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

import sae_nb as sn
from sae_nb.evaluation import match_atoms
from sae_nb.pursuit import orthogonal_matching_pursuit
from sae_nb.statistics import rank_correlation
from sae_nb_studies.reproductions.experiments.second_code_planted import gain_at_equal_strength

SHORT = {"steps": 150, "models": ("tiny-gpt",)}
PLACES = {"tiny-gpt": "resid_post.2", "tiny-vit": "resid_post.8"}
N_ATOMS, K, OFTEN = 512, 16, 10


def run(
    seed: int, *, steps: int = 3000, models: tuple[str, ...] = tuple(PLACES)
) -> dict[str, float]:
    """Train two SAEs of each model, seeds 2s and 2s + 1, and compare firings in held-out rows.

    `steps` of 1024 rows.
    """
    numbers: dict[str, float] = {}
    for name in models:
        numbers |= {f"{name}: {what}": value for what, value in _one(name, seed, steps).items()}
    return numbers


@cache
def _rows(name: str) -> tuple[sn.Activations, sn.Activations]:
    model = sn.load_model(name)
    inputs = sn.data.stories(1500, 0) if name == "tiny-gpt" else sn.data.scenes(1000, 0)
    return sn.capture(model, inputs, PLACES[name], progress=False).split(0.9, seed=0)


@torch.no_grad()
def _one(name: str, seed: int, steps: int) -> dict[str, float]:
    train, test = _rows(name)
    saes = []
    for s in (2 * seed, 2 * seed + 1):
        sae = sn.TopK(train.d_in, N_ATOMS, K, generator=torch.Generator().manual_seed(s))
        with torch.enable_grad():
            sn.train(
                sae, train, sn.TrainConfig(steps=steps, batch_size=1024, seed=s), progress=False
            )
        saes.append(sae)
    first, other = saes
    x = test.rows(torch.arange(min(len(test), 8000))).to(first.dictionary)
    own, theirs, cosine = match_atoms(first.dictionary, other.dictionary)
    z = first.encode(x).to_dense()[:, own]
    second = orthogonal_matching_pursuit(x - first.bias, first.dictionary, K, normalise=True)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    noise *= x.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
    fires = (z != 0).numpy()
    strength = z.numpy()[fires]
    returns = (other.encode(x).to_dense()[:, theirs] != 0).numpy()
    kept = (second.to_dense()[:, own] != 0).numpy()
    noisy = (first.encode(x + 0.1 * noise).to_dense()[:, own] != 0).numpy()
    shuffled = np.random.default_rng(seed).permutation(kept[fires])
    often = fires.sum(axis=0) >= OFTEN
    count = fires.sum(axis=0)[often]
    share = (kept & fires).sum(axis=0)[often] / count
    mean = (z.sum(dim=0).numpy()[often]) / count
    return {
        "R²": float(sn.evaluation.explained_variance(x, first(x))),
        "share of the firings that are kept": float(kept[fires].mean()),
        "returns, kept": float(returns[fires & kept].mean()),
        "returns, not kept": float(returns[fires & ~kept].mean()),
        "gain": gain_at_equal_strength(returns[fires], kept[fires], strength),
        "gain, kept flags shuffled": gain_at_equal_strength(returns[fires], shuffled, strength),
        "gain of the encoder with noise": gain_at_equal_strength(
            returns[fires], noisy[fires], strength
        ),
        "rank correlation of kept share and return": rank_correlation(share, cosine[often]),
        "rank correlation of mean strength and return": rank_correlation(mean, cosine[often]),
        "rank correlation of firings and return": rank_correlation(count, cosine[often]),
    }
