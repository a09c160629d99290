"""Least squares on many rows without a large matrix: Gram sums in fp64, solved with or without ridge.

B = argmin Σ‖t − (x − μ)B‖² + λ n ‖B‖², t centred too; directions in which x does not vary are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_ROWS = 8192  # rows turned to fp64 at a time
_RANK = 1e-10  # eigenvalues of the covariance below this share of the largest count as zero
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""λ tried, in units of the mean variance of a column of x."""


@dataclass(frozen=True, eq=False)
class LinearFit:
    """t ≈ (x − mean) B + offset."""

    mean: Float[np.ndarray, " d_in"]
    weights: Float[np.ndarray, "d_in targets"]
    offset: Float[np.ndarray, " targets"]
    ridge: float
    """λ in units of the mean variance; 0 is least squares."""

    def __call__(self, x: Float[np.ndarray, "n d_in"]) -> Float[np.ndarray, "n targets"]:
        return (x - self.mean) @ self.weights + self.offset


@dataclass(frozen=True, eq=False)
class GramSums:
    """What least squares needs of some rows: means, and centred second moments per row."""

    n: int
    mean: Float[np.ndarray, " d_in"]
    offset: Float[np.ndarray, " targets"]
    covariance: Float[np.ndarray, "d_in d_in"]
    cross: Float[np.ndarray, "d_in targets"]

    @classmethod
    def of(
        cls, x: Float[np.ndarray, "n d_in"], targets: Float[np.ndarray, "n targets"]
    ) -> GramSums:
        """Sum over rows, some at a time, in fp64."""
        n, mean, offset = len(x), x.mean(axis=0, dtype=float), targets.mean(axis=0, dtype=float)
        covariance = np.zeros((x.shape[1], x.shape[1]))
        cross = np.zeros((x.shape[1], targets.shape[1]))
        for start in range(0, n, _ROWS):
            part = x[start : start + _ROWS].astype(np.float64) - mean
            covariance += part.T @ part
            cross += part.T @ (targets[start : start + _ROWS].astype(np.float64) - offset)
        return cls(n, mean, offset, covariance / n, cross / n)

    def solve(self, ridges: tuple[float, ...] = (0.0,)) -> list[LinearFit]:
        """Return one fit for each λ, from one eigendecomposition."""
        values, vectors = np.linalg.eigh(self.covariance)
        kept = values > _RANK * max(values[-1], np.finfo(float).tiny)
        values, vectors = values[kept], vectors[:, kept]
        turned, unit = vectors.T @ self.cross, float(np.trace(self.covariance)) / len(self.mean)
        return [
            LinearFit(
                self.mean, vectors @ (turned / (values + r * unit)[:, None]), self.offset, float(r)
            )
            for r in ridges
        ]


def fit_linear(
    x: Float[np.ndarray, "n d_in"], targets: Float[np.ndarray, "n targets"]
) -> LinearFit:
    """Return the least-squares fit of targets by x and a constant."""
    return GramSums.of(x, targets).solve()[0]


def fit_ridge(
    x: Float[np.ndarray, "n d_in"],
    targets: Float[np.ndarray, "n targets"],
    x_validation: Float[np.ndarray, "m d_in"],
    targets_validation: Float[np.ndarray, "m targets"],
) -> LinearFit:
    """Return the ridge fit whose λ of `RIDGES` errs least on rows that it was not fitted on."""
    fits = GramSums.of(x, targets).solve(RIDGES)
    errors = [float(((targets_validation - fit(x_validation)) ** 2).sum()) for fit in fits]
    return fits[int(np.argmin(errors))]
