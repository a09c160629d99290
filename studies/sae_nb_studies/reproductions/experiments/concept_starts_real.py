"""Methods that helped on a tree of concepts, on real activations: a start, free norms, a growing k. tiny-vit.

`concept_starts` shows which methods find planted concepts; here the concepts are unknown. Matching
pursuit is trained on two halves of the samples in every way, and compared by R² at equal mean L0, by the
similarity of the halves' atoms, and by absorption of "ink on a patch". Then every architecture whose
atoms are projected to the unit sphere is trained with and without that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb.evaluation import explained_variance
from sae_nb_studies.evaluation import absorption
from sae_nb_studies.recipes.saes._material import scene_factors

SHORT = {"steps": 12, "others": 12, "n_atoms": 64, "n_images": 130}
K, KS, LEVELS_OF_L0 = 8, (1, 2, 3, 4, 6, 8, 10), (2, 4, 6)
PLACE, BATCH = "resid_post.6", 512
WAYS: dict[str, dict[str, Any]] = {
    "unit": {},
    "spread": {"method": "spread"},
    "free": {"norms": "free"},
    "free, stop": {"norms": "free", "reselect": "stop"},
    "growing": {"grow_k": True},
}
PROJECTED: dict[str, dict[str, Any]] = {
    "TopK": {"k": K},
    "BatchTopK": {"k": K},
    "Matryoshka": {"k": K},
    "AbsTopK": {"k": K},
    "ReLU": {"l0": K},
    "Gated": {"l0": K},
    "JumpReLU": {"l0": K},
}


def run(
    seed: int, *, steps: int = 300, others: int = 200, n_atoms: int = 512, n_images: int = 300
) -> dict[str, float]:
    """Train every way on both halves, and every architecture on all, and measure on held-out scenes.

    `steps` of 512 rows for matching pursuit, `others` for the other architectures; `n_atoms`: of every
    dictionary; `n_images`: scenes, of which a fifth is held out.
    """
    images = sn.data.scenes(n_images, seed=seed)
    acts = sn.capture(sn.load_model("tiny-vit"), images.images, PLACE, progress=False)
    ink = next(f for f in scene_factors(images, acts) if f.name == "ink on a patch")
    train, test = acts.split(0.8, seed)
    numbers: dict[str, float] = {}
    for name, way in WAYS.items():
        halves = [
            _pursuit(half, n_atoms, steps, 2 * seed + i, **way)
            for i, half in enumerate(train.split(0.5, seed))
        ]
        agree = sn.evaluation.stability(halves, n_bootstrap=0)
        lost = absorption(halves[0], acts, ink.truth, n_bootstrap=0, seed=seed)
        numbers |= {
            f"{name}: stability": agree.value,
            f"{name}: ink told": lost.told.value,
            f"{name}: ink absorbed": float(np.nan_to_num(lost.value)),
        } | {f"{name}: {what}": v for what, v in _by_l0(halves[0], test).items()}
    for name, how in PROJECTED.items():
        for norms in ("unit", "free"):
            sae = getattr(sn, name)(acts.d_in, n_atoms, generator=_generator(seed), **how)
            if norms == "free":
                _leave_norms(sae)
            sn.train(sae, train, steps=others, batch_size=BATCH, seed=seed, progress=False)
            numbers |= {f"{name}, {norms}: {what}": v for what, v in _fit(sae, test).items()}
        more = numbers[f"{name}, free: R²"] - numbers[f"{name}, unit: R²"]
        numbers[f"{name}: R² gained by free norms"] = more
    return numbers


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _pursuit(
    acts: sn.Activations,
    n_atoms: int,
    steps: int,
    seed: int,
    *,
    method: Any = None,
    grow_k: bool = False,
    **options: Any,
) -> sn.MatchingPursuit:
    sae = sn.MatchingPursuit(acts.d_in, n_atoms, K, generator=_generator(seed), **options)
    if method is not None:
        sae.initialise(acts, _generator(seed), method=method)
    config = sn.TrainConfig(steps=steps, batch_size=BATCH, seed=seed, grow_k=grow_k)
    sn.train(sae, acts, config, progress=False)
    return sae


def _leave_norms(sae: Any) -> None:
    """Train without the unit sphere: neither atoms nor their gradients are projected."""
    sae.operator.project_ = sae.operator.project_gradient_ = lambda: None


def _by_l0(sae: sn.MatchingPursuit, test: sn.Activations) -> dict[str, float]:
    """Interpolate R² of held-out rows at some mean L0, between the values for whole k."""
    found = [_fit(sae, test, k) for k in KS]
    l0, r2 = ([one[what] for one in found] for what in ("L0", "R²"))
    at = {f"R² at L0 {level}": float(np.interp(level, l0, r2)) for level in LEVELS_OF_L0}
    return at | {"L0 with k 8": l0[KS.index(K)]}


@torch.no_grad()
def _fit(sae: Any, test: sn.Activations, k: int | None = None) -> dict[str, float]:
    codes = sae.encode(test, k=k)
    l0 = float((codes.values != 0).sum()) / len(test)
    return {"R²": explained_variance(test.x, sae.decode(codes)), "L0": l0}
