"""Concept cones: do a few atoms suffice for the directions of labelled concepts, at which size and depth?

tiny-vit on scenes; concepts are the digits, textures, colours and the foreground, each as the weights of
a linear concept head (logistic regression, one concept against the rest) on rows of activations. r(s):
share of a direction that s atoms leave unexplained, with non-negative weights. More atoms leave less of
any direction, so dictionaries are compared by their gain: r(4) of as many random atoms minus r(4). The
floor of a gain: heads that learned the labels of other images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import sae_nb as sn
from sae_nb.geometry import Containment, containment

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder

SHORT = {"steps": 4, "n_images": 30, "expansions": [1, 2], "ks": [2], "layers": [0, 6]}
LAYER, EXPANSION, K, S = 6, 8, 8, 4
STEPS = (1, 2, 4, 8)
FACTORS = ("digit", "texture", "colour")


def run(
    seed: int,
    *,
    steps: int = 400,
    n_images: int = 300,
    expansions: Sequence[int] = (1, 2, 4, 8, 16),
    ks: Sequence[int] = (1, 2, 4, 8, 16, 32),
    layers: Sequence[int] = (0, 3, 6, 9, 11),
) -> dict[str, float]:
    """Measure r(s) of the concepts for one SAE, over sizes, over k, of kinds, and over depth.

    `steps` of 512 rows for each SAE; `n_images`: scenes; atoms: `expansions` times the width of the model
    at one k, and the middle size at each of `ks`.
    """
    scenes = sn.data.scenes(n_images, seed=seed)
    model = sn.load_model("tiny-vit")
    places = [f"resid_post.{layer}" for layer in dict.fromkeys((*layers, LAYER))]
    acts = sn.capture(model, scenes.images, places, progress=False)
    at = {layer: acts[f"resid_post.{layer}"] for layer in (*layers, LAYER)}
    heads = {layer: directions(rows, scenes) for layer, rows in at.items()}
    how = {"steps": steps, "seed": seed}
    middle = trained(sn.TopK, at[LAYER], EXPANSION, K, **how)
    numbers = of_concepts(held(heads[LAYER], middle, seed))
    means = containment(differences(at[LAYER], scenes), middle.dictionary, STEPS, seed=seed)
    numbers |= {"means r(4)": at_s(means.r), "means r(4), random": at_s(means.random_directions)}
    order = np.random.default_rng(seed).permutation(n_images)
    floor = held(directions(at[LAYER], scenes, order), middle, seed)
    numbers |= {f"{name}, shuffled labels": number for name, number in floors(floor).items()}
    return (
        numbers
        | sizes(at[LAYER], heads[LAYER], expansions, ks, how)
        | depth(at, heads, layers, how)
    )


def floors(found: Containment) -> dict[str, float]:
    """Return r(4), the share held and the gain, for heads of shuffled labels."""
    return {"r(4)": at_s(found.r), "held": float(found.held.mean()), "gain": gain(found)}


def of_concepts(found: Containment) -> dict[str, float]:
    """Return one dictionary's r(4), its floors, and the share of concepts that are held."""
    numbers = {f"r({s})": float(r) for s, r in zip(STEPS, found.r.mean(axis=0), strict=True)}
    random = at_s(found.random_directions)
    return numbers | {
        "random directions": random,
        "random atoms": at_s(found.random_atoms),
        "share of random": at_s(found.r) / random,
        "held": float(found.held.mean()),
        "alignment": float(found.alignment.mean()),
    }


