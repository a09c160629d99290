"""Which latent of one layer, or model, is which of another? Matched by how they fire on the same rows.

ρ_ij = corr(z_i, z'_j) over rows; the best assignment, at most one partner each, with that of rows shuffled
against each other as its floor, because among thousands of latents some agree by chance.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from sae_nb.activations import Activations, first_difference
from sae_nb.checks import Count, Resamples, Seed, check_matrix, check_memory, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Measurement, Resampling
from sae_nb.findings import column

# -------------------------------------------------------------------------------------------------
# Aligned rows: the same samples at the same positions, seen by several models or layers.


def check_aligned(acts: Sequence[Activations], *, at_least: int = 2) -> None:
    """Refuse activations whose rows are not the same places of the same samples."""
    if len(acts) < at_least:
        raise ValueError(
            f"`acts` must be of at least {at_least} models or layers, got {len(acts)}. Capture the same "
            "inputs from each."
        )
    for number, one in enumerate(acts):
        if not isinstance(one, Activations):
            raise TypeError(
                f"`acts` must be Activations, got {type(one).__name__} at place {number}. Use "
                "Activations.from_tensor(x)."
            )
    first = acts[0]
    for number, one in enumerate(acts[1:], 1):
        if len(one) != len(first):
            raise ValueError(
                f"`acts` must be aligned, row by row, got {len(first)} rows at place 0 and {len(one)} "
                f"at place {number}. Pool both to samples, or keep the same positions."
            )
        row = first_difference(first, one)
        if row is not None:
            raise ValueError(
                f"`acts` must be aligned, row by row, but row {row} is {first.where(row)!r} at place 0 "
                f"and {one.where(row)!r} at place {number}. Capture the same inputs in the same order."
            )


def check_same_rows(codes: Sequence[SparseCodes]) -> None:
    """Refuse codes of different numbers of rows, and codes in which nothing is active."""
    if len(codes) < 2:
        raise ValueError(f"`codes` must be of at least two models or layers, got {len(codes)}.")
    counts = [one.n_rows for one in codes]
    if len(set(counts)) > 1:
        raise ValueError(
            f"`codes` must be of the same rows, got {counts} rows. Encode aligned activations."
        )
    for number, one in enumerate(codes):
        if not bool(torch.any(one.values != 0)):
            raise ValueError(
                f"`codes` must have an atom that fires, but all {one.n_atoms} at place {number} are "
                "dead. Look at whether SAE and activations belong together."
            )


# -------------------------------------------------------------------------------------------------
# Which latent of one layer, or model, is which of another? Matched by how they fire on the same rows.


class LatentMatches(Measurement):
    """Latents of two SAEs that fire alike on the same rows.

    `value` is the mean matched correlation; its floor is that after shuffling rows.
    """

    HEADLINE = (
        "{first.len} pairs, mean correlation {value:.3f}, shuffled {floor:.3f}; {above_chance:.0%} "
        "above chance"
    )

    first: Int[np.ndarray, " matched"] = field(metadata=column())
    second: Int[np.ndarray, " matched"] = field(metadata=column())
    """Atoms of the first SAE, and the atom of the second that each was matched with."""

    correlations: Float[np.ndarray, " matched"] = field(metadata=column("correlation"))
    cosines: Float[np.ndarray, " matched"] | None = field(metadata=column("cosine"))
    """Of each match; of its two atoms, where both SAEs have one width, else None."""

    threshold: float
    """The 99 % quantile of matched correlations of shuffled rows: chance reaches no more."""

    @property
    def above_chance(self) -> float:
        """Share of matches above what chance reaches."""
        return float((self.correlations > self.threshold).mean())


@checked
def match_latents(
    codes: SparseCodes,
    other: SparseCodes,
    *,
    dictionaries: tuple[Any, Any] | None = None,
    min_firings: Count = 10,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> LatentMatches:
    """Match latents by the correlation of their strengths over the same rows.

    Parameters
    ----------
    codes, other, dictionaries
        Of the same rows, by two SAEs; of both, to measure the cosine of matched atoms as well.
    min_firings
        Latents that fire in fewer rows are left out.

    Raises
    ------
    ValueError, MemoryError: If rows or dictionaries do not fit, nothing fires often enough, or memory is short.

    Example
    -------
    >>> z = torch.rand(200, 5, generator=torch.Generator().manual_seed(0)).sub(0.5).relu()
    >>> codes, turned = SparseCodes.from_dense(z), SparseCodes.from_dense(z[:, [4, 0, 1, 2, 3]])
    >>> match_latents(codes, turned).second.tolist()
    [1, 2, 3, 4, 0]
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    check_same_rows([codes, other])
    tables, atoms = zip(*(_often(one, min_firings) for one in (codes, other)))
    needed = 16 * tables[0].shape[1] * tables[1].shape[1]
    check_memory(needed, "A table of correlations", "Raise min_firings.")
    rows, columns, correlations = _matched(*tables)
    order = np.random.default_rng(seed).permutation(codes.n_rows)
    chance = _matched(tables[0], tables[1][order])[2]
    first, second = atoms[0][rows], atoms[1][columns]
    return LatentMatches.of(
        resampling.mean("matched_correlation", correlations, floor=chance.mean(), unit="pairs"),
        seconds=round(time.perf_counter() - start, 3),
        first=first,
        second=second,
        correlations=correlations,
        cosines=None
        if dictionaries is None
        else _cosines((codes, other), dictionaries, first, second),
        threshold=float(np.quantile(chance, 0.99)),
    )


def _often(codes: SparseCodes, min_firings: int) -> tuple[csr_matrix, np.ndarray]:
    table = codes.to_scipy().astype(np.float64)
    table.eliminate_zeros()
    counts = np.bincount(table.indices, minlength=table.shape[1])
    atoms = np.flatnonzero(counts >= min_firings)
    if len(atoms) == 0:
        raise ValueError(
            f"`codes` must have a latent that fires in at least {min_firings} rows, got at most "
            f"{int(counts.max())} of {codes.n_rows}. Encode more rows, or lower min_firings."
        )
    return table[:, atoms].tocsr(), atoms


def _matched(first: csr_matrix, second: csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from scipy.optimize import linear_sum_assignment

    means = [np.asarray(t.mean(axis=0)).ravel() for t in (first, second)]
    squares = [np.asarray(t.multiply(t).mean(axis=0)).ravel() for t in (first, second)]
    deviations = [np.sqrt(np.maximum(s - m**2, 1e-300)) for s, m in zip(squares, means)]
    covariance = (first.T @ second).toarray() / first.shape[0] - np.outer(*means)
    correlations = covariance / np.outer(*deviations)
    rows, columns = linear_sum_assignment(correlations, maximize=True)
    return rows, columns, correlations[rows, columns]


def _cosines(
    codes: tuple[SparseCodes, SparseCodes],
    dictionaries: tuple[Any, Any],
    first: np.ndarray,
    second: np.ndarray,
) -> np.ndarray | None:
    one, two = (check_matrix(d, name="dictionaries").detach().float().cpu() for d in dictionaries)
    n_one, n_two = (part.n_atoms for part in codes)
    if (len(one), len(two)) != (n_one, n_two):
        raise ValueError(
            f"`dictionaries` must have the atoms of the codes, {n_one} and {n_two}, got {len(one)} and "
            f"{len(two)}."
        )
    if one.shape[1] != two.shape[1]:
        return None
    return torch.cosine_similarity(one[first], two[second]).double().numpy()
