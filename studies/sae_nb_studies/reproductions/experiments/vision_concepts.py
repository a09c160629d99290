"""Concepts of a vision model: which ones matter, at what depth they form, and which a set of images lacks.

Sobol: a known head on known codes, with one driver that acts alone, a pair that only acts together, and
concepts that the head does not read. Complexity: six layers in which features appear one after the other, each
a product of the one before and an input; also, with tiny-vit, how complexity relates to importance.
Blindspots: scenes without one value of one factor, seen by tiny-vit and its SAE; as control, two halves of the
same scenes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn

SHORT = {"n_images": 60, "n_splits": 4, "n_values": 2}
PLACE, LEVEL, FOUND = "resid_post.6", 0.05, 0.9
N_CONCEPTS, N_PLANTED, DRIVER, PAIR = 10, 8, 2, (4, 7)
N_DESIGNS = 2048  # with 512, the noise of the estimate gives the driver an interaction of 0.03
DEPTH, WIDTH, N_SAMPLES = 6, 12, 1500
N_COMPLEX = 300
FACTORS = ("digit", "texture")


def run(
    seed: int, *, n_images: int = 600, n_splits: int = 20, n_values: int = 8
) -> dict[str, float]:
    """Measure all three, with sets of `n_images` scenes, `n_splits` pairs of halves, `n_values` per factor."""
    numbers = sobol_planted(seed) | complexity_planted(seed)
    model, sae = sn.load_model("tiny-vit"), sn.load_sae(f"tiny-vit/{PLACE}")
    numbers |= complexity_real(model, sae, min(n_images, N_COMPLEX), seed)
    return numbers | blindspots_real(model, sae, seed, n_images, n_splits, n_values)


# Sobol: y = 2 c₂ + 3 c₄ c₇, over masks in [0, 1].


def sobol_planted(seed: int) -> dict[str, float]:
    """Compare the Sobol indices of the driver, the pair and the rest with their known values."""
    generator = torch.Generator().manual_seed(seed)
    codes = 0.5 + torch.rand(N_PLANTED, N_CONCEPTS, generator=generator)

    def answer(u: Tensor) -> Tensor:
        return 2 * u[..., DRIVER] + 3 * u[..., PAIR[0]] * u[..., PAIR[1]]

    found = sn.vision.sobol(answer, codes, n_designs=N_DESIGNS, n_bootstrap=0, seed=seed)
    names = [DRIVER, *PAIR]
    others = [i for i in range(N_CONCEPTS) if i not in names]
    truth = np.mean([indices(c) for c in codes.double().numpy()], axis=0)
    shuffled = np.random.default_rng(seed).permutation(found.total)
    return {
        "sobol, planted three are first": float(set(found.order[:3]) == set(names)),
        "sobol, error of total": float(abs(found.total[names] - truth[0]).max()),
        "sobol, error of interaction": float(abs(found.interaction[names] - truth[1]).max()),
        "sobol, interaction of the pair": float(found.interaction[list(PAIR)].min()),
        "sobol, interaction of the driver": float(abs(found.interaction[DRIVER])),
        "sobol, total of the rest": float(found.total[others].max()),
        "sobol, error of shuffled": float(abs(shuffled[names] - truth[0]).max()),
    }


def indices(c: np.ndarray) -> np.ndarray:
    """Compute total indices and interactions of (driver, pair) by formula, for uniform masks."""
    alone, strength = (2 * c[DRIVER]) ** 2 / 12, (3 * c[PAIR[0]] * c[PAIR[1]]) ** 2
    single, both = strength / 48, strength / 144
    whole = alone + 2 * single + both
    return np.array([[alone, single + both, single + both], [0, both, both]]) / whole


# Complexity: feature i is a product of feature i − 1 and an input, and layer i is the first to hold it.


def complexity_planted(seed: int) -> dict[str, float]:
    """Compare complexity with the depth at which a feature appears."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N_SAMPLES, WIDTH, generator=generator).double()
    features = [x[:, 0]]
    for i in range(1, DEPTH):
        features.append((features[-1] * x[:, i]).tanh())
    made = torch.stack(features, dim=1)
    layers = [torch.cat((x, made[:, : i + 1]), dim=1) for i in range(DEPTH)]
    mixed = torch.linalg.qr(
        torch.randn(WIDTH + DEPTH, WIDTH + DEPTH, generator=generator).double()
    )[0]
    states = [layer @ mixed[: layer.shape[1]] for layer in layers]
    found = sn.vision.complexity_of(states, made, n_bootstrap=0, seed=seed)
    truth = np.arange(DEPTH) / DEPTH
    return {
        "complexity, error": float(abs(found.complexity - truth).max()),
        "complexity, rank correlation with depth": spearman(found.complexity, truth),
        "complexity, shuffled": found.shuffled,
    }


