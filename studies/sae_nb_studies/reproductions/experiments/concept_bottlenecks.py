"""Concept bottlenecks on tiny-vit: are concepts that always occur together still read from their own region?

Two pairs of concepts, one in the digit (it has a loop; it is below five) and one in the ground (one of
four textures); ink is not used, because a linear probe cannot read it from the patches of tiny-vit. Heads
learn the concepts from scenes in which they are independent, often occur together, or always do, the same
number of scenes each. Where the heads look is measured on the same new scenes, in which the concepts are
independent. The floors: heads of shuffled labels, and a uniform map. Finally, the heads' weights in the
cone of the SAE's atoms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.geometry import containment

SHORT = {"n_train": 200, "n_look": 4, "n_judge": 40, "phis": (0.0, 1.0)}
PLACE = "resid_post.6"
LOOPS = (0, 6, 8, 9)
GROUND = "ground"
PAIRS = ("loop", "digit")
STEPS = (1, 2, 4, 8)
S = STEPS.index(4)


def run(
    seed: int,
    *,
    n_train: int = 600,
    n_look: int = 20,
    n_judge: int = 300,
    phis: tuple[float, ...] = (0.0, 0.8, 1.0),
) -> dict[str, float]:
    """Train heads on `n_train` scenes at each correlation; look at `n_look` new ones, evaluate on `n_judge`."""
    model = sn.load_model("tiny-vit", "cpu")
    pool = sn.data.scenes(4 * n_train, seed=4000 + seed)
    new = sn.data.scenes(n_judge, seed=4000 + seed, split="test")
    numbers: dict[str, float] = {}
    weights: dict[tuple[str, str], Tensor] = {}
    for pair in PAIRS:
        for phi in phis:
            rows = together(truths(pool, pair), phi, n_train, seed)
            heads = learned(model, pool[rows], pair, seed)
            name = {0.0: "independent", 1.0: "together"}.get(phi, f"{phi:g}")
            found = looked(heads, new, pair, n_look, seed)
            numbers |= {f"{key}, {name}": value for key, value in found.items()}
            weights[pair, name] = heads.directions
        rows = together(truths(pool, pair), 0.0, n_train, seed)
        shuffled = learned(model, pool[rows], pair, seed, np.random.default_rng(seed))
        found = looked(shuffled, new, pair, n_look, seed)
        numbers |= {f"{key}, shuffled": value for key, value in found.items()}
        weights[pair, "shuffled"] = shuffled.directions
        for key in (pair, f"{GROUND} beside {pair}"):
            numbers[f"{key}, fewer"] = numbers[f"{key}, independent"] - numbers[f"{key}, together"]
            numbers[f"{key}, beyond shuffled"] = (
                numbers[f"{key}, independent"] - numbers[f"{key}, shuffled"]
            )
    return numbers | cones(model, pool[: 2 * n_train], weights, seed)


def truths(scenes: sn.data.Scenes, pair: str) -> dict[str, Tensor]:
    """Return a concept of the digit, and one of the ground, for every scene."""
    own = scenes.digit < 5 if pair == "digit" else torch.isin(scenes.digit, torch.tensor(LOOPS))
    return {pair: own, GROUND: scenes.texture < 4}


def together(concepts: dict[str, Tensor], phi: float, n: int, seed: int) -> Tensor:
    """Choose rows in which two concepts have a correlation of phi, each present in half of them."""
    own, ground = concepts.values()
    equal = own == ground
    generator = np.random.default_rng([seed, round(100 * phi)])
    n_equal = round(n * (1 + phi) / 2)
    parts = []
    for agree, m in ((True, n_equal), (False, n - n_equal)):
        for side in (True, False):
            known = np.flatnonzero(((equal == agree) & (own == side)).numpy())
            size = m // 2 + (m % 2) * side
            parts.append(generator.choice(known, size, replace=size > len(known)))
    return torch.from_numpy(generator.permutation(np.concatenate(parts)))


def learned(
    model: sn.LiveModel,
    scenes: sn.data.Scenes,
    pair: str,
    seed: int,
    shuffled: np.random.Generator | None = None,
) -> sn.vision.ConceptBottleneck:
    """Train heads of both concepts, on shuffled labels if a generator is given."""
    concepts = truths(scenes, pair)
    if shuffled is not None:
        order = torch.from_numpy(shuffled.permutation(len(scenes)))
        concepts = {name: truth[order] for name, truth in concepts.items()}
    return sn.vision.concept_bottleneck(model, scenes.images, concepts, PLACE, seed=seed)


def looked(
    heads: sn.vision.ConceptBottleneck, new: sn.data.Scenes, pair: str, n: int, seed: int
) -> dict[str, float]:
    """Measure the share of each head's saliency in its region, and the heads' accuracy, on new scenes."""
    concepts = truths(new, pair)
    with torch.no_grad():
        right = (heads.model(new.images, batch_size=100) > 0) == torch.stack(
            list(concepts.values()), dim=1
        )
    few = new[:n]
    regions = {pair: few.mask, GROUND: ~few.mask}
    numbers = {}
    for i, name in enumerate(concepts):
        key = name if name == pair else f"{GROUND} beside {pair}"
        numbers[f"accuracy of {key}"] = float(right[:, i].double().mean())
    for method, word in (("occlusion", ""), ("gradient", " by gradient")):
        table = heads.look(few.images, regions, method, n_bootstrap=0, seed=seed).table  # type: ignore[arg-type]
        for name in regions:
            key = name if name == pair else f"{GROUND} beside {pair}"
            numbers[f"{key}{word}"] = float(table.loc[name, "inside"])
            if not word:
                numbers[f"{key}: area"] = float(table.loc[name, "area"])
                numbers[f"{key}: edges"] = float(table.loc[name, "simpler"])
    return numbers


def cones(
    model: sn.LiveModel, scenes: sn.data.Scenes, weights: dict[tuple[str, str], Tensor], seed: int
) -> dict[str, float]:
    """Measure the share of the heads' directions that four atoms of the SAE leave unexplained.

    Compared with floors and with differences of means.
    """
    sae = sn.load_sae(f"tiny-vit/{PLACE}")
    values = {
        f"{factor} {value}": getattr(scenes, factor) == value
        for factor in ("digit", "texture", "colour")
        for value in getattr(scenes, factor).unique().tolist()
    }
    heads = sn.vision.concept_bottleneck(model, scenes.images, values, PLACE, seed=seed)
    means = mean_differences(model, scenes, values)
    asked: dict[str, Tensor] = {"heads": heads.directions, "means": means}
    for name in ("independent", "together", "shuffled"):
        asked[f"pairs, {name}"] = torch.cat([weights[pair, name] for pair in PAIRS])
    numbers: dict[str, float] = {}
    for name, directions in asked.items():
        found = containment(directions, sae.dictionary.detach(), STEPS, seed=seed)
        numbers |= {
            f"r(4), {name}": float(found.r[:, S].mean()),
            f"r(4), random directions, {name}": float(found.random_directions[:, S].mean()),
            f"r(4), random atoms, {name}": float(found.random_atoms[:, S].mean()),
        }
    for name in ("heads", "means"):
        numbers[f"below random directions, {name}"] = (
            numbers[f"r(4), random directions, {name}"] - numbers[f"r(4), {name}"]
        )
    numbers["lower, independent"] = (
        numbers["r(4), pairs, together"] - numbers["r(4), pairs, independent"]
    )
    return numbers


def mean_differences(model: sn.LiveModel, scenes: sn.data.Scenes, values: dict[str, Any]) -> Tensor:
    """Subtract the mean patch state of the scenes without a value from that of the scenes with it."""
    acts = sn.capture(model, scenes.images, PLACE, progress=False)
    patches = acts.x[acts.position >= acts.position.max() + 1 - scenes.patch_mask.shape[1]]
    x = patches.view(len(scenes), -1, acts.d_in).mean(dim=1)
    return torch.stack([x[on].mean(dim=0) - x[~on].mean(dim=0) for on in values.values()])
