"""Phases of depth: the best cut of layers 1 … L into k runs, exactly, and whether it means anything.

minimise Σ_m w(c_{m−1}, c_m) over 0 = c_0 < … < c_k = L, w(i, j) = Σ_{i<a<b≤j} (1 − S[a, b]): by
dynamic programming, C[m, j] = min_i C[m−1, i] + w(i, j). Minimising what is left within the runs is
maximising the cut between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, check_data, checked, shown
from sae_nb.statistics import bootstrap_counts, permutation_p

Normalise = Literal["mass", "mean"]


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Layers 1 … L cut into k contiguous phases."""

    cuts: tuple[int, ...]
    """0 = c_0 < … < c_k = L; phase m holds layers c_{m−1} + 1 … c_m."""

    cost: float
    """Minimised cost: dissimilarity left within the phases."""

    gain: float
    """Share of the uncut cost that the cuts take away, in [0, 1]."""

    within: float
    """Mean similarity of two layers of one phase; NaN where every phase is one layer."""

    across: float
    """Mean similarity of two layers of different phases; NaN for one phase."""

    contrast: float
    """At each cut, and at equal distance in depth: similarity of two layers of the phase before and
    of two of the phase after, averaged, minus that of two across the cut. 0 for a smooth band,
    however its similarity falls with distance, and where depth only slows down steadily. NaN where
    nothing can be compared."""

    normalise: Normalise = "mass"
    """Normalisation of a phase's cost."""

    @property
    def k(self) -> int:
        """Number of phases."""
        return len(self.cuts) - 1

    @property
    def layers(self) -> list[range]:
        """Layers of each phase, counted from 1 as in the papers."""
        return [range(a + 1, b + 1) for a, b in pairwise(self.cuts)]

    def __str__(self) -> str:
        return " | ".join(
            f"{r.start}–{r.stop - 1}" if len(r) > 1 else f"{r.start}" for r in self.layers
        )


@checked(leave=("S",))
def segment_phases(
    S: Float[Tensor, "layers layers"],
    k: Count,
    min_len: Count = 2,
    normalise: Normalise = "mass",
) -> Phases:
    """Cut layers into k contiguous phases so that least dissimilarity is left inside them.

    The result is the exact optimum; of several, the one whose last cut is earliest.

    Parameters
    ----------
    S
        Similarity of layers, as `layer_similarity` gives it; its diagonal is ignored.
    normalise
        "mass": a phase costs the sum over its pairs, which is what max-cut does and favours phases of
        one length. "mean": it costs its mean pair times its length, so every layer counts once.

    Raises
    ------
    ValueError: If k phases of `min_len` do not fit.

    Source
    ------
    Max-cut over contiguous segments: "Block-Recurrent Dynamics in Vision Transformers", arXiv
    2512.19941. The exact O(k L²) programme and "mean" are ours.

    Example
    -------
    >>> S = torch.block_diag(torch.ones(3, 3), torch.ones(4, 4))
    >>> segment_phases(S, 2).cuts, str(segment_phases(S, 2))
    ((0, 3, 7), '1–3 | 4–7')
    """
    s = check_similarity(S)
    return phases_of(s, best_cuts(phase_costs(s, normalise), k, min_len), normalise)


@checked(leave=("S",))
def gain_curve(
    S: Float[Tensor, "layers layers"],
    k_max: Count | None = None,
    min_len: Count = 2,
    normalise: Normalise = "mass",
) -> list[Phases]:
    """Return the best phases for k = 1, 2, …: look for an elbow in `.gain` instead of asserting k.

    Parameters as for `segment_phases`; `k_max` is the last k, as large as fits when None.

    Example
    -------
    >>> S = torch.block_diag(torch.ones(3, 3), torch.ones(4, 4))
    >>> [round(phases.gain, 3) for phases in gain_curve(S)]
    [0.0, 1.0, 1.0]
    """
    s = check_similarity(S)
    last = len(s) // min_len if k_max is None else k_max
    check_fit(len(s), last, min_len)
    costs = phase_costs(s, normalise)
    return [phases_of(s, best_cuts(costs, k, min_len), normalise) for k in range(1, last + 1)]


