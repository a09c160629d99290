"""Is a geometry in all coordinates, does it follow labels, does it stay? Distances of all pairs of rows.

RDM: these distances. Feature split: mean over splits of Spearman(RDM(X_A), RDM(X_B)), A and B random halves of
the coordinates. Supervised: Spearman(RDM(X), 1[y_i ≠ y_j]). Drift: 1 − Spearman(RDM(X), RDM(Y)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, check_classes, check_matrix, checked
from sae_nb.findings import Finding
from sae_nb.statistics import correlation, mantel_null, ranks_of

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_ROWS = 1600
"""Rows compared pair by pair, drawn at random from more; what the reference takes."""

SHUFFLES, SHUFFLED_SPLITS = 20, 5
"""Draws of shuffled labels and rows that a floor is the mean of; splits that have one."""


class GeometricStability(Finding):
    """Stability of the distances between rows; made by `geometric_stability`."""

    splits: Float[np.ndarray, " n_splits"]
    """ρ of each split of the coordinates."""

    split_floor: float
    """Mean ρ where the rows of one half are shuffled."""

    supervised: float | None
    """ρ of distances with unlike labels; None without labels."""

    supervised_floor: float | None
    """The same with shuffled labels."""

    variance_ratio: float | None
    """Share of the variance that lies between classes, SS_between / SS_total; None without labels."""

    variance_ratio_floor: float | None
    """The same with shuffled labels."""

    drift: float | None
    """1 − ρ of the distances of these rows with those of `other`; None without."""

    drift_floor: float | None
    """The drift to shuffled rows of `other`: what no common geometry has."""

    n: int
    """Rows that were compared."""

    @property
    def feature_split(self) -> float:
        """Mean ρ over splits: 1 if every half of the coordinates gives the same geometry."""
        return float(self.splits.mean())

    @property
    def table(self) -> DataFrame:
        """A measure per row: its value and its floor."""
        import pandas as pd

        lines = [
            ("feature split", self.feature_split, self.split_floor),
            ("supervised", self.supervised, self.supervised_floor),
            ("variance ratio", self.variance_ratio, self.variance_ratio_floor),
            ("drift", self.drift, self.drift_floor),
        ]
        known = [line for line in lines if line[1] is not None]
        return pd.DataFrame(known, columns=["measure", "value", "floor"])

    @property
    def headline(self) -> str:
        """Each measure with its floor."""
        lines = self.table.itertuples(index=False)
        found = ", ".join(f"{name} {value:.3f} (floor {floor:.3f})" for name, value, floor in lines)
        return f"{found}; {self.n} rows"


@checked
@torch.no_grad()
def geometric_stability(
    x: Float[Tensor, "n d_in"],
    labels: Int[Tensor, " n"] | Bool[Tensor, " n"] | None = None,
    *,
    other: Float[Tensor, "n d_other"] | None = None,
    n_splits: Count = 30,
    seed: Seed = 0,
) -> GeometricStability:
    """Ask whether rows that are alike stay alike: in other coordinates, within labels, after a change.

    The coordinates are split, never the rows: distances of two different sets of rows have no common
    pairs, and a split of rows finds nothing where there is structure.

    Parameters
    ----------
    x
        Rows, with four coordinates or more; 1600 of them are used.
    labels
        A class from 0 of each row.
    other
        The same rows elsewhere: at another layer, after training, under noise. It may be of another width.
    n_splits
        Random halves of the coordinates.
    seed
        Of the rows used, of splits and of shuffles.

    Raises
    ------
    TypeError, ValueError: If there are fewer than three rows or four coordinates, a row is zero in a half of
        them or constant where labels are compared, or labels or `other` do not fit the rows.

    Source
    ------
    Shesha (shesha-geometry 0.2.22): its feature split, supervised alignment, variance ratio and drift.
    Distances are 1 − cosine, for labels 1 − correlation. Its split of rows is left out: it compares pairs of
    different rows.

    Example
    -------
    >>> draws = torch.Generator().manual_seed(0)
    >>> low_rank = torch.randn(80, 3, generator=draws) @ torch.randn(3, 200, generator=draws)
    >>> found = geometric_stability(low_rank, low_rank[:, 0] > 0, n_splits=5)
    >>> found.feature_split > 0.9, found.supervised > 10 * found.supervised_floor
    (True, True)
    """
    rows = check_matrix(x).double()
    if len(rows) < 3 or rows.shape[1] < 4:
        raise ValueError(
            f"`x` must have three rows and four coordinates at least, got {len(rows)} and {rows.shape[1]}."
        )
    classes = None if labels is None else _checked_labels(labels, len(rows))
    elsewhere = None if other is None else check_matrix(other, name="other").double()
    generator = torch.Generator().manual_seed(seed)
    if len(rows) > MOST_ROWS:
        chosen = torch.randperm(len(rows), generator=generator)[:MOST_ROWS]
        rows = rows[chosen]
        classes = None if classes is None else classes[chosen]
        elsewhere = None if elsewhere is None else elsewhere[chosen]
    rng = np.random.default_rng(seed)
    splits, floors = _splits(rows, n_splits, generator, rng)
    labelled = (None,) * 4 if classes is None else _by_labels(rows, classes.numpy(), rng)
    drifted = (None, None) if elsewhere is None else _drift(rows, elsewhere, rng)
    return GeometricStability(
        splits=np.array(splits),
        split_floor=float(np.mean(floors)),
        supervised=labelled[0],
        supervised_floor=labelled[1],
        variance_ratio=labelled[2],
        variance_ratio_floor=labelled[3],
        drift=drifted[0],
        drift_floor=drifted[1],
        n=len(rows),
    )


def _checked_labels(labels: object, n: int) -> Tensor:
    """Classes, at least two of them and one of them twice."""
    found = check_classes(labels)
    if not 1 < len(torch.unique(found)) < n:
        raise ValueError(
            f"`labels` must have two classes or more, and two rows or more of one, got "
            f"{len(torch.unique(found))} classes of {n} rows."
        )
    return found


def _splits(
    rows: Tensor, n_splits: int, generator: torch.Generator, rng: np.random.Generator
) -> tuple[list[float], list[float]]:
    """ρ of each split; and with the rows of its second half shuffled."""
    d = rows.shape[1]
    found, floors = [], []
    for i in range(n_splits):
        order = torch.randperm(d, generator=generator)
        one, two = (_ranks(_unlike(rows[:, half])) for half in (order[: d // 2], order[d // 2 :]))
        found.append(float(correlation(one, two)))
        if i < SHUFFLED_SPLITS:
            floors.append(float(mantel_null(one, two, 1, rng)[0]))
    return found, floors


def _by_labels(
    rows: Tensor, classes: Int[np.ndarray, " n"], rng: np.random.Generator
) -> tuple[float, float, float, float]:
    centred = rows - rows.mean(dim=1, keepdim=True)
    ranks = _ranks(_unlike(centred))
    first, second = np.triu_indices(len(rows), 1)
    x = rows.numpy()
    permuted = [rng.permutation(classes) for _ in range(SHUFFLES)]
    aligned = [
        float(correlation(ranks, (y[first] != y[second]).astype(float)))
        for y in (classes, *permuted)
    ]
    between = [_between(x, y) for y in (classes, *permuted)]
    return (
        aligned[0],
        float(np.mean(aligned[1:])),
        between[0],
        float(np.mean(between[1:])),
    )


def _between(x: Float[np.ndarray, "n d"], classes: Int[np.ndarray, " n"]) -> float:
    """SS_between / SS_total."""
    centred = x - x.mean(axis=0)
    counts = np.bincount(classes)
    sums = np.zeros((len(counts), x.shape[1]))
    np.add.at(sums, classes, centred)
    between = ((sums**2).sum(axis=1) / counts.clip(1)).sum()
    return float(between / max((centred**2).sum(), 1e-300))


def _drift(rows: Tensor, other: Tensor, rng: np.random.Generator) -> tuple[float, float]:
    one, two = _ranks(_unlike(rows)), _ranks(_unlike(other, "other"))
    floors = mantel_null(one, two, SHUFFLES, rng)
    return 1 - float(correlation(one, two)), 1 - float(np.mean(floors))


def _unlike(x: Tensor, name: str = "x") -> Float[np.ndarray, " pairs"]:
    """1 − cosine of every pair of rows."""
    norms = x.norm(dim=1, keepdim=True)
    if bool((norms <= 1e-12 * norms.max()).any()):
        raise ValueError(
            f"`{name}` must have no row that is zero in half of its coordinates, or constant where labels "
            "are compared: it has no direction there. Leave such rows out."
        )
    unit = x / norms
    first, second = torch.triu_indices(len(x), len(x), offset=1)
    pairs: Float[np.ndarray, " pairs"] = (1 - unit @ unit.T)[first, second].numpy()
    return pairs


def _ranks(values: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
    """Ranks of distances; copies differ by rounding alone, and share theirs."""
    return ranks_of(values, digits=12)
