"""The case against matching pursuit: with more atoms than dimensions, it explains variance with wrong atoms.

Planted vectors (`sn.data.planted_dictionary`): 128 atoms in 32 dimensions, 3 at a time, noise of 0.05 in
every coordinate. Both kinds are given the true number of atoms and the true k. MCC is the mean cosine of
learned and true atoms after matching. The control has 32 atoms in 32 dimensions.
"""

from __future__ import annotations

import torch

import sae_nb as sn
from sae_nb.data import PlantedDictionary

SHORT = {"steps": 400}
D_IN, K, TEST, NOISE = 32, 3, 2000, 0.05


def run(seed: int, *, n_atoms: int = 128, steps: int = 800, n: int = 20_000) -> dict[str, float]:
    """Train both kinds with and without superposition.

    `n_atoms`: number of true atoms with superposition; `steps` of 256 rows; `n`: vectors to train on.
    """
    numbers: dict[str, float] = {}
    for case, atoms in (("crowded", n_atoms), ("roomy", D_IN)):
        data = sn.data.planted_dictionary(atoms, D_IN, n + TEST, K, noise=NOISE, seed=seed)
        for name in ("MatchingPursuit", "TopK"):
            found = _measured(name, data, seed, steps)
            numbers |= {f"{name} {what} {case}": value for what, value in found.items()}
        for what in ("R²", "MCC"):
            ahead = numbers[f"MatchingPursuit {what} {case}"] - numbers[f"TopK {what} {case}"]
            numbers[f"{what} ahead {case}"] = ahead
    random = torch.randn(n_atoms, D_IN, generator=torch.Generator().manual_seed(seed))
    true = sn.data.planted_dictionary(n_atoms, D_IN, 1, K, seed=seed).dictionary
    numbers["random MCC crowded"] = float(sn.evaluation.match_atoms(true, random)[2].mean())
    return numbers


def _measured(name: str, data: PlantedDictionary, seed: int, steps: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    sae = getattr(sn, name)(D_IN, len(data.dictionary), K, generator=generator)
    config = sn.TrainConfig(steps=steps, batch_size=256, seed=seed)
    sn.train(sae, data.x[:-TEST], config, progress=False)
    test = data.x[-TEST:]
    with torch.no_grad():
        r2 = sn.evaluation.explained_variance(test, sae(test))
    cosines = sn.evaluation.match_atoms(data.dictionary, sae.dictionary)[2]
    return {"R²": r2, "MCC": float(cosines.mean())}
