"""How alike are layers, by the rows that each found hard? ITDA's Jaccard compared with linear CKA.

The same 4096 tokens or patches, in the same random order, after every attention and every MLP; one ITDA
per layer, with the same k and threshold for all. Two layers are as similar as the sets of rows that they
stored.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

import sae_nb as sn
from sae_nb.classical import ITDA

SHORT = {"rows": 800}
K, THRESHOLD = 8, 0.1
KINDS = ("resid_mid.", "resid_post.")
SAMPLES = {"tiny-vit": 120, "tiny-gpt": 60}


def run(seed: int, *, rows: int = 4096) -> dict[str, float]:
    """Measure how far two orders of the pairs of layers agree, for both models.

    `rows` that every layer visits.
    """
    numbers: dict[str, float] = {}
    for name in SAMPLES:
        layers = rows_of(name, seed, rows)
        numbers |= {f"{name} {what}": value for what, value in compared(layers, seed).items()}
    return numbers


def rows_of(name: str, seed: int, rows: int) -> Tensor:
    """Capture the residual stream after every attention and MLP for the same rows, (layers, rows, d_in)."""
    model, n = sn.load_model(name), SAMPLES[name]
    vision = model.kind == "vision"
    inputs = sn.data.scenes(n, seed=seed).images if vision else sn.data.stories(n, seed=seed).texts
    points = [point for point in model.hook_points() if str(point).startswith(KINDS)]
    acts = sn.capture(model, inputs, points, progress=False)
    x = torch.stack([part.x for part in acts.values()])
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(seed))
    return x[:, order[:rows]]


def compared(layers: Tensor, seed: int) -> dict[str, float]:
    """Compute Spearman's ρ over all pairs of layers, with that of a floor and a control."""
    itdas = fitted(layers)
    shared = jaccards(itdas)
    generator = torch.Generator().manual_seed(1000 + seed)
    mixed = torch.stack([x[torch.randperm(len(x), generator=generator)] for x in layers])
    states = torch.cat([layers[:1], layers]).transpose(0, 1)[:, :, None]
    cka = np.asarray(sn.dynamics.layer_similarity(states).cka)
    first, second = np.triu_indices(len(layers), 1)
    wanted = cka[first, second]
    return {
        "agreement": spearman(shared[first, second], wanted),
        "agreement of shuffled rows": spearman(jaccards(fitted(mixed))[first, second], wanted),
        "agreement of distance": spearman(-np.abs(first - second), wanted),
        "same nearest layer": float((nearest(shared) == nearest(cka)).mean()),
        "jaccard of neighbours": float(np.diagonal(shared, 1).mean()),
        "jaccard of all pairs": float(shared[first, second].mean()),
        "cka of all pairs": float(wanted.mean()),
        "atoms per layer": float(np.mean([itda.n_atoms for itda in itdas])),
    }


def jaccards(itdas: list[ITDA]) -> np.ndarray:
    """Return |I ∩ J| / |I ∪ J| of every pair."""
    return np.array([[one.jaccard(other) for other in itdas] for one in itdas])


def fitted(layers: Tensor) -> list[ITDA]:
    """Fit one ITDA per layer, on the same rows."""
    return [ITDA(layers.shape[2], K, threshold=THRESHOLD).fit(x, progress=False) for x in layers]


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Return the rank correlation."""
    return float(spearmanr(one, other).statistic)


def nearest(similarity: np.ndarray) -> np.ndarray:
    """Return the most similar other layer for each layer."""
    off = similarity - 2 * np.eye(len(similarity))
    return np.asarray(off.argmax(axis=1))
