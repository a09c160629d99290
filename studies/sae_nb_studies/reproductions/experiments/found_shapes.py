"""Are planted manifolds found among the atoms of a trained SAE, unasked, and nothing where there is nothing?

Rows: two of six circles, two segments and two disks in 32 dimensions; a TopK with 64 atoms, k 4. `find_shapes` sees
other rows. A manifold is found if a group fires in four fifths of its rows and nine tenths of the group's rows are
its own, and if the group is called ring, line or sheet as the manifold is. Beside it groups by correlations, groups of
as many atoms at random, permuted firings, and the SAE before training.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.sparse import csr_matrix

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.geometry import FoundShapes, communities, find_shapes
from sae_nb_studies.data import planted_manifolds

SHORT = {"steps": 600, "n": 8000}
SHAPES = ("circle",) * 6 + ("segment",) * 2 + ("disk",) * 2
KIND = {"circle": "ring", "segment": "line", "disk": "sheet"}
OWN, COVERED = 0.9, 0.8
SCORE = 6.0


def run(seed: int, *, steps: int = 1500, n: int = 16_000, n_atoms: int = 64) -> dict[str, float]:
    """Train, look for shapes, and count the manifolds that are found."""
    train = planted_manifolds(30_000, shapes=SHAPES, seed=seed)
    test = planted_manifolds(n, shapes=SHAPES, seed=seed, draw=1)
    active = test.active.numpy()
    sae = sn.TopK(32, n_atoms, 4, generator=torch.Generator().manual_seed(seed))
    before = find_shapes(sae.eval(), test.x, seed=seed)
    sn.train(sae, train.x, sn.TrainConfig(steps=steps, batch_size=512, seed=seed), progress=False)
    found = find_shapes(sae, test.x, seed=seed)
    codes = sae.encode(test.x).detach()
    correlated = communities(correlations(codes), seed=seed)
    by_correlation = find_shapes(sae, test.x, groups=correlated, seed=seed)
    rng = np.random.default_rng(seed)
    fire = np.flatnonzero(codes.count(0).numpy() >= 40)
    drawn = [rng.choice(fire, len(group), replace=False) for group in found.groups]
    random = find_shapes(sae, test.x, groups=drawn, seed=seed)
    return {
        **_counted(found, active, ""),
        **_counted(by_correlation, active, ", by correlations"),
        "found, random groups": _counted(random, active, "")["found"],
        "found, before training": _counted(before, active, "")["found"],
        "groups, firings permuted": float(found.n_permuted),
        "shapes named": float(sum(kind != "none" for kind in found.kind)),
        "shapes named before training": float(sum(kind != "none" for kind in before.kind)),
    }


def correlations(codes: SparseCodes) -> csr_matrix:
    """Return the correlations of firings that stand as far out of chance as a coupling must."""
    fires = codes.to_scipy().astype(bool).astype(float)
    p, n = np.asarray(fires.mean(axis=0)).ravel(), codes.n_rows
    apart = np.sqrt(np.outer(p * (1 - p), p * (1 - p))).clip(1e-12)
    phi = ((fires.T @ fires).toarray() / n - np.outer(p, p)) / apart
    phi[np.abs(phi) * np.sqrt(n) < SCORE] = 0
    np.fill_diagonal(phi, 0)
    return csr_matrix(phi)


def _counted(
    found: FoundShapes, active: Bool[np.ndarray, "rows manifolds"], how: str
) -> dict[str, float]:
    """Recall and precision by group, with and without the name of the shape."""
    met, named, right, pure = set(), set(), [], []
    for rows, kind in zip(found.rows, found.kind, strict=True):
        own: Float[np.ndarray, " manifolds"] = active[rows].mean(axis=0)
        best = int(own.argmax())
        whole = len(rows) * own[best] >= COVERED * active[:, best].sum()
        pure.append(own[best] >= OWN and whole)
        if pure[-1]:
            met.add(best)
            if kind == KIND[SHAPES[best]]:
                named.add(best)
        if kind != "none":
            right.append(pure[-1] and kind == KIND[SHAPES[best]])
    return {
        f"found{how}": len(named) / len(SHAPES),
        f"groups found{how}": len(met) / len(SHAPES),
        f"precision{how}": float(np.mean(right)) if right else 0.0,
        f"precision of groups{how}": float(np.mean(pure)) if pure else 0.0,
    }
