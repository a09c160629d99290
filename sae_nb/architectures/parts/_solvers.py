"""Solvers: how codes are found from an operator, a prox and a number of steps.

Encoding is inference, min_z nll(x, A z + b) + g(z). Proximal gradient descent repeats z ← prox_{t g}(z
+ t Aᵀ(x − μ(A z + b))). A one-layer SAE encoder is its first step from z = 0, with a learned map in
place of t Aᵀ. A solver never knows the model, and its step is always 1 / (operator.lipschitz() ·
link.curvature), never a tuned constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TypedDict, Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures.parts._links import GaussianLink, Link
from sae_nb.architectures.parts._operators import LearnedAdjoint, Operator
from sae_nb.architectures.parts._proxes import (
    TILE_ENTRIES,
    Centre,
    Dense,
    Penalty,
    PerRow,
    Prox,
    RidgeProx,
    Rows,
    row_tiles,
)
from sae_nb.checks import check_count, check_real, checked
from sae_nb.codes import SparseCodes


@dataclass(frozen=True, eq=False, kw_only=True)
class Inference:
    """One tile of rows to be encoded. Codes are dense here, and only here."""

    operator: Operator
    """A."""

    x: Rows
    """Data."""

    prox: Penalty
    """g."""

    link: Link
    """nll."""

    bias: Centre
    """b."""

    start: Dense
    """Codes to begin with."""

    steepness: float
    """`operator.lipschitz() · link.curvature`, computed once for all tiles."""

    differentiable: bool
    """Whether a gradient is needed at the end."""

    @property
    def step(self) -> float:
        """The largest step that is safe whatever the data: 1 / (‖A‖² · curvature)."""
        return 1.0 / self.steepness if self.steepness > 0 else 1.0

    def eta(self, z: Dense) -> Rows:
        """Return a z + b."""
        eta = self.operator.forward(z)
        return eta if self.bias is None else eta + self.bias

    def residual(self, z: Dense) -> Rows:
        """Return x − μ(A z + b); Aᵀ of it is the direction of steepest descent."""
        return self.x - self.link.mean(self.eta(z))

    def proximal_step(self, z: Dense) -> Dense:
        """Return prox_{t g}(z + t Aᵀ residual(z))."""
        moved = z + self.step * self.operator.adjoint(self.residual(z))
        return self.prox.dense(moved, self.step)

    @torch.no_grad()
    def objective(self, z: Dense) -> PerRow:
        """Return the objective of each row."""
        return self.link.nll(self.x, self.eta(z)) + self.prox.objective(z)


@dataclass(frozen=True, eq=False)
class SolverTrace:
    """The codes of every row after every step, and how good they were. For small inputs.

    Example
    -------
    >>> from sae_nb.architectures import sparse_code
    >>> x, dictionary = torch.tensor([[3.0, 4.0]]), torch.eye(2)
    >>> codes, trace = sparse_code(x, dictionary, weight=1.0, n_steps=2, trace=True)
    >>> trace.codes_at(1).to_dense().tolist(), trace.objective.tolist()
    ([[2.0, 3.0]], [[12.5, 6.0, 6.0]])
    """

    steps: list[SparseCodes]
    """Codes before the first step and after every one."""

    residual_norms: Float[Tensor, "rows n_steps_plus_1"]
    """‖x − μ(A z + b)‖ before the first step and after every one; constant after the last."""

    objective: Float[Tensor, "rows n_steps_plus_1"]
    """nll + g likewise; ∞ where the penalty does not allow the codes (at the start, on a simplex)."""

    n_steps: Int[Tensor, " rows"]
    """Steps each row took before it had converged."""

    n_atoms: int
    """Width of a code."""

    def codes_at(self, step: int) -> SparseCodes:
        """Return the codes as they were after some step; 0 is before the first one.

        Parameters
        ----------
        step
            Between 0 and the number of steps. Rows that had stopped keep their last code.

        Raises
        ------
        ValueError: If there is no such step.
        """
        step = check_count(step, name="step", at_least=0)
        if step >= len(self.steps):
            raise ValueError(
                f"`step` must be between 0 and {len(self.steps) - 1}, got {step}. Solve with a larger "
                "`n_steps`."
            )
        return self.steps[step]

    def check_fits(self, n_rows: int, n_atoms: int) -> None:
        """Refuse it where rows or dictionary are others than those it is of."""
        given = (len(self.n_steps), self.n_atoms)
        if given != (n_rows, n_atoms):
            raise ValueError(
                f"`trace` must be of {n_rows} rows of x and {n_atoms} atoms, got one of {given[0]} rows and "
                f"{given[1]} atoms. Give the inputs and the dictionary that the solver was given."
            )

    @classmethod
    def concatenate(cls, parts: list[SolverTrace]) -> SolverTrace:
        """Return the traces of several tiles as one; tiles that stopped early keep their last step."""
        longest = max(len(part.steps) for part in parts)
        padded = [part._padded(longest) for part in parts]
        return cls(
            steps=[SparseCodes.concatenate(codes) for codes in zip(*(p.steps for p in padded))],
            residual_norms=torch.cat([part.residual_norms for part in padded]),
            objective=torch.cat([part.objective for part in padded]),
            n_steps=torch.cat([part.n_steps for part in padded]),
            n_atoms=padded[0].n_atoms,
        )

    def _padded(self, n: int) -> SolverTrace:
        missing = n - len(self.steps)
        return replace(
            self,
            steps=[*self.steps, *[self.steps[-1]] * missing],
            residual_norms=_repeat_last(self.residual_norms, missing),
            objective=_repeat_last(self.objective, missing),
        )


def _repeat_last(columns: Tensor, n: int) -> Tensor:
    return torch.cat([columns, columns[:, -1:].expand(-1, n)], dim=1)


# -------------------------------------------------------------------------------------------------
# The one loop around every solver: tiles of rows, stopping, gradients through the last steps, traces.
#
# A solver is a generator of iterates of one tile; what is done with them is written once, here.


Iterates = Callable[[Inference], Iterator[Tensor]]
"""Codes of one tile after each step, without end."""

Solved = SparseCodes | tuple[SparseCodes, SolverTrace]

TILES_HELD = 8
"""Dense tiles a solver has at once: iterates, momentum, gradient and what the prox needs."""


class Options(TypedDict, total=False):
    """The arguments that every solver takes besides operator, data and penalty."""

    n_steps: int
    """Most steps; 100 unless given."""

    link: Link
    """Link between reconstructions and data; Gaussian unless given."""

    bias: Centre
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


@dataclass(frozen=True)
class _Limits:
    n_steps: int
    tolerance: float | None
    tail: int
    trace: bool


def run_solver(
    iterates: Iterates, operator: Operator, x: Tensor, prox: Penalty, options: Options
) -> Solved:
    """Solve tile by tile, and pack the codes."""
    limits = _limits(options)
    if x.shape[1:] != (operator.d_in,):
        raise ValueError(
            f"`x` must have shape (rows, d_in={operator.d_in}) to match the operator, got "
            f"{tuple(x.shape)}. Rows are inputs."
        )
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
            start=(
                x.new_zeros(rows.stop - rows.start, operator.n_atoms)
                if start is None
                else start.rows(rows).to_dense().to(x.dtype)
            ),
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
    if tolerance is not None and not check_real(tolerance, name="tolerance") >= 0:
        raise ValueError(f"`tolerance` must be a number ≥ 0 or None, got {tolerance!r}.")
    if tail is not None and tolerance is not None:
        raise ValueError(
            "`tail` counts from the last step, which `tolerance` makes unknown: got "
            f"tail={tail} and tolerance={tolerance}. Give one of them."
        )
    tail = n_steps if tail is None else check_count(tail, name="tail")
    return _Limits(n_steps, tolerance, tail, options.get("trace", False))


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


def _solve_tile(
    iterates: Iterates, inference: Inference, limits: _Limits
) -> tuple[Dense, SolverTrace | None]:
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
            with torch.no_grad():
                moved = (new - z).norm(dim=1) > limits.tolerance * new.norm(dim=1)
            active = active & moved
        z = new
        if history is not None:
            history.add(z)
        if not bool(active.any()):
            break
    return z, None if history is None else history.trace(taken)


class _History:
    """The steps of one tile, kept sparse."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference
        self.codes: list[SparseCodes] = []
        self.norms: list[Tensor] = []
        self.objectives: list[Tensor] = []
        self.add(inference.start)

    @torch.no_grad()
    def add(self, z: Dense) -> None:
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


