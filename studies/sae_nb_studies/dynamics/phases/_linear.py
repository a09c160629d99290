"""One linear map per phase (dynamic mode decomposition): does a phase repeat one step? Ours.

X are the states a phase's blocks get, Y what they put out, both as directions on r principal axes
and centred: K = Y X⁺. The paper on block recurrence uses no such thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from sae_nb.checks import Count, Seed, checked
from sae_nb.dynamics import check_cuts, check_states, directions_of

MOST_PAIRS = 60_000
"""Snapshot pairs a map is fitted to: more change the third digit of nothing at r = 20. Ours."""


@dataclass(frozen=True, eq=False)
class LinearPhase:
    """The linear map of one phase, and how well it predicts the next state of unseen inputs."""

    start: int
    """Layer the phase starts from: its first block is number start + 1."""

    stop: int
    """Layer it ends at."""

    eigenvalues: Complex[Tensor, " rank"]
    """Of K, the largest first: near 1 what a step keeps, near 0 what it forgets."""

    r2: float
    """One-step R² on unseen inputs: 1 − SSE / SST, SST about each next layer's mean."""

    r2_global: float
    """The same of one map fitted to all phases."""

    r2_unchanged: float
    """The floor: the same if the next state is guessed to be this one."""


@checked(leave=("states",))
def linearise_phases(
    states: Float[Tensor, "n layers tokens d"],
    cuts: Sequence[int],
    *,
    rank: Count = 20,
    held_out_fraction: float = 0.3,
    seed: Seed = 0,
) -> tuple[LinearPhase, ...]:
    """Fit one linear map to the steps of each phase, and one to all steps, and test them on unseen inputs.

    K_j = Y X⁺ over the pairs (û_l, û_{l+1}) with c_{j−1} ≤ l < c_j, in coordinates on the leading axes
    of all û, X and Y each less its mean over the phase: ŷ = ȳ + K(x − x̄).

    Parameters
    ----------
    states
        From `capture_states`, embeddings first; two inputs at least.
    cuts
        Ends of the phases, 0 = c_0 < … < c_k = L, as `segment_phases` gives them.
    rank
        Axes r.
    held_out_fraction
        Share of the inputs that only test, at least one.
    seed
        Of that split, and of the pairs taken where there are very many.

    Source
    ------
    Ours. Dynamic mode decomposition: Schmid, Journal of Fluid Mechanics, 2010.

    Example
    -------
    >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    >>> x = [torch.randn(40, 1, 2, generator=torch.Generator().manual_seed(0))]
    >>> x += [x[0] @ turn.T, x[0] @ turn.T @ turn.T]
    >>> phase = linearise_phases(torch.stack(x, dim=1), [0, 2])[0]
    >>> round(phase.r2, 3), phase.eigenvalues.abs().round(decimals=2).tolist()
    (1.0, [1.0, 1.0])
    """
    plain, _ = check_states(states, min_layers=1)
    n, last = plain.shape[0], plain.shape[1] - 1
    ends = check_cuts(cuts, n_layers=last)
    if not 0 < held_out_fraction < 1 or n < 2:
        raise ValueError(
            f"`held_out_fraction` must leave inputs on both sides, got {held_out_fraction} of {n}."
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    n_held = min(max(round(held_out_fraction * n), 1), n - 1)
    held, fitted = plain[order[:n_held]], plain[order[n_held:]]
    centre, axes = _axes(fitted, rank, generator)
    train, test = ((directions_of(x) - centre) @ axes.T for x in (fitted, held))
    whole = _fit(train, 0, last, generator)
    return tuple(
        _phase(start, stop, _fit(train, start, stop, generator), whole, test)
        for start, stop in pairwise(ends)
    )


class _Step(NamedTuple):
    """An affine map of rows: y = after + (x − before) K."""

    k: Tensor
    before: Tensor
    after: Tensor


def _phase(start: int, stop: int, own: _Step, whole: _Step, test: Tensor) -> LinearPhase:
    values = torch.linalg.eigvals(own.k)
    zero = torch.zeros(len(own.k), dtype=own.k.dtype)
    same = _Step(torch.eye(len(own.k), dtype=own.k.dtype), zero, zero)
    scores = [_r2(test, start, stop, step) for step in (own, whole, same)]
    return LinearPhase(
        start, stop, values[values.abs().argsort(descending=True, stable=True)], *scores
    )


def _axes(states: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mean and leading axes of all directions, from a sample of them."""
    rows = directions_of(states).flatten(0, 2)
    if len(rows) > MOST_PAIRS:
        rows = rows[torch.randperm(len(rows), generator=generator)[:MOST_PAIRS]]
    centre = rows.mean(dim=0)
    centred = (rows - centre).double()
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return centre, vectors.flip(1)[:, : min(rank, rows.shape[1])].T.float()


def _fit(x: Tensor, start: int, stop: int, generator: torch.Generator) -> _Step:
    """Least squares from every state of a phase to the next one."""
    before, after = (x[:, start + i : stop + i].flatten(0, 2).double() for i in (0, 1))
    if len(before) > MOST_PAIRS:
        chosen = torch.randperm(len(before), generator=generator)[:MOST_PAIRS]
        before, after = before[chosen], after[chosen]
    means = before.mean(dim=0), after.mean(dim=0)
    solved = torch.linalg.lstsq(before - means[0], after - means[1], driver="gelsd").solution
    return _Step(solved, *means)


def _r2(x: Tensor, start: int, stop: int, step: _Step) -> float:
    before, after = (x[:, start + i : stop + i].double() for i in (0, 1))
    error = ((before - step.before) @ step.k + step.after - after).square().sum()
    spread = (after - after.mean(dim=(0, 2), keepdim=True)).square().sum()
    return float(1 - error / spread.clamp_min(1e-30))
