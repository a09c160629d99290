"""Do the atoms of a trained SAE close the manifolds that its rows lie on?

Planted rows: three circles, two spheres, a segment and a disk in 32 dimensions, one in each row; a TopK with 240
atoms, k 4. tiny-modular: a TopK with 128 atoms, k 4, at "=", where the sum of two numbers modulo 53 is a closed curve.
SmolLM2-135M: the SAE that comes with it, block 16, on prose that the seed draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb_studies.data import PlantedManifolds, planted_manifolds
from sae_nb_studies.geometry import CoactivationShapes, coactivation_shapes

SHORT = {"steps": 400, "texts": 10}
SHAPES = ("circle",) * 3 + ("sphere",) * 2 + ("segment", "disk")
CLOSED = ("circle", "sphere", "torus")
PURE = 0.8
P = 53


def run(seed: int, *, steps: int = 3000, texts: int = 150) -> dict[str, float]:
    """Train on planted rows and on tiny-modular, open SmolLM2's SAE, and look for shapes in each."""
    train = planted_manifolds(40_000, shapes=SHAPES, n_active=1, seed=seed)
    test = planted_manifolds(12_000, shapes=SHAPES, n_active=1, seed=seed, draw=1)
    codes = trained(train.x, 240, seed, steps).encode(test.x).detach()
    found = coactivation_shapes(codes, seed=seed)
    sums = sums_of_modular()
    lm, sae = sn.load_model("smollm2-135m"), sn.load_sae("smollm2-135m/resid_post.16")
    prose = [" ".join(text.split()[:60]) for text in sn.data.prose("test").texts]
    drawn = np.random.default_rng(seed).permutation(len(prose))[:texts]
    acts = sn.capture(lm, [prose[i] for i in drawn], "resid_post.16", progress=False)
    return {
        **_on_planted(found, codes, test, seed),
        **_counts("tiny-modular", trained(sums, 128, seed, steps // 2).encode(sums), seed),
        **_counts("SmolLM2", sae.encode(acts), seed),
    }


def trained(x: Float[Tensor, "n d"], n_atoms: int, seed: int, steps: int) -> sn.TopK:
    """Return a TopK of k 4 trained on these rows."""
    sae = sn.TopK(x.shape[1], n_atoms, 4, generator=torch.Generator().manual_seed(seed))
    sn.train(sae, x, sn.TrainConfig(steps=steps, batch_size=512, seed=seed), progress=False)
    return sae


def sums_of_modular() -> Float[Tensor, "n d"]:
    """Return the states of tiny-modular at "=" of all pairs of numbers."""
    texts = [f"{a} + {b} =" for a in range(P) for b in range(P)]
    acts = sn.capture(
        sn.load_model("tiny-modular"),
        texts,
        "resid_post.0",
        positions="last",
        drop_first=False,
        drop_massive=False,
        progress=False,
    )
    return acts.x.float()


def _on_planted(
    found: CoactivationShapes, codes: SparseCodes, rows: PlantedManifolds, seed: int
) -> dict[str, float]:
    fires = (codes.to_dense() != 0).double().T @ rows.active.double()
    share = (fires / fires.sum(dim=1, keepdim=True).clamp_min(1)).numpy()
    rng = np.random.default_rng(seed)
    pool = np.concatenate(found.groups) if found.groups else np.zeros(0, dtype=int)
    ends = np.cumsum(found.sizes)[:-1]
    mixed = [part.tolist() for part in np.split(rng.permutation(pool), ends)] if len(pool) else []
    owners = [int(share[group].mean(axis=0).argmax()) for group in found.groups]
    named = [(SHAPES[i], name) for i, name in zip(owners, found.shape, strict=True)]
    closed = [one for one in named if one[1] in CLOSED]
    met = {i for i, name in zip(owners, found.shape, strict=True) if SHAPES[i] == name}
    return {
        "groups of one manifold": _pure(share, [group.tolist() for group in found.groups]),
        "groups of one manifold, atoms mixed": _pure(share, mixed),
        "named, atoms mixed": float(
            sum(shape in CLOSED for shape in coactivation_shapes(codes, mixed, seed=seed).shape)
        ),
        "closed shapes named": float(len(closed)),
        "closed shapes named right": float(sum(kind == name for kind, name in closed)),
        "circles found": float(np.mean([i in met for i in range(3)])),
        "spheres found": float(np.mean([i in met for i in (3, 4)])),
    }


def _pure(share: Float[np.ndarray, "atoms manifolds"], groups: Sequence[Sequence[int]]) -> float:
    return float(np.mean([share[g].mean(axis=0).max() >= PURE for g in groups])) if groups else 0.0


def _counts(name: str, codes: SparseCodes, seed: int) -> dict[str, float]:
    """Shapes that are found, and those of the same groups where the rows of each atom are shuffled."""
    codes = codes.detach()
    found = coactivation_shapes(codes, seed=seed)
    rng, chance = np.random.default_rng(seed), []
    for group in found.groups:
        mixed = torch.from_numpy(rng.permuted(codes.of_atoms(group).double().cpu().numpy(), axis=0))
        alone = coactivation_shapes(SparseCodes.from_dense(mixed), [list(range(len(group)))])
        chance += [alone.shape[0] in CLOSED]
    return {
        f"{name}: groups": float(len(found.shape)),
        f"{name}: closed": float(sum(shape in CLOSED for shape in found.shape)),
        f"{name}: closed, rows shuffled": float(sum(chance)),
        f"{name}: sheets and chains": float(sum(s in ("sheet", "chain") for s in found.shape)),
    }