@checked
def ista_step(
    x: Float[Tensor, "rows d_in"],
    adjoint: LearnedAdjoint,
    prox: Prox,
    *,
    centre: Float[Tensor, " d_in"],
    scale: Float[Tensor, ""],
) -> SparseCodes:
    """Take the first ISTA step from zero, with a learned adjoint: z = prox((x − b)Eᵀ + a / s).

    Parameters
    ----------
    x
        Activations in the model's units.
    adjoint
        E and a; a is learned in scaled units.
    prox
        The penalty.
    centre, scale
        b, and s from the model's units to scaled ones.

    Source
    ------
    Gregor and LeCun, "Learning fast approximations of sparse coding", ICML 2010.
    """
    return prox.of_affine(x, adjoint.weight, adjoint.bias / scale, centre)


@checked
def ista(
    operator: Operator, x: Float[Tensor, "rows d_in"], prox: Penalty, **options: Unpack[Options]
) -> Solved:
    """Iterate z ← prox_{t g}(z + t Aᵀ(x − μ(A z + b))), t = 1 / (‖A‖² · curvature).

    The objective never grows. For a convex penalty it comes within ‖A‖²‖z*‖² / 2n of its minimum
    after n steps.

    Parameters
    ----------
    operator
        A.
    x
        Data, trusted.
    prox
        g.
    options
        `Options`.

    Returns
    -------
    SparseCodes or tuple
        The codes; with `trace` also a `SolverTrace`.

    Raises
    ------
    ValueError, MemoryError: If options contradict each other or the memory cap is too small.

    Source
    ------
    Daubechies, Defrise and De Mol, "An iterative thresholding algorithm for linear inverse
    problems", 2004.

    Example
    -------
    >>> from sae_nb.architectures import FixedOperator, SoftProx
    >>> codes = ista(FixedOperator(torch.eye(2)), torch.tensor([[3.0, 0.5]]), SoftProx(1.0), n_steps=1)
    >>> codes.to_dense().tolist()
    [[2.0, 0.0]]
    """
    return run_solver(_ista, operator, x, prox, options)


