"""Two other ways to phases: the authors' max-cut, and cuts from what one shared block can do.

e(i, j) = Σ_{l=i+1..j} ‖A_l − B(A_{l−1})‖² / ‖(A_l − A_{l−1}) − mean‖²: what one block, given the
teacher's states, leaves of each layer's update. The cuts of least total error come from the same
dynamic programme as those of least dissimilarity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, Share, check_count, checked
from sae_nb.dynamics import TokenKind, best_cuts, check_cuts, check_similarity, check_states
from sae_nb_studies.dynamics.raptor._config import RaptorConfig
from sae_nb_studies.dynamics.raptor._loop import RaptorTraining, check_batch
from sae_nb_studies.dynamics.raptor._raptor import BlockSizes, Raptor

# -------------------------------------------------------------------------------------------------
# The authors' phases: recursive bisection of layers by exhaustive max-cut, contiguous or not.


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
        """Whether every group is a run of layers; it is not enforced."""
        return all(group[-1] - group[0] + 1 == len(group) for group in self.groups)

    @property
    def cuts(self) -> tuple[int, ...] | None:
        """0 = c_0 < … < c_k = L as `segment_phases` gives them; None if a group has gaps."""
        return (0, *(group[-1] for group in self.groups)) if self.contiguous else None


@checked(leave=("S",))
def recursive_max_cut(
    S: Float[Tensor, "layers layers"], eps: Share = 0.2, min_size: Count = 2
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
    ValueError: If `S` has too many layers for trying every cut.

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


# -------------------------------------------------------------------------------------------------
# Cuts from what blocks can do: one shared block fitted to every run of layers, then the best sum.


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentErrors:
    """Error of one shared block's approximation of each run of layers."""

    error: Float[np.ndarray, "ends ends"]
    """e(i, j) of layers i + 1 … j on test inputs; infinity where no block was fitted."""

    n_fits: int
    """Blocks fitted."""

    @property
    def n_layers(self) -> int:
        """Layers L."""
        return len(self.error) - 1

    @checked
    def cuts(self, k: Count, min_len: Count = 2) -> tuple[int, ...]:
        """Return the cuts into k phases whose blocks leave the least error in all.

        Raises
        ------
        ValueError: If k phases do not fit.
        """
        return self.ranking(k, min_len, first=1)[0][0]

    @checked
    def ranking(
        self, k: Count, min_len: Count = 2, first: int | None = None
    ) -> list[tuple[tuple[int, ...], float]]:
        """Return all cuts into k phases from the best to the worst, each with its error."""
        best = tuple(best_cuts(self.error, k, min_len).tolist())
        if first == 1:
            return [(best, self._total(best))]
        possible = [
            (0, *inner, self.n_layers)
            for inner in combinations(range(1, self.n_layers), k - 1)
            if min(b - a for a, b in pairwise((0, *inner, self.n_layers))) >= min_len
        ]
        return sorted(((cuts, self._total(cuts)) for cuts in possible), key=lambda x: x[1])[:first]

    def rank_of(self, cuts: Sequence[int], min_len: int = 2) -> int:
        """Return the rank of given cuts among all with the same number of phases, 1 the best.

        Raises
        ------
        ValueError: If these are not cuts, or a phase is shorter than `min_len`.
        """
        cuts = check_cuts(cuts, n_layers=self.n_layers)
        ranked = [one for one, _ in self.ranking(len(cuts) - 1, min_len)]
        if cuts not in ranked:
            raise ValueError(
                f"`cuts` must leave phases of at least min_len={min_len} layers, got {cuts}."
            )
        return ranked.index(cuts) + 1

    def _total(self, cuts: Sequence[int]) -> float:
        return float(sum(self.error[a, b] for a, b in pairwise(cuts)))


@checked(leave=("states",))
def segment_errors(
    states: Float[Tensor, "n layers tokens d"],
    sizes: BlockSizes,
    config: RaptorConfig | None = None,
    *,
    token_kinds: Sequence[str] | None = None,
    min_len: Count = 2,
    max_len: int | None = None,
    on_fit: Callable[[int, int, float], object] | None = None,
) -> SegmentErrors:
    """Fit one block to each contiguous segment of layers, for a few steps.

    Errors are those of single steps from the teacher's states: in a roll-out they pile up with length,
    and every cut, wherever it falls, would start afresh. Long segments get fewer steps, so that every
    fit applies its block equally often.

    Parameters
    ----------
    sizes
        Of the blocks; `sizes_of(model)`.
    config
        Its `steps` are those of segments of 4. None: 60 steps of 16 inputs at higher rates than a
        Raptor's, since a fit is short. One block learns, from the teacher's states, every token alike:
        settings of stages, forcing, weights of tokens and checkpoints are ignored.
    min_len, max_len
        Shortest and longest segment fitted.
    on_fit
        Called with (i, j, error) after each fit.

    Raises
    ------
    TypeError, ValueError: If `states` are not states, too few for a step, or no segment is that long.

    Source
    ------
    Ours: the paper cuts by similarity (arXiv 2512.19941), which does not ask what a block can do.
    """
    x, kinds = check_states(states, token_kinds)
    depth = x.shape[1] - 1
    longest = depth if max_len is None else max_len
    check_count(min_len, name="min_len", at_most=depth)
    check_count(longest, name="max_len", at_least=min_len)
    settings = config or RaptorConfig(steps=60, learning_rate=1e-2, muon_learning_rate=0.05)
    check_batch(x, settings)
    error = np.full((depth + 1, depth + 1), np.inf)
    n_fits = 0
    for i in range(depth):
        for j in range(i + min_len, min(i + longest, depth) + 1):
            steps = max(1, round(settings.steps * 4 / (j - i)))
            error[i, j] = _fit(x[:, i : j + 1], kinds, sizes, settings, steps)
            n_fits += 1
            if on_fit is not None:
                on_fit(i, j, float(error[i, j]))
    return SegmentErrors(error=error, n_fits=n_fits)


def _fit(
    x: Tensor, kinds: Sequence[TokenKind], sizes: BlockSizes, config: RaptorConfig, steps: int
) -> float:
    raptor = Raptor(sizes, (0, x.shape[1] - 1), seed=config.seed)
    settings = replace(
        config,
        schedule="joint",
        steps=steps,
        steps_1=None,
        steps_2=None,
        forcing="always",
        last_weights=None,
        joint_weights=None,
        checkpoint=None,
    )
    training = RaptorTraining(raptor, x, kinds, settings, resume=False)
    updates = _spread(x[training.train_rows])
    training.loss.scale = torch.cat((updates.new_ones(1), updates))
    training.run()
    rows = training.test_rows if len(training.test_rows) else training.train_rows
    x = x[rows].float()
    # Sum over layers of the share of each update that single steps miss.
    with torch.no_grad():
        forced = [raptor.step(x[:, layer - 1], layer) for layer in range(1, x.shape[1])]
        missed = [(one - x[:, i]).square().mean() for i, one in enumerate(forced, start=1)]
    return float((torch.stack(missed) / _spread(x)).sum())


def _spread(x: Tensor) -> Tensor:
    """Variance of each layer's update about its mean, mean over channels."""
    updates = (x[:, 1:].float() - x[:, :-1].float()).transpose(0, 1).flatten(1, 2)
    return updates.var(dim=1, unbiased=False).mean(dim=1).clamp_min(1e-12)
