"""Cuts from what blocks can do: one shared block fitted to every run of layers, then the best sum.

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

from sae_nb.dynamics.phases import best_cuts, check_fit
from sae_nb.dynamics.raptor import Raptor
from sae_nb.dynamics.raptor_block import BlockSizes
from sae_nb.dynamics.raptor_config import RaptorConfig
from sae_nb.dynamics.raptor_loop import RaptorTraining
from sae_nb.dynamics.states import TokenKind, check_states


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentErrors:
    """How badly one shared block stands for each run of layers."""

    error: Float[np.ndarray, "ends ends"]
    """e(i, j) of layers i + 1 … j on test pictures; infinity where no block was fitted."""

    n_fits: int
    """Blocks fitted."""

    @property
    def n_layers(self) -> int:
        """Layers L."""
        return len(self.error) - 1

    def cuts(self, k: int, min_len: int = 2) -> tuple[int, ...]:
        """Return the cuts into k phases whose blocks leave the least error in all.

        Raises
        ------
        ValueError
            If k phases do not fit.
        """
        return self.ranking(k, min_len, first=1)[0][0]

    def ranking(
        self, k: int, min_len: int = 2, first: int | None = None
    ) -> list[tuple[tuple[int, ...], float]]:
        """Return all cuts into k phases from the best to the worst, each with its error.

        Parameters
        ----------
        k, min_len
            Number of phases, and fewest layers of one.
        first
            How many to return; None: all of them.
        """
        check_fit(self.n_layers, k, min_len, "mass")
        if first == 1:
            best = tuple(best_cuts(self.error, k, min_len).tolist())
            return [(best, self._total(best))]
        found = [
            (0, *inner, self.n_layers)
            for inner in combinations(range(1, self.n_layers), k - 1)
            if min(b - a for a, b in pairwise((0, *inner, self.n_layers))) >= min_len
        ]
        return sorted(((cuts, self._total(cuts)) for cuts in found), key=lambda x: x[1])[:first]

    def rank_of(self, cuts: Sequence[int], min_len: int = 2) -> int:
        """Return the place of given cuts among all with as many phases, 1 the best."""
        ranked = [one for one, _ in self.ranking(len(cuts) - 1, min_len)]
        return ranked.index(tuple(cuts)) + 1

    def _total(self, cuts: Sequence[int]) -> float:
        return float(sum(self.error[a, b] for a, b in pairwise(cuts)))


def segment_errors(
    states: Float[Tensor, "n layers tokens d"],
    sizes: BlockSizes,
    config: RaptorConfig | None = None,
    *,
    token_kinds: Sequence[str] | None = None,
    min_len: int = 2,
    max_len: int | None = None,
    on_fit: Callable[[int, int, float], object] | None = None,
) -> SegmentErrors:
    """Fit one block to each contiguous segment of layers, for a few steps.

    Errors are those of single steps from the teacher's states: in a roll-out they pile up with length,
    and every cut, wherever it falls, would start afresh. Long segments get fewer steps, so that every
    fit applies its block equally often.

    Parameters
    ----------
    states
        From `capture_states`.
    sizes
        Of the blocks; `sizes_of(model)`.
    config
        Stage 1 only; None: 60 steps for segments of 4.
    token_kinds
        As for `States`.
    min_len, max_len
        Shortest and longest segment fitted.
    on_fit
        Called with (i, j, error) after each fit.

    Raises
    ------
    TypeError, ValueError
        If `states` are no states, or no segment is that long.

    Source
    ------
    Ours: the paper cuts by similarity (arXiv 2512.19941), which does not ask what a block can do.
    """
    x, kinds = check_states(states, token_kinds)
    depth = x.shape[1] - 1
    longest = depth if max_len is None else max_len
    check_fit(depth, 1, min_len, "mass")
    settings = config or RaptorConfig(steps_1=60, steps_2=0, batch_size=16, learning_rate=1e-2)
    error = np.full((depth + 1, depth + 1), np.inf)
    n_fits = 0
    for i in range(depth):
        for j in range(i + min_len, min(i + longest, depth) + 1):
            steps = max(1, round(settings.steps_1 * 4 / (j - i)))
            error[i, j] = _fit(
                x[:, i : j + 1], kinds, sizes, replace(settings, steps_1=steps, steps_2=0)
            )
            n_fits += 1
            if on_fit is not None:
                on_fit(i, j, float(error[i, j]))
    return SegmentErrors(error=error, n_fits=n_fits)


def _fit(x: Tensor, kinds: Sequence[TokenKind], sizes: BlockSizes, config: RaptorConfig) -> float:
    raptor = Raptor(sizes, (0, x.shape[1] - 1), seed=config.seed)
    # Plain squares: token weights belong to the last block of a Raptor, not to a segment.
    settings = replace(config, forcing="always", last_weights=_even(kinds))
    training = RaptorTraining(raptor, x, kinds, settings, resume=False)
    updates = _spread(x[training.train_rows])
    training.loss.scale = torch.cat((updates.new_ones(1), updates))
    training.run()
    rows = training.test_rows if len(training.test_rows) else training.train_rows
    return _left(raptor, x[rows].float())


@torch.no_grad()
def _left(raptor: Raptor, x: Tensor) -> float:
    """Sum over layers of the share of each update that single steps miss."""
    missed = [
        (raptor.step(x[:, layer - 1], layer) - x[:, layer]).square().mean()
        for layer in range(1, x.shape[1])
    ]
    return float((torch.stack(missed) / _spread(x)).sum())


def _spread(x: Tensor) -> Tensor:
    """Variance of each layer's update about its mean, mean over channels."""
    updates = (x[:, 1:].float() - x[:, :-1].float()).transpose(0, 1).flatten(1, 2)
    return updates.var(dim=1, unbiased=False).mean(dim=1).clamp_min(1e-12)


def _even(kinds: Sequence[TokenKind]) -> tuple[float, float, float]:
    """Weights that make every token count the same."""
    # "token" counts as a patch.
    counts = [sum(kind == one for kind in kinds) for one in ("cls", "register")]
    counts.append(len(kinds) - sum(counts))
    return float(counts[0]), float(counts[1]), float(counts[2])
