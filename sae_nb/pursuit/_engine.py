"""Tiles of rows and phases of steps: what every compiled backend does in the same order.

Correlations c = r Dᵀ come from one matrix product per tile. Matching pursuit then updates them with
Gram rows, c ← c − a G[j]; each update rounds once more, so after `refresh_every` steps they are
recomputed from the residual. Only the search reads c: a coefficient is ⟨r, d_j⟩ with the residual
itself, so drift can at most swap two atoms whose scores agree to about t units in the last place of ‖x‖
after t steps. The refitting pursuits rebuild c = x Dᵀ − z G from the code at every step, and do not
drift.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.pursuit._gram import Known, gram_of
from sae_nb.pursuit._planning import Plan
from sae_nb.pursuit._problem import Problem, Steps


class Kernels(Protocol):
    """The functions that a backend supplies."""

    rounds: bool
    """Whether matching pursuit in fp32 reads a Gram matrix of 16 bits."""

    def matching(self, tile: Tile, first: int, last: int, *, keep: bool) -> None:
        """Take steps first … last of matching pursuit; `keep` updates c with Gram rows in between."""

    def refit(self, tile: Tile, first: int, last: int, *, keep: bool) -> None:
        """Take steps first … last of a pursuit that refits its coefficients."""

    def apply_rows(self, tile: Tile, rows: Tensor, slot_of: Tensor, step: int) -> None:
        """Update c ← c − a · G[j] for the choices of one step whose G[j] is among `rows`."""


class Tile:
    """Some rows on their way: correlations, residuals, and the part of the result they fill."""

    def __init__(
        self,
        problem: Problem,
        steps: Steps,
        rows: slice,
        buffers: Buffers,
        gram: Tensor,
        grain: float = 0.0,
    ) -> None:
        n = rows.stop - rows.start
        self.problem, self.steps, self.gram = problem, steps.rows(rows), gram
        self.grain = grain
        """Unit of a Gram matrix of 16 bits; 0 of one in floating point."""
        self.x = problem.x[rows]
        self.c, self.r = buffers.c[:n], buffers.r[:n]
        self.systems = tuple(part[:n] for part in buffers.systems)
        self.floors, self.limits = buffers.floors[rows], buffers.limits[rows]
        self.r.copy_(self.x)

    def correlate(self) -> None:
        """Set c = r Dᵀ."""
        torch.mm(self.r, self.problem.dictionary.T, out=self.c)

    @property
    def running(self) -> bool:
        """Whether any row is still running."""
        return bool((self.steps.state == 0).any())


class Buffers:
    """Memory that every tile uses in turn."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        x, k, rows = problem.x, problem.k, plan.tile_rows
        self.c = x.new_empty(rows, len(problem.dictionary))
        self.r = x.new_empty(rows, x.shape[1])
        self.floors, self.limits = problem.floors(), problem.limits()
        square = (rows, k, k) if problem.refits else (rows, 0, 0)
        exact = torch.float64
        self.systems = (
            x.new_empty(square, dtype=exact),
            x.new_empty(square[:2], dtype=exact),
            x.new_empty(square, dtype=exact),
            x.new_empty(square[:2], dtype=exact),
            x.new_empty(square[:2], dtype=torch.int32),
            x.new_zeros(rows, dtype=torch.int32),
        )
        self.row_cache = x.new_empty(
            plan.gram_rows if plan.strategy == "rows" else 0, len(problem.dictionary)
        )


@torch.no_grad()
def pursue(problem: Problem, plan: Plan, facts: Known, kernels: Kernels) -> Steps:
    """Run all steps of all rows."""
    steps, buffers = Steps.empty(problem), Buffers(problem, plan)
    rounds = kernels.rounds and problem.rounds
    lent: AbstractContextManager[Tensor] = (
        gram_of(facts, problem.dictionary, rounded=rounds)
        if plan.strategy == "gram"
        else nullcontext(problem.x.new_empty(0, 0))
    )
    cache = _RowCache(problem, buffers.row_cache)
    with lent as gram:
        for first in range(0, len(problem.x), plan.tile_rows):
            rows = slice(first, min(first + plan.tile_rows, len(problem.x)))
            tile = Tile(problem, steps, rows, buffers, gram, facts.grain if rounds else 0.0)
            if problem.refits:
                tile.systems[-1].zero_()
                _refit(tile, plan, kernels)
            elif plan.strategy == "rows":
                _match_by_rows(tile, cache, kernels)
            else:
                _match(tile, plan, kernels)
    return steps


def _match(tile: Tile, plan: Plan, kernels: Kernels) -> None:
    k, keep = tile.problem.k, plan.strategy == "gram"
    length = tile.problem.refresh_every if keep else 1
    for first in range(0, k, length):
        if first and not tile.running:
            return
        tile.correlate()
        kernels.matching(tile, first, min(first + length, k), keep=keep)


def _match_by_rows(tile: Tile, cache: _RowCache, kernels: Kernels) -> None:
    for step in range(tile.problem.k):
        if step % tile.problem.refresh_every == 0:
            tile.correlate()
        else:
            cache.update(tile, step - 1, kernels)
        kernels.matching(tile, step, step + 1, keep=False)
        if not tile.running:
            return


def _refit(tile: Tile, plan: Plan, kernels: Kernels) -> None:
    k, keep = tile.problem.k, plan.strategy == "gram"
    length = k if keep else 1
    for first in range(0, k, length):
        if first and not tile.running:
            return
        tile.correlate()
        kernels.refit(tile, first, min(first + length, k), keep=keep)


class _RowCache:
    """Gram rows of atoms chosen lately, in a fixed number of slots; emptied when it is full."""

    def __init__(self, problem: Problem, rows: Float[Tensor, "slots n_atoms"]) -> None:
        self.dictionary, self.rows, self.used = problem.dictionary, rows, 0
        self.slot_of = torch.full(
            (len(problem.dictionary),), -1, dtype=torch.int32, device=rows.device
        )

    def update(self, tile: Tile, step: int, kernels: Kernels) -> None:
        """Apply the choices of one step to the correlations of a tile."""
        took = tile.steps.steps == step + 1
        places = tile.steps.places[took, step].long()
        wanted = tile.steps.atoms[took].gather(1, places[:, None]).flatten().long()
        wanted = torch.unique(wanted)
        missing = wanted[self.slot_of[wanted] < 0]
        free = len(self.rows) - self.used
        self._make(missing[:free])
        kernels.apply_rows(tile, self.rows, self.slot_of, step)
        # What is applied leaves, so that nothing is applied twice.
        for part in missing[free:].split(len(self.rows)) if len(missing) > free else ():
            self._empty()
            self._make(part)
            kernels.apply_rows(tile, self.rows, self.slot_of, step)

    def _make(self, atoms: Tensor) -> None:
        slots = slice(self.used, self.used + len(atoms))
        torch.mm(self.dictionary[atoms], self.dictionary.T, out=self.rows[slots])
        self.slot_of[atoms] = torch.arange(
            slots.start, slots.stop, dtype=torch.int32, device=atoms.device
        )
        self.used = slots.stop

    def _empty(self) -> None:
        self.slot_of.fill_(-1)
        self.used = 0
