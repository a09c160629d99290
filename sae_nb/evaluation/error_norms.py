"""Where an SAE errs most: R²(‖e‖² | x, 1) beside predictors that know far less of the input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sae_nb.evaluation.linear_prediction import fit_linear, fit_ridge
from sae_nb.evaluation.measurement import Measurement, Resampling, measured


@dataclass(frozen=True, kw_only=True, eq=False)
class NormPrediction(Measurement):
    """R² of the squared length of the error, predicted by a linear map of x and a constant.

    The floor is the best of the plain predictors in `baselines`: what a direction of x adds to
    knowing the token, the size of the activation, or how many atoms fired.
    """

    baselines: dict[str, float]
    """R² on held-out rows by predictor: "token" (its mean in training), "activation norm", "l0"."""


def predict_norms(
    train: Float[np.ndarray, " m"],
    held: Float[np.ndarray, " n"],
    x_train: Float[np.ndarray, "m d_in"],
    x_held: Float[np.ndarray, "n d_in"],
    plain_train: dict[str, np.ndarray],
    plain_held: dict[str, np.ndarray],
    sample: Int[np.ndarray, " n"],
    resampling: Resampling,
) -> NormPrediction:
    """Fit ‖e‖² on training rows by x and by each plain predictor, and score them on held-out rows.

    Parameters
    ----------
    train, held
        ‖e‖² of both halves.
    x_train, x_held
        What predicts.
    plain_train, plain_held
        Plain predictors by name; "token" holds ids, the others numbers.
    sample
        Of each held-out row, for the bootstrap.
    resampling
        Of the interval.
    """
    predicted = _by_x(train, x_train, x_held)
    baselines = {
        name: _r2(held, _by_token(train, values, plain_held[name]))
        if name == "token"
        else _r2(held, fit_linear(values[:, None], train[:, None])(plain_held[name][:, None])[:, 0])
        for name, values in plain_train.items()
    }
    columns = np.stack([(held - predicted) ** 2, held, held**2, np.ones_like(held)], axis=1)
    r2 = resampling.interval(
        resampling.grouped(columns, sample),
        lambda s: 1 - s[:, 0] / (s[:, 2] - s[:, 1] ** 2 / s[:, 3]),
    )
    return NormPrediction.of(
        measured(
            "dark_matter_norm",
            _r2(held, predicted),
            floor=max(baselines.values()),
            interval=r2,
            n=len(held),
        ),
        baselines=baselines,
    )


def _by_x(
    train: Float[np.ndarray, " m"],
    x_train: Float[np.ndarray, "m d_in"],
    x_held: Float[np.ndarray, "n d_in"],
) -> Float[np.ndarray, " n"]:
    first = len(x_train) * 3 // 4
    if len(x_train) >= 10 * x_train.shape[1]:
        return fit_linear(x_train, train[:, None])(x_held)[:, 0]
    fit = fit_ridge(x_train[:first], train[:first, None], x_train[first:], train[first:, None])
    return fit(x_held)[:, 0]


def _by_token(
    train: Float[np.ndarray, " m"], ids: Int[np.ndarray, " m"], held_ids: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """The mean of each token in training; of all tokens where it never occurred there."""
    known, place = np.unique(ids, return_inverse=True)
    means = np.bincount(place, weights=train) / np.bincount(place)
    at = np.minimum(np.searchsorted(known, held_ids), len(known) - 1)
    return np.where(known[at] == held_ids, means[at], train.mean())


def _r2(truth: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]) -> float:
    varies = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - predicted) ** 2).sum()) / varies if varies > 0 else float("nan")