def check_similarity(S: object) -> Float[np.ndarray, "layers layers"]:
    """Return similarities of layers as a plain matrix of doubles; refuse what is no symmetric matrix.

    Its diagonal may hold anything.
    """
    if not isinstance(S, Tensor | np.ndarray):
        raise TypeError(
            f"`S` must be a matrix of similarities, got {type(S).__name__}. Use layer_similarity(states)."
        )
    if isinstance(S, Tensor):
        check_data(S, name="S", what="similarities")
    s: np.ndarray = torch.as_tensor(S).detach().as_subclass(Tensor).cpu().double().numpy()
    if s.ndim != 2 or len(s) != s.shape[1] or len(s) < 1:
        raise ValueError(f"`S` must be a square matrix of layers, got shape {s.shape}.")
    off = ~np.eye(len(s), dtype=bool)
    if not np.isfinite(s[off]).all():
        raise ValueError("`S` must be finite off its diagonal, got NaN or infinity.")
    if not np.allclose(s[off], s.T[off], atol=1e-5):
        raise ValueError(
            "`S` must be symmetric. Use (S + S.T) / 2 if its two halves are estimates."
        )
    return s


def check_cuts(cuts: Sequence[int], *, n_layers: int | None = None) -> tuple[int, ...]:
    """Return cuts as a tuple if they are 0 = c_0 < … < c_k (= `n_layers`)."""
    found = tuple(int(cut) for cut in cuts)
    rising = all(a < b for a, b in pairwise(found))
    end = "" if n_layers is None else f" = {n_layers}"
    if len(found) < 2 or found[0] != 0 or not rising or n_layers not in (None, found[-1]):
        raise ValueError(
            f"`cuts` must be 0 = c_0 < … < c_k{end}, got {found}. Take"
            " `segment_phases(similarity, k).cuts`."
        )
    return found


def check_fit(layers: int, k: int, min_len: int) -> None:
    """Refuse numbers of phases that do not fit the layers."""
    if k > layers:
        raise ValueError(f"`k` must be at most the {layers} layers, got {k}. Ask for fewer phases.")
    if k * min_len > layers:
        raise ValueError(
            f"`k` phases of at least min_len={min_len} must fit in {layers} layers, got k={k}. Ask for"
            f" at most {layers // min_len}, or a smaller `min_len`."
        )


def phase_costs(
    s: Float[np.ndarray, "*draws layers layers"], normalise: str
) -> Float[np.ndarray, "*draws ends ends"]:
    """Return w(i, j) of layers i + 1 … j for all i ≤ j, from prefix sums over the pairs."""
    n = s.shape[-1]
    sums = np.zeros((*s.shape[:-2], n + 1, n + 1))
    sums[..., 1:, 1:] = np.where(np.triu(np.ones((n, n), bool), 1), 1 - s, 0).cumsum(-2).cumsum(-1)
    diagonal = sums.diagonal(axis1=-2, axis2=-1)
    # Σ_{i<a<b≤j} = P[j, j] − P[i, j] − P[j, i] + P[i, i] with P the prefix sums.
    both = sums + sums.swapaxes(-1, -2)
    costs: np.ndarray = np.triu(diagonal[..., None, :] - both + diagonal[..., :, None])
    if normalise == "mean":
        length = np.arange(n + 1) - np.arange(n + 1)[:, None]
        costs = np.where(length > 1, costs * 2 / np.maximum(length - 1, 1), 0.0)
    return costs


@checked(leave=("costs",))
def best_cuts(
    costs: Float[np.ndarray, "*draws ends ends"], k: Count, min_len: Count
) -> Int[np.ndarray, "*draws cuts"]:
    """Return the k + 1 cuts of least total cost, by dynamic programming over the last phase's start.

    Parameters
    ----------
    costs
        What a phase of layers i + 1 … j costs, (…, L + 1, L + 1), as `segment_phases` lowers it; np.inf where
        there is to be none.

    Raises
    ------
    ValueError: If k phases of `min_len` do not fit.

    Example
    -------
    >>> left = np.array([[0.0, 0, 2, 9], [0, 0, 0, 3], [0, 0, 0, 0], [0, 0, 0, 0]])
    >>> best_cuts(left, 2, 1).tolist()
    [0, 2, 3]
    """
    if not isinstance(costs, np.ndarray) or costs.ndim < 2 or costs.shape[-1] != costs.shape[-2]:
        raise ValueError(
            f"`costs` must be an array (…, L + 1, L + 1), got {shown(costs)}. Give a row and a column to "
            "every place of a cut, from 0 to L."
        )
    check_fit(costs.shape[-1] - 1, k, min_len)
    draws, n = costs.shape[:-2], costs.shape[-1] - 1
    best = np.full((k + 1, *draws, n + 1), np.inf)
    best[0, ..., 0] = 0.0
    start = np.zeros((k + 1, *draws, n + 1), dtype=int)
    for m in range(1, k + 1):
        for j in range(m * min_len, n + 1):
            last = j - min_len + 1
            options = best[m - 1, ..., :last] + costs[..., :last, j]
            start[m, ..., j] = options.argmin(axis=-1)
            best[m, ..., j] = options.min(axis=-1)
    cuts = np.full((*draws, k + 1), n)
    for m in range(k, 0, -1):
        cuts[..., m - 1] = np.take_along_axis(start[m], cuts[..., m, None], axis=-1)[..., 0]
    return cuts