def complexity_real(
    model: sn.LiveModel, sae: sn.SparseAutoencoder, n: int, seed: int
) -> dict[str, float]:
    """Measure whether complex atoms of tiny-vit matter less."""
    images = sn.data.scenes(n, seed=100 + seed, split="test").images
    found = sn.vision.feature_complexity(model, sae, images, PLACE, n_bootstrap=200, seed=seed)
    return {
        "complexity × importance": found.relation["spearman"],
        "complexity × importance, upper": found.relation["high"],
        "complexity × importance, shuffled": spearman(
            found.complexity, np.random.default_rng(seed).permutation(found.importance)
        ),
        "complexity, atoms": float(np.nanmean(found.complexity)),
        "complexity, random directions": found.random,
    }


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Return the rank correlation over entries that are finite in both."""
    from scipy.stats import spearmanr

    known = np.isfinite(a) & np.isfinite(b)
    return float(spearmanr(a[known], b[known]).statistic)


# Blindspots: the other set lacks one value of one factor.


def blindspots_real(
    model: sn.LiveModel, sae: sn.SparseAutoencoder, seed: int, n: int, n_splits: int, n_values: int
) -> dict[str, float]:
    """Measure how often removed values are found, by atoms and by components; count tags between halves."""
    drawn = [sn.data.scenes(n, seed=200 + 2 * seed + i, split="test") for i in range(2)]
    real, other = (
        sn.uses.documents(model, sae, scenes.images, PLACE, progress=False) for scenes in drawn
    )
    numbers = {}
    for factor in FACTORS:
        rows = [
            removed(real, other, *(getattr(s, factor).numpy() == v for s in drawn), seed)  # type: ignore[call-arg]
            for v in range(n_values)
        ]
        for name in rows[0]:
            numbers[f"{factor}, {name}"] = float(np.mean([row[name] for row in rows]))
    tagged = [halves(real, np.random.default_rng([seed, i])) for i in range(n_splits)]
    numbers["halves, atoms"] = float(np.sum([one[0] for one in tagged]))
    numbers["halves, components"] = float(np.sum([one[1] for one in tagged]))
    return numbers


def removed(
    real: sn.uses.Documents,
    other: sn.uses.Documents,
    in_real: np.ndarray,
    in_other: np.ndarray,
    seed: int,
) -> dict[str, float]:
    """Test whether what is found first in a set that lacks a value marks the real scenes that have it."""
    from sklearn.metrics import roc_auc_score

    rest = other.subset(~in_other)
    found = sn.vision.blindspots(real, rest, energy="square", n_bootstrap=0, seed=seed)
    first, component = found.table.iloc[0], found.simpler.iloc[0]
    own = roc_auc_score(in_real, real.matrix[:, int(first["atom"])].toarray().ravel())
    means = np.concatenate([real.means, rest.means]).astype(float)
    axes = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2]
    side = roc_auc_score(in_real, real.means @ axes[int(component["component"])])
    side = max(side, 1 - side)  # a component has no sign
    return {
        "found": float(first["p"] < LEVEL and own >= FOUND),
        "tagged": float(first["p"] < LEVEL),
        "suppressed": float((found.table["kind"] == "suppressed").any()),
        "auroc": float(own),
        "components found": float(component["p"] < LEVEL and side >= FOUND),
        "components tagged": float(component["p"] < LEVEL),
        "components auroc": float(side),
    }


def halves(docs: sn.uses.Documents, generator: np.random.Generator) -> tuple[bool, bool]:
    """Return whether any atom, and any component, is tagged between two halves of one set."""
    order = generator.permutation(len(docs))
    half = len(docs) // 2
    found = sn.vision.blindspots(
        docs.subset(order[:half]),
        docs.subset(order[half:]),
        n_bootstrap=0,
        n_permutations=200,
        seed=int(generator.integers(2**31)),
    )
    return bool((found.table["kind"] != "").any()), bool((found.simpler["p"] < LEVEL).any())
