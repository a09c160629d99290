"""Which of several models will fail on other data? A forecast from how classes lie on the data they know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Seed, as_tensor, at_least, check_finite, checked
from sae_nb.figures import Chart, Points
from sae_nb.findings import Finding, Plotted
from sae_nb.statistics import permutation_p, rank_correlation
from sae_nb_studies.geometry._classes import class_rows

FORECAST = ("dimension", "utility")
"""The markers of which the paper's abstract says that a fall foretells failure."""


class ClassMarkers(Finding):
    """What classes look like to a plane that separates them; made by `class_markers`."""

    capacity: float
    """Classes per dimension that planes can separate."""

    dimension: float
    """Directions, per class, in which the points that planes rest on vary; a plane rests on about half."""

    radius: float
    """How far they vary, against how far their centres are from the middle."""

    utility: float
    """capacity · dimension / (1 + radius⁻²): what dimension and radius do not explain."""

    n_draws: int

    @property
    def table(self) -> pd.DataFrame:
        """A marker per row."""
        names = ("capacity", "dimension", "radius", "utility")
        return pd.DataFrame({"marker": names, "value": [getattr(self, name) for name in names]})

    @property
    def headline(self) -> str:
        """All four."""
        return ", ".join(f"{row.marker} {row.value:.3g}" for row in self.table.itertuples())


@checked
@torch.no_grad()
def class_markers(
    x: Float[Tensor, "n d_in"],
    labels: Int[Tensor, " n"] | Bool[Tensor, " n"],
    *,
    per_class: Annotated[int, at_least(3)] = 25,
    n_draws: Annotated[int, at_least(2)] = 100,
    seed: Seed = 0,
) -> ClassMarkers:
    """Measure capacity, effective dimension, radius and utility of labelled classes by their anchor points.

    A draw gives each class a side and asks for the point v nearest to a random t that has all rows of each
    class on its side of the plane through 0; what t − v is a sum of are anchor points, one per class.
    With S their matrix, S⁰ its mean over draws and S¹ the rest: 1 / capacity is the mean of
    (St)ᵀ(SSᵀ)⁺(St) per class, dimension that of (S¹t)ᵀ(S¹S¹ᵀ)⁺(S¹t).

    Parameters
    ----------
    x, labels
        Rows, and a class from 0 of each; of each class three rows or more.
    per_class
        Rows of a class at most, drawn at random.
    n_draws, seed
        Of t and sides; of these and of rows.

    Raises
    ------
    TypeError, ValueError: If labels do not fit, or there are fewer than two classes of three rows.

    Source
    ------
    The markers that "Diagnosing Generalization Failures", arXiv 2603.01879, names; anchor points after
    Chung, Lee and Sompolinsky, arXiv 1710.06487. Sides drawn evenly, and utility as what is left of capacity,
    are ours: the paper's own formulas we have not seen.

    Example
    -------
    >>> draws = torch.Generator().manual_seed(0)
    >>> labels = torch.arange(4).repeat(20)
    >>> noise = torch.randn(80, 12, generator=draws)
    >>> near, far = (class_markers(size * torch.eye(4, 12)[labels] + noise, labels) for size in (1, 9))
    >>> near.capacity < far.capacity, near.radius > far.radius
    (True, True)
    """
    rows, classes, found, _ = class_rows(x, labels)
    rng = np.random.default_rng(seed)
    clouds = []
    for label in found.tolist():
        own = np.flatnonzero(classes.numpy() == label)
        clouds.append(rows.numpy()[rng.permutation(own)[:per_class]])
    anchors, ts = _anchors(clouds, n_draws, rng)
    capacity, dimension, radius = _measured(anchors, ts)
    return ClassMarkers(
        capacity=capacity,
        dimension=dimension,
        radius=radius,
        utility=capacity * dimension / (1 + max(radius, 1e-12) ** -2),
        n_draws=n_draws,
    )


