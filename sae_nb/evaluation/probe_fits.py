"""One probe: logistic regression on chosen columns, its penalty chosen on validation labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import issparse

from sae_nb.evaluation.probe_features import MEANS, Arm, Table, columns_of
from sae_nb.evaluation.weighted_auroc import auroc

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
    """What one probe says, and what it looked at."""

    scores: Float[np.ndarray, " n_test"]
    validation: float
    """AUROC on validation units, by which everything is chosen."""

    columns: Int[np.ndarray, " k"]


def fit_probe(arm: Arm, k: int | None, truth: Bool[np.ndarray, " units"], split: Split) -> Probe:
    """Fit one probe on training units; k columns, or all for None.

    Parameters
    ----------
    arm
        Columns and how they are ranked, by training units alone.
    k
        Columns used.
    truth
        Labels of all units; noisy ones where the study asks for noise. Test labels are not read.
    split
        Units by their use.
    """
    table, train = arm.table, arm.table[split.train]
    if arm.name == MEANS:
        return _by_difference(table, truth, split)
    if k is None:
        return _chosen(*_scaled(table, split), truth, split, PENALTIES, np.arange(table.shape[1]))
    columns = arm.ranking(train, truth[split.train])[:k]
    dense = columns_of(table, columns)
    return _chosen(*_scaled(dense, split), truth, split, (1.0,), columns)


def _scaled(table: Table, split: Split) -> tuple[Table, Table, Table]:
    """Return training, validation and test units, columns scaled by the training units.

    Sparse tables are not centred: they would be dense.
    """
    train = table[split.train]
    if issparse(table):
        from scipy.sparse import diags

        square = np.asarray(train.multiply(train).mean(axis=0)).ravel()
        scale = np.sqrt(np.maximum(square - np.asarray(train.mean(axis=0)).ravel() ** 2, 0))
        factor = diags(np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0))
        return tuple((table[part] @ factor).tocsr() for part in _parts(split))
    mean, scale = train.mean(axis=0), train.std(axis=0)
    factor = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    return tuple((table[part] - mean) * factor for part in _parts(split))


def _parts(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return split.train, split.validation, split.test


def _chosen(
    train: Table,
    validation: Table,
    test: Table,
    truth: Bool[np.ndarray, " units"],
    split: Split,
    penalties: tuple[float, ...],
    columns: np.ndarray,
) -> Probe:
    """Fit with each penalty and keep what tells validation units best."""
    best: tuple[float, Any] | None = None
    for penalty in penalties:
        model = _logistic(penalty).fit(train, truth[split.train])
        score = float(auroc(model.decision_function(validation), truth[split.validation])[0])
        if best is None or score > best[0]:
            best = (score, model)
    score, model = best  # type: ignore[misc]  # there is at least one penalty
    return Probe(model.decision_function(test), score, columns)


def _logistic(penalty: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=penalty, max_iter=1000, class_weight="balanced", tol=1e-3)


def _by_difference(table: np.ndarray, truth: Bool[np.ndarray, " units"], split: Split) -> Probe:
    """⟨x, mean where true − mean where false⟩: nothing is fitted but two means."""
    x, y = table[split.train], truth[split.train]
    direction = x[y].mean(axis=0) - x[~y].mean(axis=0)
    validation = float(auroc(table[split.validation] @ direction, truth[split.validation])[0])
    return Probe(table[split.test] @ direction, validation, np.arange(table.shape[1]))
