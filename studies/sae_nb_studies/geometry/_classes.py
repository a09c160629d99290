"""Geometry of labelled classes: how many directions each spreads in, how wide it is, how separable they are.

They are proxies for the "effective manifold dimensionality" and "utility" of a paper we had the abstract of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, check_classes, check_matrix, checked
from sae_nb.findings import Finding
from sae_nb.geometry import participation_ratio

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_ROWS = 40
"""Rows of a class that separability looks at: a linear program has a condition for each."""


class ClassGeometry(Finding):
    """The arrangement of labelled classes in a space; made by `class_geometry`."""

    classes: tuple[int, ...]
    """The labels."""

    n: Int[np.ndarray, " classes"]
    """Rows of each."""

    dimension: Float[np.ndarray, " classes"]
    """Participation ratio of the rows of each class."""

    dimension_floor: float
    """Its mean over classes of shuffled labels."""

    radius: Float[np.ndarray, " classes"]
    """Distance of the rows of each class from its centre, in units of that of the centres from their mean
    (root mean squares)."""

    radius_floor: float
    """Its mean over classes of shuffled labels."""

    separable_at: float
    """Fewest random dimensions in which half of all random dichotomies of the classes can be separated by a
    plane; infinite where all dimensions do not suffice."""

    separable_floor: float
    """The same with shuffled labels."""

    @property
    def capacity_proxy(self) -> float:
        """Classes per dimension needed to separate them: a proxy for the capacity of class manifolds."""
        return len(self.classes) / self.separable_at

    @property
    def table(self) -> DataFrame:
        """Means over classes, with their floors of shuffled labels."""
        import pandas as pd

        n = len(self.classes)
        lines = [
            ("dimension", self.dimension.mean(), self.dimension_floor),
            ("radius", self.radius.mean(), self.radius_floor),
            ("separable at", self.separable_at, self.separable_floor),
            ("capacity (proxy)", self.capacity_proxy, n / self.separable_floor),
        ]
        return pd.DataFrame(lines, columns=["measure", "value", "shuffled labels"])

    @property
    def per_class(self) -> DataFrame:
        """A class per row: label, n, dimension, radius, and `few` where n is below ten per direction."""
        import pandas as pd

        return pd.DataFrame(
            {
                "label": self.classes,
                "n": self.n,
                "dimension": self.dimension,
                "radius": self.radius,
                "few": self.n < 10 * self.dimension,
            }
        )

    @property
    def headline(self) -> str:
        """Each measure with its floor."""
        lines = self.table.itertuples(index=False)
        found = ", ".join(
            f"{name} {value:.2f} (shuffled {floor:.2f})" for name, value, floor in lines
        )
        return f"{len(self.classes)} classes: {found}"


@checked
@torch.no_grad()
def class_geometry(
    x: Float[Tensor, "n d_in"],
    labels: Int[Tensor, " n"] | Bool[Tensor, " n"],
    *,
    n_draws: Count = 20,
    seed: Seed = 0,
) -> ClassGeometry:
    """Measure how many directions labelled classes spread in, and how few are needed to separate them.

    A dichotomy puts half of the classes, drawn at random, on one side. Rows are projected to random
    dimensions, more and more, until a plane separates it; the median over draws is `separable_at`, and
    classes per dimension the proxy for a capacity. Shuffled labels keep the sizes of the classes, so a
    dimension that is low for want of rows is as low in the floor.

    Parameters
    ----------
    x
        Rows.
    labels
        A class from 0 of each row; of each class three rows at least, of which 40 are asked to be separated.
    n_draws
        Dichotomies, each with its projection.
    seed
        Of these, and of shuffled labels.

    Raises
    ------
    TypeError, ValueError: If labels do not fit the rows, there are fewer than two classes, one has fewer than
        three rows, or rows of a class are all alike.

    Source
    ------
    Proxies for the markers of "Diagnosing Generalization Failures" (abstract), after the simulated capacity
    of Chung, Lee and Sompolinsky, arXiv 1710.06487: their N at which half of the dichotomies are separable.

    Example
    -------
    >>> draws = torch.Generator().manual_seed(0)
    >>> labels = torch.arange(4).repeat(30)
    >>> apart = 9 * torch.eye(4)[labels] @ torch.eye(4, 12) + torch.randn(120, 12, generator=draws)
    >>> found = class_geometry(apart, labels, n_draws=5)
    >>> found.separable_at < found.separable_floor, bool(found.radius.mean() < found.radius_floor)
    (True, True)
    """
    rows, classes, found, counts = class_rows(x, labels)
    for label in found.tolist():
        if float(rows[classes == label].var(dim=0).sum()) == 0:
            raise ValueError(
                f"`x` must have rows that differ in each class, got copies in {label}."
            )
    rng = np.random.default_rng(seed)
    shuffled = classes[torch.from_numpy(rng.permutation(len(classes)))]
    dimension, radius = _spread(rows, classes)
    floor_dimension, floor_radius = _spread(rows, shuffled)
    return ClassGeometry(
        classes=tuple(found.tolist()),
        n=counts.numpy(),
        dimension=dimension,
        dimension_floor=float(floor_dimension.mean()),
        radius=radius,
        radius_floor=float(floor_radius.mean()),
        separable_at=_separable_at(rows, classes, n_draws, np.random.default_rng(seed)),
        separable_floor=_separable_at(rows, shuffled, n_draws, np.random.default_rng(seed)),
    )


def class_rows(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return rows in fp64, their classes, which classes there are and how often; of three rows or more each."""
    rows, classes = check_matrix(x).double(), check_classes(labels)
    found, counts = torch.unique(classes, return_counts=True)
    if len(found) < 2 or int(counts.min()) < 3:
        raise ValueError(
            "`labels` must have two classes or more of three rows or more each, got "
            f"{len(found)} classes, the smallest with {int(counts.min())} rows."
        )
    return rows, classes, found, counts