def _anchors(
    clouds: list[np.ndarray], n_draws: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "draws classes d"], Float[np.ndarray, "draws d"]]:
    """Return the point of each class that the plane of each draw rests on; NaN where it rests on none."""
    from scipy.optimize import nnls

    every = np.concatenate(clouds)
    scale = max(float(np.linalg.norm(every, axis=1).mean()), 1e-300)
    of = np.repeat(np.arange(len(clouds)), [len(cloud) for cloud in clouds])
    ts = rng.standard_normal((n_draws, every.shape[1]))
    anchors = np.full((n_draws, len(clouds), every.shape[1]), np.nan)
    for k, t in enumerate(ts):
        side = rng.permutation(np.where(np.arange(len(clouds)) < len(clouds) // 2, -1.0, 1.0))
        # t = v + Σ λ (−side · row), v on the right side of all: the nearest v leaves the cone's part.
        weights, _ = nnls((-side[of, None] * every / scale).T, t, maxiter=50 * len(every))
        for j in range(len(clouds)):
            own = weights[of == j]
            if own.sum() > 1e-9:
                anchors[k, j] = own @ clouds[j] / own.sum()
    return anchors, ts


def _measured(
    anchors: Float[np.ndarray, "draws classes d"], ts: Float[np.ndarray, "draws d"]
) -> tuple[float, float, float]:
    """Return capacity, dimension and radius."""
    n = anchors.shape[1]
    there = ~np.isnan(anchors[:, :, :1])
    whole = np.where(there, anchors, 0.0)
    centres = whole.sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    axes = np.where(there, anchors - centres, 0.0)
    cost, spread, shared = [], [], []
    for s, s1, t in zip(whole, axes, ts, strict=True):
        cost.append(_explained(s @ t, s @ s.T))
        spread.append(_explained(s1 @ t, s1 @ s1.T))
        shared.append(_explained(s1 @ t, s1 @ s1.T + centres @ centres.T))
    mean, both = float(np.mean(spread)), float(np.mean(shared))
    capacity = n / max(float(np.mean(cost)), 1e-12)
    return capacity, mean / n, float(np.sqrt(both / max(mean - both, 1e-12)))


def _explained(along: np.ndarray, gram: np.ndarray) -> float:
    return float(along @ np.linalg.pinv(gram, rcond=1e-9, hermitian=True) @ along)


# -------------------------------------------------------------------------------------------------
# The forecast.


class FailureForecast(Plotted):
    """How well markers of several models order them by accuracy on other data; made by `failure_forecast`."""

    table: pd.DataFrame
    """A row per marker, of "forecast" (mean rank of the markers of `by`) and "accuracy": marker, rank (Spearman
    correlation over models with the mean accuracy on other data), beyond (what is left of it beside accuracy
    on the same data), shuffled (rank that 19 of 20 shuffles of the models stay below), p."""

    by: tuple[str, ...]
    forecast: Float[np.ndarray, " models"]
    """Mean rank, the least, 1, for the model that should fail first."""

    accuracy: Float[np.ndarray, " models"]
    shifted: Float[np.ndarray, " models"]
    """On the same data, and on other data, mean over shifts."""

    @property
    def headline(self) -> str:
        """Rank correlation of the forecast, of accuracy, and of shuffled models."""
        at = self.table.set_index("marker")
        own = at.loc["forecast"]
        return (
            f"{len(self.accuracy)} models: {' and '.join(self.by)} rank them as other data do by "
            f"{own['rank']:.2f} (accuracy {at.loc['accuracy', 'rank']:.2f}, shuffled up to "
            f"{own['shuffled']:.2f})"
        )

    @property
    def chart(self) -> Chart:
        """Accuracy on other data against the forecast, and against the rank of accuracy."""
        from scipy.stats import rankdata

        series = (
            Points("forecast", self.forecast, self.shifted),
            Points(
                "accuracy on the same data", rankdata(self.accuracy), self.shifted, control=True
            ),
        )
        return Chart(
            series=series, x="rank (1: should fail first)", y="accuracy on other data", marks=True
        )


@checked(leave=("markers", "accuracy", "shifted"))
def failure_forecast(
    markers: Mapping[str, Any],
    accuracy: Float[np.ndarray, " models"],
    shifted: Float[np.ndarray, " models"] | Float[np.ndarray, "models shifts"],
    *,
    by: tuple[str, ...] = FORECAST,
    n_permutations: Annotated[int, at_least(20)] = 1000,
    seed: Seed = 0,
) -> FailureForecast:
    """Judge a forecast of which models fail on other data, made from markers on the data they know.

    Parameters
    ----------
    markers
        A number per model, by name, such as those of `class_markers` on held-out data of training; the
        larger, the better a model should do.
    accuracy
        Of each model on data of the training distribution: the simpler forecast.
    shifted
        Of each model on other data, a column per shift.
    by
        Markers whose mean rank is the forecast.
    n_permutations, seed
        Shuffles of the models.

    Raises
    ------
    TypeError, ValueError: If `markers` is no mapping, lengths differ, there are fewer than four models, or a
        marker of `by` is missing.

    Source
    ------
    "Diagnosing Generalization Failures", arXiv 2603.01879 (abstract): falls of effective dimension and utility
    foretell poor accuracy out of distribution, better than accuracy does. Mean ranks and the rest are ours.

    Example
    -------
    >>> markers = {"dimension": [1, 2, 3, 4, 5], "utility": [2, 1, 3, 5, 4]}
    >>> found = failure_forecast(markers, [0.9, 0.9, 0.8, 0.9, 0.8], [0.1, 0.2, 0.5, 0.6, 0.7])
    >>> bool(found.table.set_index("marker").loc["forecast", "rank"] > 0.9)
    True
    """
    from scipy.stats import rankdata

    if not isinstance(markers, Mapping) or not markers:
        raise TypeError(
            f"`markers` must be numbers of models by name, got {type(markers).__name__}."
        )
    of = {str(name): _one_each(values, f"markers[{name!r}]") for name, values in markers.items()}
    known = _one_each(accuracy, "accuracy")
    other = np.asarray(as_tensor(shifted, name="shifted").double())
    other = other.mean(axis=1) if other.ndim == 2 else other
    sizes = {
        name: len(values) for name, values in (of | {"accuracy": known, "shifted": other}).items()
    }
    if len(set(sizes.values())) > 1 or len(known) < 4:
        raise ValueError(
            f"Markers and accuracies must be of the same four models or more, got {sizes}."
        )
    if not by or set(by) - set(of):
        raise ValueError(f"`by` must name markers, of {', '.join(of)}, got {list(by)}.")
    forecast = np.mean([rankdata(of[name]) for name in by], axis=0)
    rng = np.random.default_rng(seed)
    shuffles = np.array([rng.permutation(_ranks(other)) for _ in range(n_permutations)])
    rows = []
    for name, values in (of | {"forecast": forecast, "accuracy": known}).items():
        rank = rank_correlation(values, other, undefined=0.0)
        chance = shuffles @ _ranks(values)
        p = float(permutation_p(chance, np.array([rank]), slack=1e-9)[0])
        rows.append(
            (name, rank, _beyond(values, other, known), float(np.quantile(chance, 0.95)), p)
        )
    return FailureForecast(
        table=pd.DataFrame(rows, columns=["marker", "rank", "beyond", "shuffled", "p"]),
        by=tuple(by),
        forecast=forecast,
        accuracy=known,
        shifted=other,
    )


def _one_each(values: Any, name: str) -> Float[np.ndarray, " models"]:
    tensor = as_tensor(values, name=name).double()
    if tensor.ndim != 1:
        raise ValueError(f"`{name}` must have one number per model, got {tuple(tensor.shape)}.")
    check_finite(tensor, name=name)
    return np.asarray(tensor)


def _ranks(values: Float[np.ndarray, " models"]) -> Float[np.ndarray, " models"]:
    """Return ranks less their mean, of length 1 as a row: the product of two is Spearman's correlation."""
    from scipy.stats import rankdata

    centred = rankdata(values) - (len(values) + 1) / 2
    return centred / max(float(np.linalg.norm(centred)), 1e-12)


def _beyond(one: np.ndarray, other: np.ndarray, given: np.ndarray) -> float:
    """Spearman's partial correlation: that of ranks less what the ranks of `given` say of them."""
    a, b, c = (
        rank_correlation(*pair, undefined=0.0)
        for pair in ((one, other), (one, given), (other, given))
    )
    left = (1 - b**2) * (1 - c**2)
    return float((a - b * c) / np.sqrt(left)) if left > 1e-9 else 0.0
