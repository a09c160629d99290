"""Fit block archetypes: softmax per tile, Adam, hulls drawn tight."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.checks import Count, Seed, at_least, checked
from sae_nb.classical import archetypal_analysis, far_apart
from sae_nb_studies.minkowski._block_archetypes import (
    BlockArchetypes,
    check_active,
    check_tiles,
    rows_of,
    split_tiles,
    strongest,
)

# -------------------------------------------------------------------------------------------------
# A start for block archetypes: subspaces whose coordinates depend on each other, not across.
#
# Independent component analysis, then components put together whose sizes rise and fall together:
# q_ab = |corr(s_a², s_b²)|, and the tiles are the partition with the largest Σ of q within its parts.


PARTITIONS = 20
"""Random partitions that are improved by swaps; the best is kept (ours)."""

MOST_ITERATIONS = 500


def subspace_start(
    x: Float[Tensor, "n d_in"], tile_sizes: Sequence[int], *, seed: int
) -> Float[Tensor, "n_archetypes d_in"]:
    """Return far-apart points of the data's projections on independent subspaces, tile by tile.

    A tile of K archetypes spans K − 1 directions, so Σ (K_i − 1) components are looked for. In a sum
    of tiles that move independently, components of one tile depend on each other (they share a
    simplex), and components of two tiles do not.

    Source: Independent subspace analysis: Cardoso, "Multidimensional independent component
    analysis", ICASSP 1998; components by FastICA (Hyvärinen 1999). As a start of block archetypes:
    ours.
    """
    sources, mixing = _components(x, sum(size - 1 for size in tile_sizes), seed)
    squares = sources**2
    dependence = np.nan_to_num(np.abs(np.corrcoef(squares.T)).reshape(len(mixing), len(mixing)))
    tile = dependent_groups(dependence, [size - 1 for size in tile_sizes], seed=seed)
    generator = torch.Generator().manual_seed(seed)
    points = []
    for i, size in enumerate(tile_sizes):
        part = torch.from_numpy(sources[:, tile == i] @ mixing[tile == i]).to(x)
        points.append(part[far_apart(part, size, generator)])
    return torch.cat(points)


def _components(x: Tensor, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    analysis = FastICA(
        n, fun="cube", whiten="unit-variance", max_iter=MOST_ITERATIONS, random_state=seed
    )
    with warnings.catch_warnings():
        # Data without independent components (a Gaussian) have no fixed point; any rotation serves.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        sources = analysis.fit_transform((x - x.mean(dim=0)).double().cpu().numpy())
    return sources, analysis.mixing_.T


def dependent_groups(
    dependence: Float[np.ndarray, "n n"], sizes: Sequence[int], *, seed: int = 0
) -> Int[np.ndarray, " n"]:
    """Put components into groups of given sizes with the largest sum of dependence within groups.

    Swaps of two components as long as one helps, from several random partitions.
    """
    draws = np.random.default_rng(seed)
    q = dependence - np.diag(np.diag(dependence))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    partitions = [_swapped(q, draws.permutation(labels), len(sizes)) for _ in range(PARTITIONS)]
    best, _ = max(partitions, key=lambda pair: pair[1])
    return best


def _swapped(
    q: Float[np.ndarray, "n n"], label: Int[np.ndarray, " n"], n_groups: int
) -> tuple[Int[np.ndarray, " n"], float]:
    """Swap the best pair until none helps."""
    each = np.arange(len(label))
    while True:
        member = np.eye(n_groups)[label]
        ties = q @ member
        own, others = ties[each, label], ties[:, label]
        gain = others + others.T - own[:, None] - own[None, :] - 2 * q
        gain[label[:, None] == label[None, :]] = 0
        first, second = np.unravel_index(int(gain.argmax()), gain.shape)
        if gain[first, second] <= 1e-12:
            return label, float((q * (member @ member.T)).sum())
        label[[first, second]] = label[[second, first]]


Start = Literal["auto", "subspaces", "rows"]
MOST_CANDIDATES = 1000
"""Rows that the pull-to-data term mixes at most (inferred)."""

FIRST_STEPS = 60
"""Steps of `encode` that give the first mixtures."""


@checked
@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """Settings of the fit of block archetypes. No published recipe exists: all defaults are ours."""

    n_steps: Count = 400
    """Optimiser steps on all rows at once."""

    learning_rate: float = 0.02
    """Of Adam, highest point of a one-cycle schedule, in units of the data's root mean square norm."""

    tightness: tuple[float, float] = (0.01, 0.0005)
    """Weight of the mean squared length of archetypes, first and last step: it keeps hulls from growing
    loose around the data, which costs no R². (0, 0) lets them."""

    pull: float = 0.0
    """η: weight of the squared distance of b + A_iv to the hull of the data, the pull-to-data term."""

    start: Start = "auto"
    """"subspaces": from independent subspaces; "rows": far-apart rows for one tile, random rows for
    more; "auto": subspaces where more than one tile fits into the width."""

    n_starts: Count = 1
    """Fits from different draws; the one with the smallest loss is kept."""

    seed: Seed = 0
    """Of all draws."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(
                f"`learning_rate` must be a positive number, got {self.learning_rate}."
            )
        for name, weight in (("pull", self.pull), *(("tightness", w) for w in self.tightness)):
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"`{name}` must be a number ≥ 0, got {weight}. 0 leaves it out.")


@checked
def fit_block_archetypes(
    x: Activations | Float[Tensor, "n d_in"],
    tile_sizes: Sequence[int],
    config: BlockConfig | None = None,
    *,
    n_active: int | None = None,
) -> BlockArchetypes:
    """Find tiles of archetypes whose Minkowski sum holds the data as well as may be.

    min ‖X − X̂‖² / ‖X − mean‖² + λ mean ‖A_iv‖² + η mean ‖b + A_iv − β_iv X‖²,
    X̂ = b + Σ_i g_i softmax(L_i) (A_i − mean A_i), the rows of β on the simplex; λ falls.

    Parameters
    ----------
    x
        Rows; all are used in every step, so pass a few thousand.
    tile_sizes
        Archetypes of each tile, ≥ 2. (12,) is archetypal analysis with free archetypes.
    n_active
        |S|, tiles per row: those that move a row farthest. None is all.

    Raises
    ------
    TypeError, ValueError: If the rows, tiles or settings do not fit, or there are fewer rows than
        archetypes.

    Source
    ------
    The hypothesis: arXiv 2510.08638. This estimator is inferred (ours): no code of it was published.

    Example
    -------
    >>> corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> weights = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) ** 4
    >>> x = weights / weights.sum(1, keepdim=True) @ corners
    >>> found = fit_block_archetypes(x, (3,), BlockConfig(n_steps=100))
    >>> found
    BlockArchetypes(3 archetypes of width 2, 1 of 1 tiles per row)
    """
    config = BlockConfig() if config is None else config
    rows = rows_of(x).float()
    sizes = check_tiles(tile_sizes)
    n_active = check_active(n_active, len(sizes))
    if len(rows) < sum(sizes):
        raise ValueError(
            f"`x` must have at least one row per archetype, {sum(sizes)}, got {len(rows)}. "
            "Pass more rows or smaller tiles."
        )
    middle = rows.mean(dim=0)
    spread = float((rows - middle).square().sum(dim=1).mean().sqrt())
    if spread == 0:
        raise ValueError(
            "`x` must vary, got equal rows only. Archetypes of one point are that point."
        )
    scaled = (rows - middle) / spread
    seeds = range(config.seed, config.seed + config.n_starts)
    fits = [_fitted(scaled, sizes, config, n_active, seed) for seed in seeds]
    (archetypes, bias), _ = min(fits, key=lambda pair: pair[1])
    return BlockArchetypes(archetypes * spread, sizes, middle + bias * spread, n_active)


@checked
def hull_of_rows(
    x: Activations | Float[Tensor, "n d_in"],
    n_archetypes: Annotated[int, at_least(2)],
    *,
    n_steps: int = 30,
    max_rows: Count = 1000,
    seed: Seed = 0,
) -> BlockArchetypes:
    """Return archetypal analysis proper: every archetype is a mixture of rows, so the hull lies in the
    data's.

    As `sae_nb.classical.archetypal_analysis`, in `n_steps` alternations, on `max_rows` rows drawn at
    random from more.

    Raises
    ------
    TypeError, ValueError: If the rows do not fit, or there are fewer of them than archetypes.

    Example
    -------
    >>> x = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))
    >>> hull = hull_of_rows(x, 4)
    >>> bool((hull.vertices() >= x.min(dim=0).values - 1e-5).all())
    True
    """
    rows = rows_of(x)
    n = n_archetypes
    if min(len(rows), max_rows) < n:
        raise ValueError(
            f"`x` must have at least n_archetypes={n} rows, got {min(len(rows), max_rows)}."
        )
    generator = torch.Generator().manual_seed(seed)
    if len(rows) > max_rows:
        rows = rows[torch.randperm(len(rows), generator=generator)[:max_rows].to(rows.device)]
    rows = rows.double()
    mixture, _ = archetypal_analysis(rows, n, n_steps=n_steps, generator=generator)
    return BlockArchetypes((mixture @ rows).float(), (n,), rows.new_zeros(rows.shape[1]).float())


@torch.enable_grad()
def _fitted(
    x: Tensor, sizes: tuple[int, ...], config: BlockConfig, n_active: int, seed: int
) -> tuple[tuple[Tensor, Tensor], float]:
    """Archetypes and bias of rows with mean 0 and norm 1 in the root mean square, and their loss."""
    generator = torch.Generator().manual_seed(seed)
    begun = BlockArchetypes(_begin(x, sizes, config.start, seed), sizes, torch.zeros(x.shape[1]))
    mixtures = begun.encode(x, n_steps=FIRST_STEPS).mixtures
    logits = (mixtures + 0.01).log().requires_grad_()
    archetypes, bias = begun.archetypes.requires_grad_(), begun.bias.requires_grad_()
    parameters = [logits, archetypes, bias]
    pull = _Pull(x, archetypes, generator) if config.pull else None
    if pull is not None:
        parameters.append(pull.logits)
    optimiser = torch.optim.Adam(parameters, lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, config.n_steps + 1, pct_start=0.1
    )
    first, last = config.tightness
    for step in range(config.n_steps):
        done = step / config.n_steps
        points = _centred(archetypes, sizes)
        x_hat = bias + _mixed(logits, points, sizes, n_active)
        loss = (x - x_hat).square().sum(dim=1).mean()
        loss = loss + (first + (last - first) * done) * points.square().sum(dim=1).mean()
        if pull is not None:
            loss = loss + config.pull * pull.of(bias + points)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return (_centred(archetypes, sizes).detach(), bias.detach()), float(loss.detach())


def _begin(x: Tensor, sizes: tuple[int, ...], start: Start, seed: int) -> Tensor:
    needed, most = sum(size - 1 for size in sizes), min(x.shape[1], len(x) - 1)
    if start == "subspaces" and needed > most:
        raise ValueError(
            f"`start='subspaces'` must have Σ (size − 1) = {needed} at most {most}, the directions "
            f"that {len(x)} rows of width {x.shape[1]} can have. Use smaller tiles or start='rows'."
        )
    if start == "subspaces" or (start == "auto" and len(sizes) > 1 and needed <= most):
        return subspace_start(x, sizes, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    if len(sizes) == 1:
        return x[far_apart(x, sizes[0], generator)]
    drawn = [torch.randperm(len(x), generator=generator)[:size] for size in sizes]
    return x[torch.cat(drawn)] / len(sizes) ** 0.5


def _centred(archetypes: Tensor, sizes: tuple[int, ...]) -> Tensor:
    return torch.cat([tile - tile.mean(dim=0) for tile in split_tiles(archetypes, sizes)])


def _mixed(logits: Tensor, points: Tensor, sizes: tuple[int, ...], n_active: int) -> Tensor:
    """Σ_i g_i α_i A_i; the gates follow the moves and carry no gradient."""
    parts = zip(split_tiles(logits, sizes, dim=1), split_tiles(points, sizes), strict=True)
    moved = torch.stack([part.softmax(dim=1) @ tile for part, tile in parts], dim=1)
    if n_active < len(sizes):
        moved = moved * strongest(moved.detach().norm(dim=2), n_active)[:, :, None]
    return moved.sum(dim=1)


class _Pull:
    """Distance of points to the hull of some rows, with mixtures that are learned with them."""

    def __init__(self, x: Tensor, archetypes: Tensor, generator: torch.Generator) -> None:
        self._rows = x[torch.randperm(len(x), generator=generator)[:MOST_CANDIDATES]]
        distance = torch.cdist(archetypes.detach(), self._rows)
        # Begins near the nearest rows, not at the centre, whose gradient is the same for all rows.
        self.logits = (-4 * distance).requires_grad_()

    def of(self, points: Tensor) -> Tensor:
        """Return mean squared distance."""
        return (points - self.logits.softmax(dim=1) @ self._rows).square().sum(dim=1).mean()
