"""AUROC under many weightings of the same examples at once: what a bootstrap of it costs least with.

AUROC = P(s⁺ > s⁻) + ½ P(s⁺ = s⁻); always the same answer gives ½.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def auroc(
    scores: Float[np.ndarray, " n"],
    truth: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, "resamples n"] | None = None,
) -> Float[np.ndarray, " resamples"]:
    """Return the area under the ROC curve for each weighting; NaN where a class has no weight.

    Parameters
    ----------
    scores
        Higher for what should be true.
    truth
        What is.
    weights
        How often each example counts; None counts each once.

    Example
    -------
    >>> auroc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True])).tolist()
    [0.875]
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
