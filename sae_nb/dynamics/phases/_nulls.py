"""Are there phases at all? A cut against shuffled layers, bands without phases, and other samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.dynamics.phases._phases import (
    Normalise,
    Phases,
    best_cuts,
    check_fit,
    check_similarity,
    contrast_of,
    phase_costs,
    segment_phases,
)


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
    """How often a cut falls behind layer 1 … L when samples are drawn anew; empty without samples."""

    same_cuts: float = float("nan")
    """Share of these draws that give the very same cuts."""

    level: float = 0.05
    """Largest chance of a null doing as well that still counts."""

    @property
    def p_shuffled(self) -> float:
        """Share of shuffled orders that gain as much."""
        return _tail(self.shuffled_gain, self.phases.gain)

    @property
    def p_banded(self) -> float:
        """Share of bands without phases whose best cut has as much contrast."""
        return _tail(self.banded_contrast, self.phases.contrast)

    @property
    def supported(self) -> bool:
        """Whether the phases are more than a smooth band and, where samples are known, stable."""
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


def phase_evidence(
    S: Float[Tensor, "layers layers"],
    k: int,
    min_len: int = 2,
    normalise: Normalise = "mass",
    *,
    reading: Literal["raw", "centred"] = "raw",
    draws: int = 200,
    seed: int = 0,
    level: float = 0.05,
) -> PhaseEvidence:
    """Compare the best k phases with two nulls and a bootstrap over samples.

    A smooth band beats shuffled layers easily, because neighbours are alike; phases must beat bands
    too: at equal distance in depth, two layers on one side of a cut must be more alike than two
    across it.

    Parameters
    ----------
    S, k, min_len, normalise
        As for `segment_phases`. A `LayerSimilarity` brings its samples for the bootstrap.
    reading
        Which reading of a `LayerSimilarity` is cut.
    draws
        Of each null and of the bootstrap.
    seed
        Of the draws.
    level
        Largest p that counts.

    Returns
    -------
    PhaseEvidence
        `.supported` says whether phases may be claimed.

    Raises
    ------
    TypeError, ValueError: As `segment_phases`.

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
    if reading not in ("raw", "centred"):
        raise ValueError(f'`reading` must be "raw" or "centred", got {reading!r}.')
    check_count(draws, name="draws")
    by_sample = getattr(S, "by_sample", None)
    s = check_similarity(getattr(S, reading) if by_sample is not None else S)
    check_fit(len(s), k, min_len, normalise)
    generator = np.random.default_rng(seed)
    phases = segment_phases(torch.as_tensor(s), k, min_len, normalise)
    orders = np.stack([_reordered(s, generator) for _ in range(draws)])
    bands = np.stack([_band(s, generator) for _ in range(draws)])
    shuffled_gain, _ = _best(orders, k, min_len, normalise)
    banded_gain, banded_contrast = _best(bands, k, min_len, normalise)
    frequency, same = np.zeros(0), float("nan")
    if by_sample is not None and len(by_sample[reading]) > 1:
        samples = by_sample[reading].double().numpy()
        frequency, same = _bootstrap(samples, phases, min_len, draws, generator)
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
    for found in np.unique(cuts, axis=0):
        same = (cuts == found).all(axis=1)
        contrast[same] = contrast_of(s[same], tuple(found.tolist()))
    return gain, contrast


def _reordered(s: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    order = generator.permutation(len(s))
    return s[np.ix_(order, order)]


def _band(s: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Shuffle the entries of each diagonal among themselves."""
    band = np.eye(len(s))
    for distance in range(1, len(s)):
        rows = np.arange(len(s) - distance)
        values = generator.permutation(s.diagonal(distance))
        band[rows, rows + distance] = band[rows + distance, rows] = values
    return band


def _bootstrap(
    samples: np.ndarray,
    phases: Phases,
    min_len: int,
    draws: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, float]:
    n, layers = samples.shape[:2]
    weights = generator.multinomial(n, np.full(n, 1 / n), size=draws) / n
    drawn = np.tensordot(weights, samples, axes=1)
    cuts = best_cuts(phase_costs(drawn, phases.normalise), phases.k, min_len)
    frequency = np.bincount(cuts[:, 1:-1].ravel() - 1, minlength=layers) / draws
    return frequency, float((cuts == np.array(phases.cuts)).all(axis=1).mean())


def _tail(null: np.ndarray, value: float) -> float:
    """Share of draws at least as large, the value itself counted as one of them."""
    if np.isnan(value):
        return 1.0
    known = null[~np.isnan(null)]
    return float((1 + (known >= value - 1e-12).sum()) / (1 + len(known)))
