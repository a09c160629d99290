"""The authors' phases: recursive bisection of layers by exhaustive max-cut, contiguous or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.dynamics.phases import check_similarity
from sae_nb.training.config import check_number

MOST_LAYERS = 20
"""Half a million cuts are tried for 20 layers, and twice as many for each one more."""


@dataclass(frozen=True, kw_only=True)
class MaxCut:
    """Layers split again and again where most dissimilarity is cut."""

    groups: tuple[tuple[int, ...], ...]
    """Layers of each group, counted from 1, groups in order of their first layer."""

    threshold: float
    """Weight a cut had to exceed: eps × the weight of all pairs."""

    gains: tuple[float, ...]
    """Weight of each cut made, in order, as a share of the weight of all pairs."""

    @property
    def contiguous(self) -> bool:
        """Whether every group is a run of layers; nothing enforces it."""
        return all(group[-1] - group[0] + 1 == len(group) for group in self.groups)

    @property
    def cuts(self) -> tuple[int, ...] | None:
        """0 = c_0 < … < c_k = L as `segment_phases` gives them; None if a group has gaps."""
        return (0, *(group[-1] for group in self.groups)) if self.contiguous else None


def recursive_max_cut(
    S: Float[Tensor, "layers layers"], eps: float = 0.2, min_size: int = 2
) -> MaxCut:
    """Split layers as the authors' notebook does: the cluster with most to gain first.

    Every way of splitting a cluster in two is tried; the weight of a split is Σ (1 − S[a, b]) over
    pairs on different sides. Contiguity is not enforced.

    Parameters
    ----------
    S
        Similarity of layers; its diagonal is ignored.
    eps
        A split must weigh more than this share of the weight of all pairs. The authors take 0.20,
        0.10 and 0.09 for k = 2, 3, 4 on DINOv2.
    min_size
        Clusters smaller than twice this are not split; as in the notebook, a split of a larger one
        may still leave a smaller part.

    Raises
    ------
    TypeError, ValueError
        If `S` is no symmetric matrix, has too many layers for trying every cut, or a number is out
        of range.

    Source
    ------
    KempnerInstitute/raptor, raptor/max_cut_dinov2_base.ipynb (arXiv 2512.19941).

    Example
    -------
    >>> import torch
    >>> S = torch.block_diag(torch.ones(3, 3), torch.ones(4, 4))
    >>> recursive_max_cut(S).cuts
    (0, 3, 7)
    """
    s = check_similarity(S)
    check_number(eps, "eps", least=0.0, most=1.0)
    check_count(min_size, name="min_size")
    if len(s) > MOST_LAYERS:
        raise ValueError(
            f"`S` must have at most {MOST_LAYERS} layers for every cut to be tried, got {len(s)}. Use"
            " segment_phases, which is exact for contiguous phases of any depth."
        )
    w = 1 - s
    np.fill_diagonal(w, 0.0)
    total = w.sum() / 2
    clusters, gains = _split(w, eps * total, min_size)
    groups = sorted(tuple(int(i) + 1 for i in cluster) for cluster in clusters)
    return MaxCut(
        groups=tuple(groups),
        threshold=float(eps * total),
        gains=tuple(float(gain / total) if total > 0 else 0.0 for gain in gains),
    )


def _split(w: np.ndarray, threshold: float, min_size: int) -> tuple[list[np.ndarray], list[float]]:
    clusters, promise, made = [np.arange(len(w))], [np.inf], list[float]()
    while max(promise) > threshold:
        target = int(np.argmax(promise))
        cluster = clusters[target]
        if len(cluster) < 2 * min_size:
            promise[target] = -np.inf
            continue
        gain, side = _best_split(w[np.ix_(cluster, cluster)])
        if gain <= threshold:
            promise[target] = -np.inf
            continue
        clusters[target] = cluster[~side]
        clusters.append(cluster[side])
        # Both halves inherit the gain of the split that made them, as in the notebook.
        promise[target] = gain
        promise.append(gain)
        made.append(gain)
    return clusters, made


def _best_split(w: np.ndarray) -> tuple[float, np.ndarray]:
    """Try all 2^(n − 1) sides with the first layer fixed; the weight of one is a quadratic form."""
    n = len(w)
    best, best_side = -np.inf, np.zeros(n, dtype=bool)
    size = min(1 << (n - 1), 1 << 14)
    for begin in range(0, 1 << (n - 1), size):
        codes = np.arange(begin, begin + size)
        # The second layer is the highest bit, so that ties fall as in itertools.product.
        bits = (codes[:, None] >> np.arange(n - 2, -1, -1)) & 1
        sides = np.concatenate((np.zeros((size, 1), dtype=bits.dtype), bits), axis=1).astype(float)
        weights = ((sides @ w) * (1 - sides)).sum(axis=1)
        place = int(weights.argmax())
        if weights[place] > best + 1e-12:
            best, best_side = float(weights[place]), sides[place].astype(bool)
    return best, best_side
