"""Counts of species along a gradient, with communities overlaid: which method finds which?

Planted: 90 species with bell-shaped responses to one gradient, at random optima, and six communities of
ten species each. A community is present at a fifth of the sites, anywhere on the gradient, and makes its
species four times as common. Counts are Poisson; methods get log(1 + count). Correspondence analysis,
ecology's own method, is the fourth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score

from sae_nb_studies.reproductions._simpler import METHODS, best as best_column, fitted, read
from sae_nb_studies.uses._text_dimension import column_correlations

SHORT = {"sites": 500, "steps": 100}
SPECIES, COMMUNITIES, MEMBERS = 90, 6, 10
PRESENT, LIFT = 0.2, 4.0
N_ATOMS, ACTIVE = 24, 6


def run(seed: int, *, sites: int = 2000, steps: int = 1500) -> dict[str, float]:
    """Fit every method on half of the sites and read gradient and communities off the other half.

    `steps` of the SAE.
    """
    world = planted(sites, seed)
    x, half = torch.from_numpy(np.log1p(world.counts).astype(np.float32)), sites // 2
    methods = fitted(x[:half], N_ATOMS, ACTIVE, steps=steps, seed=seed, batch_size=256)
    made = {name: read(methods[name], x) for name in METHODS}
    codes = {name: part.codes.toarray() for name, part in made.items()}
    codes["CA"], axes = correspondence(world.counts, half)
    codes["counts"] = x.numpy()
    rows = {name: method.dictionary.detach().numpy() for name, method in methods.items()}
    rows |= {"CA": axes, "counts": np.eye(SPECIES)}
    numbers = {f"R2, {name}": part.r2 for name, part in made.items()}
    for name, code in codes.items():
        numbers |= gradient(name, code, world.gradient, half)
        numbers |= communities(name, code, rows[name], world, half)
    for rival in ("PCA", "NMF", "CA"):
        for what in ("community AUC", "members", "gradient rho", "gradient R2"):
            numbers[f"{what}, SAE ahead of {rival}"] = (
                numbers[f"{what}, SAE"] - numbers[f"{what}, {rival}"]
            )
    return numbers


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """Counts (sites, species), and the planted truth.

    Each site's place on the gradient and its communities, and each community's species.
    """

    counts: np.ndarray
    gradient: np.ndarray
    present: np.ndarray
    member: np.ndarray


def planted(sites: int, seed: int) -> World:
    """Draw species, then sites."""
    draws = np.random.default_rng(seed)
    optimum, breadth = draws.uniform(-0.1, 1.1, SPECIES), draws.uniform(0.1, 0.25, SPECIES)
    height = draws.lognormal(1.0, 0.5, SPECIES)
    member = np.zeros((COMMUNITIES, SPECIES), bool)
    for i, species in enumerate(
        draws.permutation(SPECIES)[: COMMUNITIES * MEMBERS].reshape(-1, MEMBERS)
    ):
        member[i, species] = True
    gradient = draws.uniform(0, 1, sites)
    present = draws.random((sites, COMMUNITIES)) < PRESENT
    along = np.exp(-((gradient[:, None] - optimum) ** 2) / (2 * breadth**2))
    # A community adds its species everywhere, but fewer where the gradient does not suit them.
    rate = height * (along + (LIFT - 1) * (present @ member) * (0.25 + 0.75 * along))
    return World(counts=draws.poisson(rate), gradient=gradient, present=present, member=member)


def correspondence(counts: np.ndarray, half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of all sites on the axes of the first half, and the species' coordinates, (axes, species).

    The singular vectors of (P − r cᵀ) / √(r cᵀ), where P are the shares of all counts, r and c their
    margins.
    """
    shares = counts[:half] / counts[:half].sum()
    row, column = shares.sum(axis=1), shares.sum(axis=0)
    expected = np.outer(row, column)
    residual = np.divide(
        shares - expected, np.sqrt(expected), out=np.zeros_like(shares), where=expected > 0
    )
    _, _, right = np.linalg.svd(residual, full_matrices=False)
    axes = right[:N_ATOMS] / np.sqrt(np.maximum(column, 1e-12))
    profiles = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return profiles @ axes.T, axes


def gradient(name: str, codes: np.ndarray, place: np.ndarray, half: int) -> dict[str, float]:
    """Read the gradient: |Spearman's ρ| of the best column, and R² of a ridge regression on all of them."""
    best, _ = best_column(csr_matrix(rankdata(codes[:half], axis=0)), rankdata(place[:half]))
    fresh = csr_matrix(rankdata(codes[half:, [best]], axis=0))
    scale = np.maximum(codes[:half].std(axis=0), 1e-9)
    model = RidgeCV(np.logspace(-2, 4, 7)).fit(codes[:half] / scale, place[:half])
    return {
        f"gradient rho, {name}": float(abs(column_correlations(fresh, rankdata(place[half:]))[0])),
        f"gradient R2, {name}": float(model.score(codes[half:] / scale, place[half:])),
    }


def communities(
    name: str, codes: np.ndarray, rows: np.ndarray, world: World, half: int
) -> dict[str, float]:
    """Find communities: AUC of the best column of each, and the share of its members in that column's top ten."""
    auc, members = [], []
    for i in range(COMMUNITIES):
        present = world.present[:, i]
        scores = np.array([roc_auc_score(present[:half], column) for column in codes[:half].T])
        best = int(np.abs(scores - 0.5).argmax())
        sign = np.sign(scores[best] - 0.5) or 1.0
        auc.append(roc_auc_score(present[half:], sign * codes[half:, best]))
        top = np.argsort(-sign * rows[best])[:MEMBERS]
        members.append(world.member[i, top].mean())
    return {
        f"community AUC, {name}": float(np.mean(auc)),
        f"members, {name}": float(np.mean(members)),
    }