def phases_of(s: np.ndarray, cuts: Iterable[int], normalise: Normalise) -> Phases:
    """Return the record of given cuts of a checked matrix."""
    cuts, costs = tuple(int(cut) for cut in cuts), phase_costs(s, normalise)
    cost = float(sum(costs[a, b] for a, b in pairwise(cuts)))
    whole = float(costs[0, len(s)])
    same = same_phase(cuts)
    off = ~np.eye(len(s), dtype=bool)
    return Phases(
        cuts=cuts,
        cost=cost,
        gain=1 - cost / whole if whole > 0 else 0.0,
        within=mean_or_nan(s[same & off]),
        across=mean_or_nan(s[~same]),
        contrast=float(contrast_of(s, cuts)),
        normalise=normalise,
    )


def contrast_of(
    s: Float[np.ndarray, "*draws layers layers"], cuts: tuple[int, ...]
) -> Float[np.ndarray, "*draws"]:
    """Return how much more alike layers are next to the cuts than across them, at equal distance."""
    steps = []
    for (a, b), (_, c) in pairwise(pairwise(cuts)):
        for distance in range(1, min(b - a, c - b)):
            along = s.diagonal(distance, axis1=-2, axis2=-1)[..., a : c - distance]
            # Pairs that start in the last `distance` layers before the cut end behind it.
            before, across, after = np.split(along, (b - a - distance, b - a), axis=-1)
            steps.append((before.mean(-1) + after.mean(-1)) / 2 - across.mean(-1))
    if not steps:
        return np.full(s.shape[:-2], np.nan)
    contrast: np.ndarray = np.mean(steps, axis=0)
    return contrast


def same_phase(cuts: Sequence[int]) -> Bool[np.ndarray, "layers layers"]:
    """Return which pairs of layers are in one phase."""
    of = np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))
    return np.asarray(of[:, None] == of[None, :])


def mean_or_nan(x: np.ndarray) -> float:
    """Return mean of all entries; NaN where there is none."""
    return float(x.mean()) if x.size else float("nan")


# -------------------------------------------------------------------------------------------------
# Are there phases at all? A cut against shuffled layers, bands without phases, and other samples.


@dataclass(frozen=True, kw_only=True, eq=False)
class PhaseEvidence:
    """One cut into phases with its nulls: is there anything to be cut?"""

    phases: Phases
    """The best cut of the similarity as it is."""

    shuffled_gain: Float[np.ndarray, " draws"]
    """Gain of the best cut after the layers' order was shuffled: no order in depth at all."""

    banded_contrast: Float[np.ndarray, " draws"]
    """Contrast of the best cut after each diagonal was shuffled: a band whose similarity depends on
    the distance of layers alone, so without phases."""

    banded_gain: Float[np.ndarray, " draws"]
    """Gain of the best cut of those bands."""

    boundary_frequency: Float[np.ndarray, " layers"] = field(default_factory=lambda: np.zeros(0))
    """Share of redraws of the samples that put a cut behind layer 1 … L; empty without samples."""

    same_cuts: float = float("nan")
    """Share of these draws that give the very same cuts."""

    level: float = 0.05
    """Largest chance of a null doing as well that still counts."""

    @property
    def p_shuffled(self) -> float:
        """Share of shuffled orders that gain as much."""
        return float(permutation_p(self.shuffled_gain, self.phases.gain, slack=1e-12))

    @property
    def p_banded(self) -> float:
        """Share of bands without phases whose best cut has as much contrast."""
        return float(permutation_p(self.banded_contrast, self.phases.contrast, slack=1e-12))

    @property
    def supported(self) -> bool:
        """Whether the phases are more than a smooth band and, if samples are known, stable."""
        stable = np.isnan(self.same_cuts) or self.same_cuts >= 0.5
        return bool(self.p_shuffled <= self.level and self.p_banded <= self.level and stable)

    def __str__(self) -> str:
        verdict = "phases" if self.supported else "no phases claimed"
        stable = "" if np.isnan(self.same_cuts) else f", same cuts in {self.same_cuts:.0%} of draws"
        return (
            f"{self.phases}: {verdict} (gain {self.phases.gain:.2f}, p {self.p_shuffled:.3f} against"
            f" shuffled layers; contrast {self.phases.contrast:.3f}, p {self.p_banded:.3f} against a"
            f" smooth band{stable})"
        )