@checked
def fista(
    operator: Operator,
    x: Float[Tensor, "rows d_in"],
    prox: Penalty,
    *,
    restart: bool = True,
    **options: Unpack[Options],
) -> Solved:
    """Run ISTA from a point extrapolated along the last move: y = z + (t_n − 1) / t_{n+1} (z − z_last).

    t_{n+1} = (1 + √(1 + 4 t_n²)) / 2. For a convex penalty the objective comes within
    2‖A‖²‖z*‖² / (n + 1)² of its minimum; it need not fall in every step.

    Parameters
    ----------
    operator, x, prox, options
        As in `ista`.
    restart
        Forget a row's momentum when it points uphill, ⟨y − z, z − z_last⟩ > 0. Faster once the
        support is found; without it, it is the algorithm as first published.

    Source
    ------
    Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse
    problems", 2009; restarts: O'Donoghue and Candès, "Adaptive restart for accelerated gradient
    schemes", 2015.

    Example
    -------
    >>> from sae_nb.architectures import FixedOperator, SoftProx
    >>> codes = fista(FixedOperator(torch.eye(2)), torch.tensor([[3.0, 0.5]]), SoftProx(1.0), n_steps=1)
    >>> codes.to_dense().tolist()
    [[2.0, 0.0]]
    """
    return run_solver(partial(_fista, restart=restart), operator, x, prox, options)


def _ista(inference: Inference) -> Iterator[Tensor]:
    z = inference.start
    while True:
        z = inference.proximal_step(z)
        yield z


