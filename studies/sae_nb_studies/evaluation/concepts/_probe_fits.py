"""One probe: logistic regression on chosen columns, its penalty chosen on validation labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix, issparse

from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import RandomDictionary
from sae_nb.statistics import auroc, logistic_probe

# -------------------------------------------------------------------------------------------------
# What a probe may look at: latents, raw channels, principal components, and random stand-ins.


Pool = Literal["mean", "max"]
Table = Any
"""A dense (units, columns) array, or a scipy CSR matrix of that shape."""

Columns = int | Literal["all"]
Ranking = Callable[[Table, Bool[np.ndarray, " units"]], Int[np.ndarray, " columns"]]

SAE, RANDOM_LATENTS = "sae latents", "random latents"
CHANNELS, COMPONENTS = "raw channels", "principal components"
RANDOM, MEANS = "random dictionary", "difference of means"


@dataclass(frozen=True, eq=False)
class Arm:
    """A table of columns, and the order in which a probe of few columns takes them."""

    name: str
    table: Table
    ranking: Ranking
    sizes: Literal["few", "all", "both"] = "both"

    def takes(self, k: Columns) -> bool:
        """Return whether a probe of that many columns is fitted."""
        return self.sizes in ("both", "all" if k == "all" else "few")


@dataclass(frozen=True, eq=False)
class Units:
    """The labelled units, samples or rows: the rows of each, and its bootstrap sample."""

    rows: Int[np.ndarray, " rows"]  # rows of the activations that are used, ordered by unit
    unit: Int[np.ndarray, " rows"]  # unit of each of them, from 0, ascending
    n: int
    sample: Int[np.ndarray, " units"]  # of each unit; those of one stay on one side of a split


def arms_for(
    acts: Activations,
    codes: SparseCodes,
    units: Units,
    unlabelled: Int[np.ndarray, " m"],
    pool: Pool,
    *,
    seed: int,
) -> list[Arm]:
    """Return every arm, pooled to units; nothing here has seen a label.

    The random dictionary has the SAE's number of atoms and its mean L0. Principal components are
    those of `unlabelled`: all units that are not tested on, as an SAE needs no labels either.
    """
    x = acts.x.float().cpu()[torch.from_numpy(units.rows)]
    raw = _pool_dense(x.numpy().astype(np.float64), units, pool)
    latents = _pool_codes(codes.rows(torch.from_numpy(units.rows)), units, pool)
    active = float((codes.values != 0).sum()) / max(codes.n_rows, 1)
    k = int(np.clip(round(active), 1, codes.n_atoms))
    random = RandomDictionary(x.shape[1], codes.n_atoms, k, mean=x.mean(dim=0), seed=seed)
    parts = [random.encode(part) for part in torch.split(x, 4096)]
    chance = _pool_codes(SparseCodes.concatenate(parts), units, pool)
    shuffled = np.random.default_rng(seed).permutation(latents.shape[1])
    fires = np.flatnonzero(np.asarray(abs(latents).sum(axis=0)).ravel() > 0)
    order = shuffled[np.isin(shuffled, fires)]
    return [
        Arm(SAE, latents, by_mean_difference),
        Arm(RANDOM_LATENTS, latents[:, order], in_order, "few"),
        Arm(CHANNELS, raw, by_mean_difference),
        Arm(COMPONENTS, principal_components(raw, unlabelled), in_order),
        Arm(MEANS, raw, in_order, "all"),
        Arm(RANDOM, chance, by_mean_difference),
    ]


def principal_components(
    table: Float[np.ndarray, "units columns"], rows: Int[np.ndarray, " m"]
) -> Float[np.ndarray, "units components"]:
    """Return all rows along the principal components of some; those without variance are left out."""
    centred = table - table[rows].mean(axis=0)
    _, strength, directions = np.linalg.svd(centred[rows], full_matrices=False)
    real = int((strength > 1e-9 * max(strength[0], 1e-300)).sum())
    return centred @ directions[: max(1, real)].T


def by_mean_difference(table: Table, truth: Bool[np.ndarray, " units"]) -> np.ndarray:
    """Return columns by |mean where true − mean where false|, largest first."""
    with_, without = (np.asarray(table[rows].mean(axis=0)).ravel() for rows in (truth, ~truth))
    return np.argsort(-np.abs(with_ - without), kind="stable")


def in_order(table: Table, _truth: Bool[np.ndarray, " units"]) -> np.ndarray:
    """Return columns as they come."""
    return np.arange(table.shape[1])


def _pool_dense(x: np.ndarray, units: Units, pool: Pool) -> Float[np.ndarray, "units d_in"]:
    first = np.searchsorted(units.unit, np.arange(units.n))
    if pool == "max":
        return np.maximum.reduceat(x, first, axis=0)
    return np.add.reduceat(x, first, axis=0) / np.bincount(units.unit, minlength=units.n)[:, None]


def _pool_codes(codes: SparseCodes, units: Units, pool: Pool) -> csr_matrix:
    z = codes.to_scipy().astype(np.float64)
    if pool == "mean":
        counts = np.bincount(units.unit, minlength=units.n)
        weights = 1 / counts[units.unit]
        average = csr_matrix((weights, (units.unit, np.arange(len(units.unit)))))
        return (average @ z).tocsr()
    entries = z.tocoo()
    unit, atom = units.unit[entries.row], entries.col.astype(np.int64)
    group = unit * z.shape[1] + atom
    order = np.lexsort((np.abs(entries.data), group))
    best = order[np.diff(group[order], append=-1) != 0]  # the largest of each atom and unit
    place = (unit[best], atom[best])
    return csr_matrix((entries.data[best], place), shape=(units.n, z.shape[1]))


# -------------------------------------------------------------------------------------------------
# One probe: logistic regression on chosen columns, its penalty chosen on validation labels.


PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Inverse penalties C tried where all columns are used; with few columns C = 1."""


