"""Is a firing that a second solver keeps more often a true one? Planted data, whose codes are known.

64 atoms in 32 dimensions, 2, 4 or 8 of them on in a row. First with the true dictionary as encoder and decoder:
how much of the true support does each solver find? Then with a trained TopK, whose atoms are matched with true
ones (cosine above 0.9): is a firing that orthogonal matching pursuit keeps true more often than one of the same
strength that it drops?
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

import sae_nb as sn
from sae_nb.evaluation import match_atoms
from sae_nb.pursuit import matching_pursuit, orthogonal_matching_pursuit
from sae_nb.statistics import rank_correlation

SHORT = {"steps": 400, "sparsities": (4,), "rows": 3000}
N_ATOMS, D_IN, SAME, N_STRENGTHS = 64, 32, 0.9, 10


def run(
    seed: int, *, steps: int = 3000, sparsities: tuple[int, ...] = (2, 4, 8), rows: int = 8000
) -> dict[str, float]:
    """Code planted rows by encoder and pursuits.

    `steps` of 256 rows of each TopK; `sparsities`: atoms on in a row; `rows`, of which a quarter is held out.
    """
    numbers: dict[str, float] = {}
    for k in sparsities:
        numbers |= {f"k {k}: {name}": value for name, value in _one(seed, k, steps, rows).items()}
    for name in ("gain", "gain, kept flags shuffled", "gain of the encoder with noise"):
        numbers[name] = float(np.mean([numbers[f"k {k}: {name}"] for k in sparsities]))
    return numbers


@torch.no_grad()
def _one(seed: int, k: int, steps: int, rows: int) -> dict[str, float]:
    data = sn.data.planted_dictionary(N_ATOMS, D_IN, rows, k, seed=seed)
    held_out = torch.arange(rows) >= rows * 3 // 4
    x, truth = data.x[held_out], data.codes.to_dense()[held_out] != 0
    atoms = data.dictionary
    largest = torch.zeros_like(truth).scatter(1, (x @ atoms.T).topk(k, dim=1).indices, True)
    found = {
        "largest products": largest,
        "mp": matching_pursuit(x, atoms, k).to_dense() != 0,
        "omp": orthogonal_matching_pursuit(x, atoms, k).to_dense() != 0,
    }
    numbers = {}
    for name, fires in found.items():
        numbers[f"recall, {name}"] = float((fires & truth).sum() / truth.sum())
        numbers[f"precision, {name}"] = float((fires & truth).sum() / fires.sum())
    sae = sn.TopK(D_IN, N_ATOMS, k, generator=torch.Generator().manual_seed(seed))
    with torch.enable_grad():
        config = sn.TrainConfig(steps=steps, batch_size=256, seed=seed)
        sn.train(sae, data.x[~held_out], config, progress=False)
    return numbers | _trained(sae, x, truth, atoms, seed)


def _trained(
    sae: sn.TopK, x: Float[Tensor, "n d"], truth: Bool[Tensor, "n m"], atoms: Tensor, seed: int
) -> dict[str, float]:
    """Truth of the firings of the atoms that are true ones, by whether a second code keeps them."""
    own, planted, cosine = match_atoms(sae.dictionary, atoms)
    own, planted = own[cosine > SAME], planted[cosine > SAME]
    z = sae.encode(x).to_dense()
    second = orthogonal_matching_pursuit(x - sae.bias, sae.dictionary, sae.k, normalise=True)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    noise *= x.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
    fires = (z != 0)[:, own].numpy()
    strength = z[:, own].numpy()[fires]
    true = truth[:, planted].numpy()[fires]
    kept = (second.to_dense() != 0)[:, own].numpy()[fires]
    noisy = (sae.encode(x + 0.1 * noise).to_dense() != 0)[:, own].numpy()[fires]
    shuffled = np.random.default_rng(seed).permutation(kept)
    table = sn.second_code(sae, x, ("omp",)).table
    share = np.array(
        [t[f].mean() for t, f in zip(truth[:, planted].numpy().T, _fires_by(z, own), strict=True)]
    )
    return {
        "share of true atoms that are found": float(len(own) / len(atoms)),
        "true, kept": float(true[kept].mean()),
        "true, not kept": float(true[~kept].mean()),
        "true, all": float(true.mean()),
        "gain": gain_at_equal_strength(true, kept, strength),
        "gain, kept flags shuffled": gain_at_equal_strength(true, shuffled, strength),
        "gain of the encoder with noise": gain_at_equal_strength(true, noisy, strength),
        "rank correlation of an atom's kept and true shares": rank_correlation(
            table["kept"].to_numpy()[own], share, undefined=0.0
        ),
    }


def _fires_by(z: Float[Tensor, "n m"], atoms: np.ndarray) -> Bool[np.ndarray, "some n"]:
    """Where each of some atoms fires."""
    return (z != 0)[:, atoms].numpy().T


def gain_at_equal_strength(
    true: Bool[np.ndarray, " f"], kept: Bool[np.ndarray, " f"], strength: Float[np.ndarray, " f"]
) -> float:
    """Share of true firings among those kept less that among the others, of one tenth of strengths each, mean.

    Tenths that lack ten of either say nothing.
    """
    gains = []
    for part in np.array_split(np.argsort(strength), N_STRENGTHS):
        a, b = true[part][kept[part]], true[part][~kept[part]]
        if min(len(a), len(b)) >= 10:
            gains.append(a.mean() - b.mean())
    return float(np.mean(gains)) if gains else 0.0
