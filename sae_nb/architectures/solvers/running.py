"""The one loop around every solver: tiles of rows, stopping, gradients through the last steps, traces.

A solver is a generator of iterates of one tile; what is done with them is written once, here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypedDict

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures.links import GaussianLink, Link
from sae_nb.architectures.operators import Operator
from sae_nb.architectures.proxes import Penalty
from sae_nb.architectures.proxes.penalty import TILE_ENTRIES, row_tiles
from sae_nb.architectures.solvers.inference import Inference
from sae_nb.architectures.solvers.tracing import SolverTrace
from sae_nb.checks import check_count
from sae_nb.codes import SparseCodes

Iterates = Callable[[Inference], Iterator[Tensor]]
"""Codes of one tile after each step, without end."""

Solved = SparseCodes | tuple[SparseCodes, SolverTrace]

TILES_HELD = 8
"""Dense tiles a solver has at once: iterates, momentum, gradient and what the prox needs."""


class Options(TypedDict, total=False):
    """What every solver takes beyond operator, data and penalty."""

    n_steps: int
    """Most steps; 100 unless given."""

    link: Link
    """How reconstructions speak of data; Gaussian unless given."""

    bias: Float[Tensor, " d_in"] | None
    """b, added to every reconstruction."""

    start: SparseCodes | None
    """Codes to begin with; zero unless given."""

    tolerance: float | None
    """Stop a row when a step changes its code by less than this share of its norm; None never does."""

    tail: int | None
    """Only this many last steps carry a gradient; None lets all of them."""

    trace: bool
    """Also return every step, for small inputs."""

    memory_cap: int | None
    """Most bytes of dense codes at once; None is 256 MiB, in fp32."""


@dataclass(frozen=True, kw_only=True)
class _Limits:
    n_steps: int
    tolerance: float | None
    tail: int
    trace: bool


def run_solver(
    iterates: Iterates, operator: Operator, x: Tensor, prox: Penalty, options: Options
) -> Solved:
    """Solve tile by tile, and pack the codes.

    Parameters
    ----------
    iterates
        The solver.
    operator, x, prox, options
        As in `ista`.

    Raises
    ------
    ValueError
        If options contradict each other.
    MemoryError
        If not even one row fits under the cap.
    """
    limits = _limits(options)
    link = options.get("link", GaussianLink())
    differentiable = torch.is_grad_enabled()
    start = options.get("start")
    steepness = operator.lipschitz() * link.curvature
    codes, traces = [], []
    for rows in _tiles(x, operator.n_atoms, options.get("memory_cap")):
        inference = Inference(
            operator=operator,
            x=x[rows],
            prox=prox.of_rows(rows),
            link=link,
            bias=options.get("bias"),
            start=_start(start, rows, x, operator.n_atoms),
            steepness=steepness,
            differentiable=differentiable,
        )
        z, trace = _solve_tile(iterates, inference, limits)
        codes.append(SparseCodes.from_dense(z))
        traces.append(trace)
    packed = SparseCodes.concatenate(codes)
    kept = [trace for trace in traces if trace is not None]
    return (packed, SolverTrace.concatenate(kept)) if limits.trace else packed


def _limits(options: Options) -> _Limits:
    n_steps = check_count(options.get("n_steps", 100), name="n_steps")
    tolerance, tail = options.get("tolerance"), options.get("tail")
    if tolerance is not None and not tolerance >= 0:
        raise ValueError(f"`tolerance` must be a number ≥ 0 or None, got {tolerance!r}.")
    if tail is not None and tolerance is not None:
        raise ValueError(
            "`tail` counts from the last step, which `tolerance` makes unknown: got "
            f"tail={tail} and tolerance={tolerance}. Give one of them."
        )
    tail = n_steps if tail is None else check_count(tail, name="tail")
    return _Limits(
        n_steps=n_steps, tolerance=tolerance, tail=tail, trace=options.get("trace", False)
    )


def _tiles(x: Tensor, n_atoms: int, memory_cap: int | None) -> Iterator[slice]:
    if memory_cap is None:
        return row_tiles(len(x), n_atoms, TILE_ENTRIES)
    entries = check_count(memory_cap, name="memory_cap") // (TILES_HELD * x.element_size())
    if entries < n_atoms:
        raise MemoryError(
            f"`memory_cap` must leave room for one row of {n_atoms} codes, "
            f"{TILES_HELD * x.element_size() * n_atoms} bytes, got {memory_cap}. Raise it."
        )
    return row_tiles(len(x), n_atoms, entries)


def _start(start: SparseCodes | None, rows: slice, x: Tensor, n_atoms: int) -> Tensor:
    if start is None:
        return x.new_zeros(rows.stop - rows.start, n_atoms)
    return start.rows(rows).to_dense().to(x.dtype)


def _solve_tile(
    iterates: Iterates, inference: Inference, limits: _Limits
) -> tuple[Float[Tensor, "rows n_atoms"], SolverTrace | None]:
    z = inference.start
    active = torch.ones(len(z), dtype=torch.bool, device=z.device)
    taken = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    history = _History(inference) if limits.trace else None
    stream = iterates(inference)
    for step in range(1, limits.n_steps + 1):
        in_tail = step > limits.n_steps - limits.tail
        # The generator computes inside next(), so it follows the mode set around it.
        with torch.set_grad_enabled(inference.differentiable and in_tail):
            new = torch.where(active[:, None], next(stream), z)
        taken += active
        if limits.tolerance is not None:
            active = active & _moved(new, z, limits.tolerance)
        z = new
        if history is not None:
            history.add(z)
        if not bool(active.any()):
            break
    return z, None if history is None else history.trace(taken)


@torch.no_grad()
def _moved(new: Tensor, old: Tensor, tolerance: float) -> Tensor:
    return (new - old).norm(dim=1) > tolerance * new.norm(dim=1)


class _History:
    """The steps of one tile, kept sparse."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference
        self.codes: list[SparseCodes] = []
        self.norms: list[Tensor] = []
        self.objectives: list[Tensor] = []
        self.add(inference.start)

    @torch.no_grad()
    def add(self, z: Float[Tensor, "rows n_atoms"]) -> None:
        self.codes.append(SparseCodes.from_dense(z.detach()))
        self.norms.append(self.inference.residual(z).norm(dim=1))
        self.objectives.append(self.inference.objective(z))

    def trace(self, taken: Int[Tensor, " rows"]) -> SolverTrace:
        return SolverTrace(
            steps=self.codes,
            residual_norms=torch.stack(self.norms, dim=1),
            objective=torch.stack(self.objectives, dim=1),
            n_steps=taken,
            n_atoms=self.inference.operator.n_atoms,
        )