@checked(leave=("S",))
def phase_evidence(
    S: Float[Tensor, "layers layers"],
    k: Count,
    min_len: Count = 2,
    normalise: Normalise = "mass",
    *,
    reading: Literal["raw", "centred"] = "raw",
    draws: Count = 200,
    seed: Seed = 0,
    level: float = 0.05,
) -> PhaseEvidence:
    """Compare the best k phases with two nulls and a bootstrap over samples.

    A smooth band beats shuffled layers easily, because neighbours are alike; phases must beat bands
    too: at equal distance in depth, two layers on one side of a cut must be more alike than two
    across it.

    `.supported` of the result is true if phases may be claimed.

    Parameters
    ----------
    S, k, min_len, normalise
        As for `segment_phases`. A `LayerSimilarity` brings its samples for the bootstrap.
    reading
        Reading of a `LayerSimilarity` that is cut.
    draws
        Of each null and of the bootstrap.

    Source
    ------
    Ours. The authors compare cuts with random partitions (arXiv 2512.19941).

    Example
    -------
    >>> S = 0.9 * torch.block_diag(torch.ones(5, 5), torch.ones(7, 7)) + 0.1
    >>> distance = (torch.arange(12)[:, None] - torch.arange(12)).abs()
    >>> phase_evidence(S, 2, draws=100).supported, phase_evidence(0.9**distance, 2).supported
    (True, False)
    """
    by_sample = getattr(S, "by_sample", None)
    s = check_similarity(getattr(S, reading) if by_sample is not None else S)
    check_fit(len(s), k, min_len)
    generator = np.random.default_rng(seed)
    phases = segment_phases(torch.as_tensor(s), k, min_len, normalise)
    permutations = [generator.permutation(len(s)) for _ in range(draws)]
    orders = np.stack([s[np.ix_(order, order)] for order in permutations])
    bands = np.stack([_band(s, generator) for _ in range(draws)])
    shuffled_gain, _ = _best(orders, k, min_len, normalise)
    banded_gain, banded_contrast = _best(bands, k, min_len, normalise)
    frequency, same = np.zeros(0), float("nan")
    if by_sample is not None and len(by_sample[reading]) > 1:
        samples = by_sample[reading].double().numpy()
        weights = bootstrap_counts(len(samples), draws, generator) / len(samples)
        costs = phase_costs(np.tensordot(weights, samples, axes=1), normalise)
        cuts = best_cuts(costs, k, min_len)
        frequency = np.bincount(cuts[:, 1:-1].ravel() - 1, minlength=len(s)) / draws
        same = float((cuts == np.array(phases.cuts)).all(axis=1).mean())
    return PhaseEvidence(
        phases=phases,
        shuffled_gain=shuffled_gain,
        banded_contrast=banded_contrast,
        banded_gain=banded_gain,
        boundary_frequency=frequency,
        same_cuts=same,
        level=level,
    )


def _best(
    s: np.ndarray, k: int, min_len: int, normalise: Normalise
) -> tuple[np.ndarray, np.ndarray]:
    """Gain and contrast of the best cut of each of many matrices."""
    costs = phase_costs(s, normalise)
    cuts = best_cuts(costs, k, min_len)
    each = np.arange(len(s))[:, None]
    left = costs[each, cuts[:, :-1], cuts[:, 1:]].sum(axis=1)
    gain = 1 - left / np.maximum(costs[:, 0, -1], 1e-30)
    contrast = np.full(len(s), np.nan)
    for one in np.unique(cuts, axis=0):
        same = (cuts == one).all(axis=1)
        contrast[same] = contrast_of(s[same], tuple(one.tolist()))
    return gain, contrast


def _band(s: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Shuffle the entries of each diagonal among themselves."""
    band = np.eye(len(s))
    for distance in range(1, len(s)):
        rows = np.arange(len(s) - distance)
        values = generator.permutation(s.diagonal(distance))
        band[rows, rows + distance] = band[rows + distance, rows] = values
    return band