def _spread(
    rows: Tensor, classes: Tensor
) -> tuple[Float[np.ndarray, " classes"], Float[np.ndarray, " classes"]]:
    """Participation ratio and radius of each class."""
    groups = [rows[classes == label] for label in torch.unique(classes)]
    centres = torch.stack([group.mean(dim=0) for group in groups])
    apart = (centres - centres.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    own = torch.stack(
        [
            (group - centre).square().sum(dim=1).mean().sqrt()
            for group, centre in zip(groups, centres, strict=True)
        ]
    )
    dimension = np.array([participation_ratio(group) for group in groups])
    return dimension, (own / apart.clamp_min(1e-12)).numpy()


def _separable_at(rows: Tensor, classes: Tensor, n_draws: int, rng: np.random.Generator) -> float:
    """Median over draws of the fewest random dimensions that separate a dichotomy."""
    labels = classes.numpy()
    names = np.unique(labels)
    each = [rng.permutation(np.flatnonzero(labels == name))[:MOST_ROWS] for name in names]
    chosen = np.concatenate(each)
    x = rows.numpy()[chosen]
    x = (x - x.mean(axis=0)) / max(float(x.std()), 1e-300)
    needed = []
    for _ in range(n_draws):
        side = rng.permutation(names)[: len(names) // 2]
        # The same number of dimensions as of rows separates anything.
        turned = x @ rng.standard_normal((x.shape[1], min(x.shape))) / np.sqrt(x.shape[1])
        needed.append(_fewest(turned, np.isin(labels[chosen], side)))
    return float(np.median(needed))


def _fewest(x: Float[np.ndarray, "n d"], above: Bool[np.ndarray, " n"]) -> float:
    """Fewest leading columns in which a plane separates the rows: more columns never spoil it."""
    low, high = 0, x.shape[1]
    if not _separable(x, above):
        return float("inf")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _separable(x[:, :middle], above) else (middle, high)
    return float(high)


def _separable(x: Float[np.ndarray, "n m"], above: Bool[np.ndarray, " n"]) -> bool:
    """Is there a plane with all of one side above and the others below? A linear program without a goal."""
    from scipy.optimize import linprog

    sign = np.where(above, 1.0, -1.0)[:, None]
    conditions = -sign * np.column_stack([x, np.ones(len(x))])
    bounds = (None, None)
    found = linprog(np.zeros(x.shape[1] + 1), conditions, -np.ones(len(x)), bounds=bounds)
    return bool(found.status == 0)