def _fista(inference: Inference, *, restart: bool) -> Iterator[Tensor]:
    z = y = inference.start
    t = z.new_ones(len(z), 1)
    while True:
        new = inference.proximal_step(y)
        with torch.no_grad():
            t_next = (1 + (1 + 4 * t.square()).sqrt()) / 2
            momentum = (t - 1) / t_next
            if restart:
                uphill = ((y - new) * (new - z)).sum(dim=1, keepdim=True) > 0
                momentum = momentum.masked_fill(uphill, 0.0)
                t_next = t_next.masked_fill(uphill, 1.0)
        y = new + momentum * (new - z)
        z, t = new, t_next
        yield z


RHO_SHARE = 0.1
"""Default ρ as a share of ‖A‖². Ours: of 0.01, 0.02, 0.05, 0.1 and 0.2, the only one with an objective
within 1e-9 of its minimum after 200 steps on all of four lassos (d_in 32 … 256, 2 to 8 times as many
atoms)."""


@checked
def admm(
    operator: Operator,
    x: Float[Tensor, "rows d_in"],
    prox: Penalty,
    *,
    rho: float | None = None,
    **options: Unpack[Options],
) -> Solved:
    """Iterate w ← (AᵀA + ρ)⁻¹(Aᵀ(x − b) + ρ(z − u)), z ← prox_{g/ρ}(w + u), u ← u + w − z; the code is z.

    One factorisation of the smaller Gram matrix serves all steps and rows (Woodbury). It needs few
    steps, each of them dearer than FISTA's by a triangular solve.

    Parameters
    ----------
    operator, x, prox, options
        As in `ista`; the link must be Gaussian.
    rho
        ρ > 0, how hard the two are pulled together. None: a tenth of ‖A‖². It changes the
        number of steps, not what they converge to.

    Raises
    ------
    ValueError: If the link is not Gaussian.

    Source
    ------
    Boyd et al., "Distributed optimization and statistical learning via the alternating direction
    method of multipliers", 2011, section 6.4.

    Example
    -------
    >>> from sae_nb.architectures import FixedOperator, SoftProx
    >>> x = torch.tensor([[3.0, 0.5]])
    >>> codes = admm(FixedOperator(torch.eye(2)), x, SoftProx(1.0), n_steps=300)
    >>> [[round(z, 4) for z in row] for row in codes.to_dense().tolist()]
    [[2.0, 0.0]]
    """
    check_gaussian(options, "admm")
    if rho is not None and not check_real(rho, name="rho") > 0:
        raise ValueError(f"`rho` must be positive, got {rho}. Leave it out for the default.")
    return run_solver(partial(_admm, rho=rho), operator, x, prox, options)


def check_gaussian(options: Options, solver: str) -> None:
    """Refuse links whose data term is not quadratic."""
    link = options.get("link", GaussianLink())
    if not isinstance(link, GaussianLink):
        raise ValueError(
            f"`link` must be Gaussian for {solver}, which solves a linear system, got "
            f"{type(link).__name__}. Use solver='fista' or 'ista'."
        )


def _admm(inference: Inference, *, rho: float | None) -> Iterator[Tensor]:
    x = inference.x if inference.bias is None else inference.x - inference.bias
    rho = RHO_SHARE * max(inference.steepness, 1e-30) if rho is None else rho
    # The factor is made in the first step, but steps with a gradient need it in their graph.
    with torch.set_grad_enabled(inference.differentiable):
        data = inference.operator.adjoint(x)
        solve = _Ridge(inference.operator.atoms(), rho)
    z = inference.start
    u = torch.zeros_like(z)
    while True:
        w = solve(data + rho * (z - u))
        z = inference.prox.dense(w + u, 1 / rho)
        u = u + w - z
        yield z


class _Ridge:
    """q ↦ (DDᵀ + ρ)⁻¹ q for rows q, through the smaller of the two Gram matrices."""

    def __init__(self, atoms: Float[Tensor, "n_atoms d_in"], rho: float) -> None:
        self.atoms, self.rho = atoms, rho
        self.wide = len(atoms) > atoms.shape[1]
        gram = atoms.T @ atoms if self.wide else atoms @ atoms.T
        eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        self.factor = torch.linalg.cholesky(gram + rho * eye)

    def __call__(self, q: Dense) -> Dense:
        if not self.wide:
            return torch.cholesky_solve(q.T, self.factor).T
        inner = torch.cholesky_solve((q @ self.atoms).T, self.factor).T
        return (q - inner @ self.atoms.T) / self.rho