@dataclass(frozen=True, eq=False)
class Split:
    """Units to train on, to choose on, and to judge on."""

    train: Int[np.ndarray, " n_train"]
    validation: Int[np.ndarray, " n_validation"]
    test: Int[np.ndarray, " n_test"]


@dataclass(frozen=True, eq=False)
class Probe:
    """The predictions of one probe, and its inputs."""

    scores: Float[np.ndarray, " n_test"]
    validation: float  # AUROC on validation units, by which everything is chosen
    columns: Int[np.ndarray, " k"]


def fit_probe(arm: Arm, k: Columns, truth: Bool[np.ndarray, " units"], split: Split) -> Probe:
    """Fit one probe of k columns on training units."""
    table, y = arm.table, truth[split.train]
    if arm.name == MEANS:  # nothing is fitted but two means
        x = table[split.train]
        direction = x[y].mean(axis=0) - x[~y].mean(axis=0)
        score = float(auroc(table[split.validation] @ direction, truth[split.validation])[0])
        return Probe(table[split.test] @ direction, score, np.arange(table.shape[1]))
    if k == "all":
        return _logistic(table, truth, split, PENALTIES, np.arange(table.shape[1]))
    columns = arm.ranking(table[split.train], y)[:k]
    chosen = table[:, columns]
    dense = chosen.toarray() if issparse(chosen) else chosen
    return _logistic(dense, truth, split, (1.0,), columns)


def _logistic(
    table: Table,
    truth: Bool[np.ndarray, " units"],
    split: Split,
    penalties: tuple[float, ...],
    columns: np.ndarray,
) -> Probe:
    """Fit with each penalty and keep what predicts validation units best."""
    train, y = table[split.train], truth[split.train]
    fits = []
    for penalty in penalties:
        fitted = logistic_probe(train, y, inverse_penalty=penalty, balanced=True, tol=1e-3)
        scores = fitted.scores(table[split.validation])
        fits.append((float(auroc(scores, truth[split.validation])[0]), fitted))
    score, fitted = max(fits, key=lambda fit: fit[0])  # the first of equal ones
    return Probe(fitted.scores(table[split.test]), score, columns)
