"""Number of directions that rows use, beyond ranks: of unit rows, of neighbours, of trees, all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Between, Count, Seed, at_least, check_matrix, checked, one_of
from sae_nb.findings import Finding
from sae_nb.geometry import effective_rank, local_dimensions, participation_ratio, stable_rank

if TYPE_CHECKING:
    from pandas import DataFrame


@checked
def direction_dimension(x: Float[Tensor, "n d_in"]) -> float:
    """Return the number of directions that unit rows spread into: 1 / mean_{i ≠ j} ⟨u_i, u_j⟩².

    A U-statistic: the participation ratio (Σλ)² / Σλ² of the second moment E[u uᵀ], without the bias
    that few rows give it; norms do not count. Not centred.

    Raises
    ------
    ValueError: If there are fewer than two rows, or one is zero.

    Example
    -------
    >>> rows = torch.randn(2000, 6, generator=torch.Generator().manual_seed(0))
    >>> round(direction_dimension(rows), 1)
    6.0
    """
    rows = check_matrix(x).double()
    if len(rows) < 2 or bool((rows.norm(dim=1) == 0).any()):
        raise ValueError(
            f"`x` must have two rows or more, none of them zero, got shape {tuple(rows.shape)}."
        )
    unit = torch.nn.functional.normalize(rows, dim=1)
    n = len(unit)
    # ‖UᵀU‖_F² is the sum of all squared cosines; the diagonal gives n of it.
    total = float((unit.T @ unit).square().sum()) - n
    return n * (n - 1) / max(total, 1e-300)


# -------------------------------------------------------------------------------------------------
# Intrinsic dimension from each row's two nearest neighbours: μ = r₂ / r₁ has P(μ > t) = t^(−d).


DROPPED = 0.1
"""Share of rows with the largest μ that the fit leaves out, as its authors do."""

_TILE = 2**24


@checked
@torch.no_grad()
def two_nn_dimension(
    x: Float[Tensor, "n d_in"], *, dropped: Annotated[float, Between(0, 1, "[)")] = DROPPED
) -> float:
    """Return intrinsic dimension, one number for all rows.

    The slope through the origin of −log(1 − F(μ)) on log μ, F the empirical distribution, without the
    largest tenth. Low for many dimensions and few rows: 4.6 for a ball of 5 with 2000 rows.

    Parameters
    ----------
    x
        Rows, at least ten of them distinct; copies are left out.
    dropped
        Share of the largest μ left out, in [0, 1).

    Source
    ------
    Facco, d'Errico, Rodriguez and Laio, Scientific Reports 2017.

    Example
    -------
    >>> flat = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) @ torch.eye(2, 10)
    >>> round(two_nn_dimension(flat))
    2
    """
    rows = torch.unique(check_matrix(x).double(), dim=0)
    if len(rows) < 10:
        raise ValueError(f"`x` must have at least 10 distinct rows, got {len(rows)}.")
    step = max(1, _TILE // len(rows))
    near = torch.cat(
        [
            torch.cdist(part, rows, compute_mode="donot_use_mm_for_euclid_dist")
            .topk(3, dim=1, largest=False)
            .values[:, 1:]
            for part in torch.split(rows, step)
        ]
    )
    logs = (near[:, 1] / near[:, 0]).log().sort().values
    kept = max(int(len(logs) * (1 - dropped)), 2)
    share = torch.arange(1, kept + 1, dtype=torch.float64) / (len(logs) + 1)
    heights, logs = -torch.log1p(-share), logs[:kept]
    return float((heights * logs).sum() / logs.square().sum())


# -------------------------------------------------------------------------------------------------
# Intrinsic dimension from how a shortest tree grows: E(n) ∝ n^(1 − 1/d) for the edges of n rows.


@checked
@torch.no_grad()
def tree_dimension(
    x: Float[Tensor, "n d_in"],
    *,
    n_sizes: Annotated[int, at_least(2)] = 8,
    n_subsets: Count = 5,
    seed: Seed = 0,
) -> float:
    """Return intrinsic dimension by persistent homology of degree 0: 1 / (1 − s), s the slope of log E
    on log n.

    E(n) is the total length of the minimum spanning tree of n rows, averaged over random subsets. Few rows
    suffice, as of one text; the result is low where dimensions are many: 4.6 for a ball of 5 with 400 rows.

    Parameters
    ----------
    x
        Rows, at least 40 of them distinct; copies are left out.
    n_sizes, n_subsets
        Number of values of n, from a quarter of the rows to all, and subsets of each; of all rows there
        is one.

    Returns
    -------
    float
        Infinite if the tree grows as fast as the number of rows.

    Source
    ------
    Tulchinskii et al., "Intrinsic Dimension Estimation for Robust Detection of AI-Generated Texts", arXiv
    2306.04723, with their exponent of 1. Theirs takes sizes from 40 on, and the median of repetitions.

    Example
    -------
    >>> flat = torch.rand(300, 2, generator=torch.Generator().manual_seed(0)) @ torch.eye(2, 10)
    >>> round(tree_dimension(flat))
    2
    """
    rows = torch.unique(check_matrix(x).double(), dim=0)
    if len(rows) < 40:
        raise ValueError(f"`x` must have at least 40 distinct rows, got {len(rows)}.")
    exact = "donot_use_mm_for_euclid_dist"
    distance = torch.cdist(rows, rows, compute_mode=exact).cpu().numpy()
    draws = np.random.default_rng(seed)
    sizes = np.linspace(len(rows) / 4, len(rows), n_sizes).round().astype(int)
    lengths = [
        np.mean([_tree_length(distance, draws.permutation(len(rows))[:n]) for _ in range(repeats)])
        for n, repeats in zip(sizes, [n_subsets] * (n_sizes - 1) + [1], strict=True)
    ]
    slope = float(np.polyfit(np.log(sizes), np.log(lengths), 1)[0])
    return 1 / (1 - slope) if slope < 1 else float("inf")


def _tree_length(distance: Float[np.ndarray, "n n"], chosen: np.ndarray) -> float:
    """Total length of the minimum spanning tree of some rows (Prim)."""
    among = distance[np.ix_(chosen, chosen)]
    nearest, total = among[0].copy(), 0.0
    nearest[0] = np.inf
    outside = np.ones(len(chosen), bool)
    outside[0] = False
    for _ in range(len(chosen) - 1):
        i = int(np.argmin(nearest))
        total += float(nearest[i])
        outside[i] = False
        nearest = np.where(outside, np.minimum(nearest, among[i]), np.inf)
    return total


# -------------------------------------------------------------------------------------------------
# All of them at once, with what each counts and how many rows it had.

SPECTRUM_ROWS, NEIGHBOUR_ROWS, TREE_ROWS = 10, 2000, 400
"""Rows per direction below which a spectrum is biased (ours); most rows of neighbours and of a tree."""

SHARE = 0.9
"""Of the variance, for which principal components are counted."""


class Dimensions(Finding):
    """Number of directions that rows use, by every measure; made by `dimensions`."""

    table: DataFrame
    """A measure per row: measure, dimension, counts (what of), centred (or None where it does not matter),
    n (rows it had), warning (empty where there are rows enough)."""

    @property
    def headline(self) -> str:
        """Every measure; how many had too few rows."""
        found = ", ".join(f"{row.measure} {row.dimension:.1f}" for row in self.table.itertuples())
        warned = int((self.table.warning != "").sum())
        return f"{found}{f'; {warned} with too few rows' if warned else ''}"

    @checked
    def __getitem__(self, measure: str) -> float:
        """Return the dimension by one measure."""
        names = self.table["measure"].tolist()
        return float(
            self.table["dimension"].iloc[names.index(one_of(measure, names, name="measure"))]
        )


@checked
@torch.no_grad()
def dimensions(x: Float[Tensor, "n d_in"], *, seed: Seed = 0) -> Dimensions:
    """Count the directions that rows use in every way, in one table.

    Spectra count directions that share variance, wherever rows lie in them; neighbours count how rows
    fill their surroundings, so that a Swiss roll has three of the first and two of the second. A
    warning is given if there are too few rows: fewer than ten per direction for a spectrum, which is
    then biased low; for neighbours a dimension above 2 log₁₀ n, more than n rows can show (Eckmann and
    Ruelle 1992).

    Parameters
    ----------
    x
        Rows, at least 40 of them distinct, none of them zero. Neighbours are looked for among 2000, the tree
        grows on 400.
    seed
        Of the rows that these look at.

    Source
    ------
    Of each measure, in the function of its name; Levina and Bickel's is averaged as MacKay and Ghahramani
    do, over inverses.

    Example
    -------
    >>> flat = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) @ torch.eye(2, 10)
    >>> found = dimensions(flat)
    >>> round(found["effective rank"]), round(found["two nearest neighbours"])
    (2, 2)
    """
    rows = check_matrix(x).double()
    distinct = len(torch.unique(rows, dim=0))
    if distinct < 40:
        raise ValueError(f"`x` must have at least 40 distinct rows, got {distinct}.")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    near, tree = (rows[order[:most].sort().values] for most in (NEIGHBOUR_ROWS, TREE_ROWS))
    centred = rows - rows.mean(dim=0)
    eigenvalues = torch.linalg.eigvalsh(rows.T.cov().view(rows.shape[1], -1)).flip(0).clamp_min(0)
    enough = int((eigenvalues.cumsum(0) < SHARE * eigenvalues.sum()).sum()) + 1
    spectra = [
        ("effective rank", effective_rank(centred), "variance", True),
        ("participation ratio", participation_ratio(rows), "variance", True),
        (f"components for {SHARE:.0%}", float(enough), "variance", True),
        ("stable rank", stable_rank(rows), "squared length", False),
        ("direction dimension", direction_dimension(rows), "directions", False),
    ]
    local = float(1 / (1 / local_dimensions(near)).mean())
    neighbours = [
        ("two nearest neighbours", two_nn_dimension(near), near),
        ("Levina–Bickel", local, near),
        ("tree", tree_dimension(tree, seed=seed), tree),
    ]
    return Dimensions(table=_table(spectra, neighbours, len(rows)))


def _table(
    spectra: list[tuple[str, float, str, bool]], neighbours: list[tuple[str, float, Tensor]], n: int
) -> DataFrame:
    import pandas as pd

    lines: list[dict[str, Any]] = []
    for measure, value, counts, centred in spectra:
        few = f"biased low: {n} rows are fewer than {SPECTRUM_ROWS} per direction"
        warning = few if n < SPECTRUM_ROWS * value else ""
        lines.append({"measure": measure, "dimension": value, "counts": counts, "centred": centred})
        lines[-1] |= {"n": n, "warning": warning}
    for measure, value, used in neighbours:
        most = 2 * np.log10(len(used))
        few = f"{len(used)} rows can show at most {most:.1f}"
        lines.append({"measure": measure, "dimension": value, "counts": "neighbours"})
        lines[-1] |= {"centred": None, "n": len(used), "warning": few if value > most else ""}
    return pd.DataFrame(lines)
