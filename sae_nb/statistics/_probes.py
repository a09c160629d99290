"""One linear probe: logistic regression by scikit-learn, with its settings as arguments."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.sparse import issparse

Scale = Literal["deviation", "largest"] | float


@dataclass(frozen=True, kw_only=True, eq=False)
class LogisticProbe:
    """A fitted probe in the units of its columns: of two classes one row, towards the second."""

    classes: np.ndarray
    weight: Float[np.ndarray, "outputs columns"]
    bias: Float[np.ndarray, " outputs"]

    def scores(self, x: Any) -> Float[np.ndarray, "n ..."]:
        """Return how much each row speaks for the second class, or for each of several."""
        found = np.asarray(x @ self.weight.T + self.bias)
        return found[:, 0] if found.shape[1] == 1 else found

    def predict(self, x: Any) -> np.ndarray:
        """Return the class of each row."""
        scores = self.scores(x)
        return self.classes[scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(int)]


def logistic_probe(
    x: Any,
    y: np.ndarray,
    *,
    scale: Scale = "deviation",
    centred: bool = True,
    inverse_penalty: float = 1.0,
    balanced: bool = False,
    max_iter: int = 1000,
    tol: float = 1e-4,
    quiet: bool = False,
) -> LogisticProbe:
    """Fit logistic regression with an L2 penalty on columns that are centred and scaled first.

    Parameters
    ----------
    x, y
        Rows, dense or scipy sparse; a class for each.
    scale
        Divisor of columns: their standard deviation, their largest size, or one number for all.
    centred
        Whether the mean of each column is taken off. Sparse columns keep theirs.
    inverse_penalty
        C: the sum of losses is weighted with it against ½‖w‖².
    balanced
        Whether both classes count the same, however many rows each has.
    max_iter, tol
        When the solver stops.
    quiet
        Whether a solver that has not converged may go unmentioned: the probe is judged on other rows.
    """
    from sklearn.linear_model import LogisticRegression

    centred, divisor = centred and not issparse(x), _divisor(x, scale)
    mean = x.mean(axis=0) if centred else np.zeros(x.shape[1])
    model = LogisticRegression(
        C=inverse_penalty, max_iter=max_iter, tol=tol, class_weight="balanced" if balanced else None
    )
    with warnings.catch_warnings():
        if quiet:
            warnings.simplefilter("ignore")
        model.fit(_divided(x - mean if centred else x, divisor), y)
    weight = model.coef_ / divisor
    return LogisticProbe(
        classes=model.classes_, weight=weight, bias=model.intercept_ - weight @ mean
    )


def _divisor(x: Any, scale: Scale) -> float | Float[np.ndarray, " columns"]:
    """Return the divisor of columns; 1 for a column that is the same everywhere."""
    from sklearn.preprocessing import MaxAbsScaler, StandardScaler

    if scale == "deviation":
        return np.asarray(StandardScaler(with_mean=False).fit(x).scale_)
    if scale == "largest":
        return np.asarray(MaxAbsScaler().fit(x).scale_)
    return float(scale)


def _divided(x: Any, divisor: float | Float[np.ndarray, " columns"]) -> Any:
    # What is fp32 is fitted in fp32.
    divisor = np.asarray(divisor, dtype=np.result_type(x.dtype, np.float32))
    return x.multiply(1 / divisor).tocsr() if issparse(x) else x / divisor
