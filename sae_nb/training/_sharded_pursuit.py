"""Pursuits over shards: no Gram matrix, and no worker with more than its own atoms.

Every worker has the rows and their residuals r. A step is

    each worker:   c = r D_wᵀ in tiles, its best atom of each row and the score of that
    an exchange:   rows scores and rows atoms from each; the best counts, of equal ones the lowest atom
    a sum:         rows · d_in numbers, d_j from the worker that has the atom
    each worker:   r ← r − a d_j,  a = ⟨r, d_j⟩

A worker in whose view a row has ended scores below 0 there: an exchange settles which rows continue, in
all workers alike. With the last residual, r_T = (x − b) − zD, the loss is ‖r_T‖². Back through r_{t+1}
= r_t − ⟨r_t, d⟩ d, with ρ = ∂L/∂r_{t+1}:

    s = −⟨ρ, d⟩,   ∂d += s r_t − a ρ,   ρ ← ρ + s d,   r_t = r_{t+1} + a d,

which takes a sum of 2 · rows · d_in numbers a step; codes that are constants (`gradient="dictionary"`)
take none. The Gram matrix, of n_atoms² numbers, would save products; of k steps, k are made here.

Orthogonal matching pursuit refits after each choice. Every worker keeps the atoms that its rows took,
rows · k · d_in numbers, and solves the same small systems; r = (x − b) − zD. The coefficients minimise
‖r‖², so the gradient through them is zero: ∂d_j = −2 Σ z_j r, and nothing is sent on the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from sae_nb.codes import SparseCodes
from sae_nb.codes._support import index_dtype, offsets_of
from sae_nb.pursuit._problem import Problem

if TYPE_CHECKING:
    from sae_nb.architectures import MatchingPursuit, OrthogonalMatchingPursuit, TrainingLoss
    from sae_nb.training._process_group import Team

TILE_ENTRIES = 2**24
"""Correlations that exist at once: 64 MiB in fp32, as in the pursuit of one process."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Walk:
    """The steps of all rows, the same in every worker."""

    atoms: Int[Tensor, "rows k"]
    """Atom of each step, counted over all workers; −1 where the row had stopped or let it go again."""

    amounts: Float[Tensor, "rows k"]
    """Amount that each step added to its atom's coefficient, or its final coefficient if all are
    refitted; 0 if the row had stopped.
    """

    residual: Float[Tensor, "rows d_in"]
    """Residual after the last step."""

    def of(self, step: int, mine: slice) -> tuple[Tensor, Tensor]:
        """Return rows that took one of some atoms in a step, and which, counted from the first of these."""
        atoms = self.atoms[:, step]
        rows = ((atoms >= mine.start) & (atoms < mine.stop)).nonzero().flatten()
        return rows, atoms[rows] - mine.start

    def codes(self, mine: slice) -> SparseCodes:
        """Return codes over some of the atoms; amounts of one taken twice are added up."""
        n, rows = mine.stop - mine.start, len(self.atoms)
        row, step = ((self.atoms >= mine.start) & (self.atoms < mine.stop)).nonzero(as_tuple=True)
        entries, place = torch.unique(
            row * n + self.atoms[row, step] - mine.start, return_inverse=True
        )
        values = self.amounts.new_zeros(len(entries)).index_add(0, place, self.amounts[row, step])
        offsets = offsets_of(torch.bincount(entries // n, minlength=rows))
        return SparseCodes(values, (entries % n).to(index_dtype(n)), offsets, n)


Tiles = Iterator[tuple[int, Float[Tensor, "tile d_in"]]]
"""This worker's atoms, some after the others: how many were before, and the atoms."""


def tiles_of(atoms: Float[Tensor, "n d_in"], rows: int) -> Tiles:
    """Return atoms in portions small enough that their correlations with the rows fit in memory."""
    size = max(1, TILE_ENTRIES // max(rows, 1))
    for first in range(0, len(atoms), size):
        yield first, atoms[first : first + size]


@torch.no_grad()
def pursue(
    problem: Problem,
    tiles: Callable[[], Tiles],
    mine: slice,
    team: Team,
    kept: Bool[Tensor, " n"] | None = None,
) -> Walk:
    """Walk all rows over the atoms of all workers; `tiles` gives those `mine`, the dictionary is not read.

    `kept`: Which of mine may be chosen; None: all.
    """
    x, k = problem.x, problem.k
    floors, limits = problem.floors(), problem.limits()
    path = _Refitted(problem) if problem.refits else _Matched(problem)
    chosen = torch.full((len(x), k), -1, dtype=torch.int64, device=x.device)
    running = torch.ones_like(floors, dtype=torch.bool)
    for step in range(k):
        used = None if problem.reselect else chosen[:, :step] - mine.start
        score, best, atoms = _search(problem, tiles(), path.residual, used, kept)
        score[~running | (path.residual.square().sum(dim=1) <= limits)] = -1
        scores = torch.stack(team.exchange(score))
        everywhere = torch.stack(team.exchange(best + mine.start))
        top, winner = scores.max(dim=0)
        running = top > floors
        if not bool(running.any()):
            break
        taken = team.sum(atoms * (running & (winner == team.rank))[:, None])
        running = path.take(step, running, taken)
        atom = everywhere.gather(0, winner[None])[0]
        repeats = (chosen[:, :step] == atom[:, None]).any(dim=1)
        chosen[running, step] = atom[running]
        if problem.reselect == "stop":
            running = running & ~repeats
    amounts = path.amounts
    return Walk(atoms=chosen.where(amounts != 0, -1), amounts=amounts, residual=path.residual)


class _Matched:
    """Rows of matching pursuit: a step adds to one coefficient."""

    def __init__(self, problem: Problem) -> None:
        self.residual = problem.x.clone()
        self.amounts = problem.x.new_zeros(len(problem.x), problem.k)

    def take(self, step: int, running: Tensor, atoms: Tensor) -> Tensor:
        """Let the running rows take an atom each; return those that did."""
        amount = (self.residual * atoms).sum(dim=1) * running
        self.residual -= amount[:, None] * atoms
        self.amounts[:, step] = amount
        return running


class _Refitted:
    """Rows of orthogonal matching pursuit: a step changes all coefficients."""

    def __init__(self, problem: Problem) -> None:
        from sae_nb.pursuit._refitting import Refitting  # compiled: SAEs are opened without it

        self._refitting = Refitting(problem)

    @property
    def residual(self) -> Tensor:
        """Residual of the coefficients."""
        return self._refitting.residual

    @property
    def amounts(self) -> Tensor:
        """Coefficients of the atoms in the order in which they were taken."""
        return self._refitting.coefficients

    def take(self, _step: int, running: Tensor, atoms: Tensor) -> Tensor:
        """Let the running rows take an atom each; those whose atom adds nothing do not."""
        rows = running.nonzero().flatten()
        entered = self._refitting.take(rows, atoms[rows])
        return running.index_put((rows,), entered)


def _search(
    problem: Problem, tiles: Tiles, r: Tensor, used: Tensor | None, kept: Tensor | None
) -> tuple[Float[Tensor, " rows"], Int[Tensor, " rows"], Float[Tensor, "rows d_in"]]:
    """The best score of each row among this worker's atoms, the lowest atom that has it, and itself."""
    top, best = r.new_zeros(len(r)), torch.zeros(len(r), dtype=torch.int64, device=r.device)
    atoms_of_rows = torch.zeros_like(r)
    for first, atoms in tiles:
        scores = r @ atoms.T
        scores = scores if problem.nonnegative else scores.abs_()
        if kept is not None:
            scores *= kept[first : first + len(atoms)]
        if used is not None:
            row, step = ((used >= first) & (used < first + len(atoms))).nonzero(as_tuple=True)
            scores[row, used[row, step] - first] = 0
        score, place = scores.max(dim=1)
        better = score > top
        top, best = torch.where(better, score, top), torch.where(better, place + first, best)
        atoms_of_rows[better] = atoms[place[better]]
    return top, best, atoms_of_rows


class _Kept(FunctionCtx):
    saved_tensors: tuple[Tensor, ...]
    walk: Walk
    mine: slice
    team: Team
    gradient: str


class _Unexplained(torch.autograd.Function):
    """‖r_T‖² of a walk, with its gradient by the centred rows and by this worker's atoms."""

    @staticmethod
    def forward(
        ctx: _Kept, _x: Tensor, atoms: Tensor, walk: Walk, mine: slice, team: Team, gradient: str
    ) -> Tensor:
        ctx.save_for_backward(atoms)
        ctx.walk, ctx.mine, ctx.team, ctx.gradient = walk, mine, team, gradient
        return walk.residual.square().sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, slope_of_loss: Tensor) -> tuple[Tensor | None, ...]:
        (atoms,) = ctx.saved_tensors
        walk, through = ctx.walk, ctx.gradient == "full"
        r, rho = walk.residual.clone(), 2 * slope_of_loss * walk.residual
        by_atom = torch.zeros_like(atoms)
        for step in reversed(range(walk.atoms.shape[1])):
            rows, own = walk.of(step, ctx.mine)
            d, a, pull = atoms[own], walk.amounts[rows, step, None], rho[rows]
            if not through:
                by_atom.index_add_(0, own, -a * pull)
                continue
            slope = -(pull * d).sum(dim=1, keepdim=True)
            by_atom.index_add_(0, own, slope * (r[rows] + a * d) - a * pull)
            back = r.new_zeros(2, *r.shape)
            back[0, rows], back[1, rows] = a * d, slope * d
            back = ctx.team.sum(back)
            r, rho = r + back[0], rho + back[1]
        return rho, by_atom, None, None, None, None


def pursuit_loss(
    sae: MatchingPursuit | OrthogonalMatchingPursuit,
    mine: slice,
    team: Team,
    x: Float[Tensor, "rows d_in"],
    silent_tokens: Int[Tensor, " n_mine"],
    dead_after: int,
    step_fraction: float,
) -> TrainingLoss:
    """Return `training_loss` of the whole SAE, with the gradient of this worker's atoms."""
    from sae_nb.architectures import TrainingLoss

    atoms = sae.operator.atoms()
    problem = sae.pursuit_problem(x - sae.bias.detach(), atoms.detach())
    kept = None
    if sae.dropout:
        every = torch.zeros(sae.n_atoms, dtype=torch.bool, device=x.device)
        every[sae._kept(step_fraction)] = True
        kept = every[mine]
        problem = replace(problem, k=min(problem.k, int(every.sum())))
    walk = pursue(problem, partial(tiles_of, atoms.detach(), len(x)), mine, team, kept)
    # Every worker has the whole gradient of the bias; it counts once.
    bias = sae.bias if team.is_first else sae.bias.detach() + 0 * sae.bias
    error = _Unexplained.apply(x - bias, atoms, walk, mine, team, sae._training_gradient)  # type: ignore[no-untyped-call]
    if sae.revive:
        sae.to_resample = _resampled(walk.residual, silent_tokens, dead_after, team)
    share = error / (len(x) * sae.scaling.variance)
    return TrainingLoss.of({"reconstruction": (1.0, share)}, walk.codes(mine), x - walk.residual)


def _resampled(
    residual: Tensor, silent_tokens: Tensor, dead_after: int, team: Team
) -> tuple[Tensor, Tensor] | None:
    """Those of the atoms that one process would resample which are of this worker."""
    from sae_nb.architectures._revival import due, resampled_atoms

    dead = due(silent_tokens, dead_after, len(residual)).nonzero().flatten()
    counts = team.gather(len(dead))
    if not any(counts):
        return None
    before = sum(counts[: team.rank])
    places, directions = resampled_atoms(
        residual, torch.arange(sum(counts), device=residual.device)
    )
    own = (places >= before) & (places < before + len(dead))
    return dead[places[own] - before], directions[own]