def sizes(
    acts: Activations,
    head: Tensor,
    expansions: Sequence[int],
    ks: Sequence[int],
    how: dict[str, int],
) -> dict[str, float]:
    """Measure the gain over random atoms at each size and each k, and of other kinds at the middle.

    Also whether the best size and k are inside their ranges.
    """
    pairs = dict.fromkeys([*((e, K) for e in expansions), *((EXPANSION, k) for k in ks)])
    gains = {
        pair: gain(held(head, trained(sn.TopK, acts, *pair, **how), how["seed"])) for pair in pairs
    }
    numbers = {f"gain, {e} × {k}": found for (e, k), found in gains.items()}
    lines = {"expansion": [gains[e, K] for e in expansions], "k": [gains[EXPANSION, k] for k in ks]}
    for name, line in lines.items():
        inside = 0 < int(np.argmax(line)) < len(line) - 1
        numbers[f"best {name} is inside"] = float(inside)
        numbers[f"best {name} above the ends"] = float(max(line) - max(line[0], line[-1]))
    kinds = {"BatchTopK": sn.BatchTopK, "archetypal": sn.Archetypal}
    for name, kind in kinds.items():
        found = gain(held(head, trained(kind, acts, EXPANSION, K, **how), how["seed"]))
        base = gains.get((EXPANSION, K), found)
        numbers |= {f"gain, {name}": found, f"{name} ahead of TopK": found - base}
    return numbers


def depth(
    at: dict[int, Any], heads: dict[int, Tensor], layers: Sequence[int], how: dict[str, int]
) -> dict[str, float]:
    """Measure the gain over random atoms at each layer, and its rank correlation with depth."""
    gains = [
        gain(held(heads[layer], trained(sn.TopK, at[layer], EXPANSION, K, **how), how["seed"]))
        for layer in layers
    ]
    numbers = {f"gain, layer {layer}": g for layer, g in zip(layers, gains, strict=True)}
    return numbers | {"depth and gain": float(spearmanr(layers, gains).statistic)}


def trained(kind: Any, acts: Activations, expansion: int, k: int, *, steps: int, seed: int) -> Any:
    """Train an SAE of a kind; archetypal atoms are mixtures of the rows themselves."""
    n_atoms, generator = expansion * acts.d_in, torch.Generator().manual_seed(1000 + seed)
    sae = kind(acts.d_in, n_atoms, k, generator=generator)
    sn.train(sae, acts, steps=steps, batch_size=512, seed=seed, progress=False)
    return sae.eval()


def held(head: Tensor, sae: SparseAutoencoder, seed: int) -> Containment:
    """Measure the containment of the heads' directions in the cone of an SAE's atoms."""
    return containment(head, sae.dictionary.detach(), STEPS, seed=seed)


def gain(found: Containment) -> float:
    """Return what S random atoms leave of the concepts, minus what S of the SAE's leave."""
    return at_s(found.random_atoms) - at_s(found.r)


def at_s(r: np.ndarray) -> float:
    """Average r over concepts, at S atoms."""
    return float(r[:, STEPS.index(S)].mean())


def concepts(
    acts: Activations, scenes: Any, order: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Mark the rows of each concept; for a factor, all rows of its images.

    `order` gives each image the labels of another.
    """
    sample, token = np.asarray(acts.sample), np.asarray(acts.position)
    sample = sample if order is None else order[sample]
    found = {
        f"{name} {value}": np.asarray(getattr(scenes, name))[sample] == value
        for name in FACTORS
        for value in np.unique(getattr(scenes, name))
    }
    n_first = int(token.max()) + 1 - scenes.patch_mask.shape[1]
    mask = np.asarray(scenes.patch_mask, float) >= 0.5
    patches = np.maximum(token - n_first, 0)
    return found | {"foreground": mask[sample, patches] & (token >= n_first)}


def directions(acts: Activations, scenes: Any, order: np.ndarray | None = None) -> Tensor:
    """Fit a linear head to each concept; return its weights in the units of the activations."""
    x = np.asarray(acts.x, np.float64)
    scaler = StandardScaler().fit(x)
    rows = scaler.transform(x)
    weights = [
        LogisticRegression(C=0.1, max_iter=200).fit(rows, on).coef_[0] / scaler.scale_
        for on in concepts(acts, scenes, order).values()
    ]
    return torch.from_numpy(np.stack(weights)).float()


def differences(acts: Activations, scenes: Any) -> Tensor:
    """Subtract the mean of the other rows from the mean of each concept's rows."""
    x = np.asarray(acts.x, np.float64)
    means = [x[on].mean(axis=0) - x[~on].mean(axis=0) for on in concepts(acts, scenes).values()]
    return torch.from_numpy(np.stack(means)).float()
