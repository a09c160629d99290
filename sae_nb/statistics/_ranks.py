"""Correlations of numbers and of ranks, and how well a score tells two classes apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

Numbers = Sequence[float] | Float[np.ndarray, " n"]


def correlation(
    a: Float[np.ndarray, "*rows n"], b: Float[np.ndarray, "*rows n"]
) -> Float[np.ndarray, "*rows"]:
    """Return Pearson's correlation along the last axis; 0 where one of both is constant.

    Of ranks it is Spearman's.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (a, b))
    # A power of two off all numbers changes no digit, and squares of what is left can be held.
    a, b = (
        np.ldexp(x, -np.frexp(np.abs(x).max(axis=-1, keepdims=True, initial=0))[1]) for x in (a, b)
    )
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (a, b))
    size = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    products = (a * b).sum(axis=-1)
    return np.divide(products, size, out=np.zeros_like(products), where=size > 0)[()]


def ranks_of(
    values: Float[np.ndarray, "*rows n"], *, digits: int | None = None
) -> Float[np.ndarray, "*rows n"]:
    """Return ranks along the last axis; values that agree, in so many digits, share theirs.

    The same as scipy's `rankdata`, whose sort keeps ties in order: three times as slow on 1024 rows of 1024.
    """
    values = np.asarray(values) if digits is None else np.asarray(values).round(digits)
    order = values.argsort(axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    opens = np.ones(values.shape, dtype=bool)
    opens[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    first = np.flatnonzero(opens)
    together = np.diff(first, append=values.size)
    shared = first % max(values.shape[-1], 1) + (together + 1) / 2
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, np.repeat(shared, together).reshape(values.shape), axis=-1)
    return ranks


def rank_correlation(a: Numbers, b: Numbers, *, undefined: float = float("nan")) -> float:
    """Return Spearman's correlation, to 12 digits; `undefined` where one of both is constant.

    The same as scipy's `spearmanr`, which tests it too: three times as slow on a hundred pairs.
    """
    if not len(a) or np.ptp(a) == 0 or np.ptp(b) == 0:
        return undefined
    if np.isnan(a).any() or np.isnan(b).any():
        return float("nan")
    return round(float(correlation(ranks_of(np.asarray(a)), ranks_of(np.asarray(b)))), 12)


def correlation_p(r: float | Float[np.ndarray, " m"], n: int) -> Float[np.ndarray, " m"]:
    """Return two-sided p of correlations of n values, of numbers or of ranks, if there were none.

    t = r √((n − 2) / (1 − r²)) has Student's distribution with n − 2 degrees of freedom.
    """
    from scipy.stats import t as student

    r = np.asarray(r)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(r) * np.sqrt((n - 2) / np.maximum(1 - r**2, 0))
    return 2 * student.sf(t, n - 2)


def auroc(
    scores: Float[np.ndarray, " n"],
    truth: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, "resamples n"] | None = None,
) -> Float[np.ndarray, " resamples"]:
    """Return the area under the ROC curve for each weighting; NaN where a class has no weight.

    AUROC = P(s⁺ > s⁻) + ½ P(s⁺ = s⁻); always the same answer gives ½. The same as scikit-learn's
    `roc_auc_score`, which takes one weighting at a time: twenty times as slow on 400 weightings of 2000
    scores.
    """
    weights = np.ones((1, len(scores))) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    ranked, true = scores[order], truth[order]
    first = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    w = weights[:, order]
    # Weights of either class at each distinct score.
    positive = np.add.reduceat(w * true, first, axis=1)
    negative = np.add.reduceat(w * ~true, first, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    won = (positive * (below + negative / 2)).sum(axis=1)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(w), np.nan), where=pairs > 0)