@checked
def cg(
    operator: Operator, x: Float[Tensor, "rows d_in"], prox: Penalty, **options: Unpack[Options]
) -> Solved:
    """Solve (AᵀA + diag α) z = Aᵀ(x − b) by conjugate gradients, all rows at once.

    The codes are dense. Preconditioned by the diagonal ‖a_j‖² + α_j, which is the whole matrix where
    atoms are orthogonal. Without a ridge and from zero it finds the smallest least-squares solution
    (for atoms of equal norm).

    Parameters
    ----------
    operator, x, options
        As in `ista`; the link must be Gaussian. At most n_atoms steps are of use, up to rounding.
    prox
        `IdentityProx` (α = 0) or `RidgeProx`.

    Raises
    ------
    ValueError: If the penalty is not quadratic or the link not Gaussian.

    Source
    ------
    Hestenes and Stiefel, 1952.

    Example
    -------
    >>> from sae_nb.architectures import FixedOperator
    >>> codes = cg(FixedOperator(torch.eye(2)), torch.tensor([[3.0, 1.0]]), RidgeProx(1.0), n_steps=2)
    >>> codes.to_dense().tolist()
    [[1.5, 0.5]]
    """
    check_gaussian(options, "cg")
    if not isinstance(prox, RidgeProx):
        raise ValueError(
            f"`prox` must be quadratic for cg ('identity' or 'ridge'), got {type(prox).__name__}. Use "
            "solver='fista' for sparse codes."
        )
    return run_solver(_cg, operator, x, prox, options)


def _cg(inference: Inference) -> Iterator[Tensor]:
    operator, alpha = inference.operator, inference.prox.precision  # type: ignore[attr-defined]
    with torch.set_grad_enabled(inference.differentiable):
        diagonal = operator.energy() + alpha
        r = operator.adjoint(inference.residual(inference.start)) - alpha * inference.start
    steps = conjugate_gradients(
        lambda p: operator.adjoint(operator.forward(p)) + alpha * p, r, diagonal, inference.start
    )
    for found in steps:
        yield found.z


@dataclass(frozen=True, eq=False, slots=True)
class CGStep:
    """Where conjugate gradients are after a step, and how they went there: the numbers of Lanczos."""

    z: Dense
    """The solutions."""

    residual: Dense
    """Residual of the right-hand sides."""

    length: Float[Tensor, "rows 1"]
    """a of z ← z + a p; 0 where a row is solved."""

    turn: Float[Tensor, "rows 1"]
    """b of the next direction p ← M⁻¹r + b p."""


def conjugate_gradients(
    matrix: Callable[[Dense], Dense], r: Dense, diagonal: Dense, z: Dense
) -> Iterator[CGStep]:
    """Yield every step towards the solutions of a system with one right-hand side per row, without end.

    From `z`, which leaves `r`; preconditioned by `diagonal`, and by 1 where that is 0.
    """
    diagonal = torch.where(diagonal > 0, diagonal, torch.ones_like(diagonal))
    y = r / diagonal
    p, power = y, (r * y).sum(dim=1, keepdim=True)
    # At rounding, directions are noise; following them where the matrix is singular would diverge.
    floor = power.detach() * (10 * torch.finfo(r.dtype).eps) ** 2
    while True:
        q = matrix(p)
        length = _ratio(power, (p * q).sum(dim=1, keepdim=True)) * (power > floor)
        z, r = z + length * p, r - length * q
        y = r / diagonal
        last, power = power, (r * y).sum(dim=1, keepdim=True)
        turn = _ratio(power, last)
        p = y + turn * p
        yield CGStep(z, r, length, turn)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Above / below, and 0 where a row is solved to the last bit."""
    safe = torch.where(below > 0, below, torch.ones_like(below))
    return torch.where(below > 0, above / safe, torch.zeros_like(above))


SOLVERS = {"ista": ista, "fista": fista, "admm": admm, "cg": cg}
"""Every solver by its name; each is called as solve(operator, x, prox, **options)."""
