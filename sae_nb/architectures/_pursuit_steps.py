"""One input's code step by step: what is chosen, what is left, and every correlation with it.

Greedy algorithms and solvers are run here; what another solver did is read from its trace. At step t
the code is z_t, the reconstruction z_t D, the residual r_t = x − z_t D, and the correlations r_t Dᵀ.
Codes and residual norms are the kernel's own trace; the rest is recomputed from them, so going back is
as exact as going forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb import pursuit
from sae_nb.architectures._sparse_coding import sparse_code
from sae_nb.checks import Count, between, check_k, check_matrix, check_memory, checked
from sae_nb.pursuit import PursuitTrace

if TYPE_CHECKING:
    from sae_nb.architectures.parts._solvers import SolverTrace
    from sae_nb.codes import SparseCodes


AlgorithmName = Literal["mp", "omp", "gp", "ista", "fista", "admm", "cg"]

ROUNDING = 1e-5
"""Share of the largest correlation with the input below which nothing is left, in fp32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PursuitSteps:
    """Every step of one algorithm on one input.

    A step past the last one is the last one, so that two records can be read in lock-step.
    """

    ALGORITHMS: ClassVar[tuple[AlgorithmName, ...]] = get_args(AlgorithmName)
    GREEDY: ClassVar[Mapping[str, str]] = {
        "mp": "matching_pursuit",
        "omp": "orthogonal_matching_pursuit",
        "gp": "gradient_pursuit",
    }
    """Those of them that choose one atom a step, and the function of `sae_nb.pursuit`."""

    OWN: ClassVar[Literal["own"]] = "own"
    """In place of an algorithm: steps that were taken elsewhere, by whatever solver."""

    SOLVER_STEPS: ClassVar[int] = 60
    """Iterations of a solver that are kept. Then FISTA's objective is at most 3 % above its limit and
    ISTA's 33 % (40 inputs: planted atoms of mean cosine 0.3, and tiny-vit's SAE): its slowness shows."""

    PENALTY_SHARE: ClassVar[float] = 0.1
    """Weight of the l1 penalty as a share of the smallest one that gives the zero code. Ours."""

    algorithm: AlgorithmName | Literal["own"]
    row: int
    nonnegative: bool
    """Whether coefficients are ≥ 0."""

    n_atoms: int
    n_steps: int
    """Steps taken; fewer than asked for where nothing was left to explain."""

    x: Float[np.ndarray, " d_in"]
    chosen: Int[np.ndarray, " n_steps"]
    """Atom that each step chose; −1 where a step moves many atoms at once."""

    step_offsets: Int[np.ndarray, " n_steps_plus_2"]
    """Start of each step's code in `atoms` and `values`."""

    atoms: Int[np.ndarray, " nnz"]
    """Atoms of the codes, step after step; within one in the order first chosen."""

    values: Float[np.ndarray, " nnz"]
    """Their coefficients."""

    residual_norms: Float[np.ndarray, " n_steps_plus_1"]
    """‖r_t‖ as the kernel measured it."""

    x_hat: Float[np.ndarray, "n_steps_plus_1 d_in"]
    """z_t D."""

    correlations: Float[np.ndarray, "n_steps_plus_1 n_atoms"]
    """r_t Dᵀ."""

    penalty: float | None
    """Weight λ of the l1 penalty; None where there is none."""

    objective: Float[np.ndarray, " n_steps_plus_1"] | None = None
    """Objective of a solver, as it measured it; None if an algorithm is greedy."""

    solver: str = ""
    """Whose steps these are, where they were taken elsewhere."""

    @property
    def short(self) -> str:
        """The algorithm in letters."""
        return self.solver or self.algorithm.upper()

    @property
    def greedy(self) -> bool:
        """Whether every step chooses one atom."""
        return self.objective is None

    @checked
    def reached(self, step: int) -> int:
        """Return the step that is shown at `step` of a player: itself, or the last one there is."""
        return min(max(int(step), 0), self.n_steps)

    @checked
    def code_at(self, step: int) -> tuple[Int[np.ndarray, " l0"], Float[np.ndarray, " l0"]]:
        """Return atoms and coefficients after a step; step 0, here and below, is before the first one."""
        at = self.reached(step)
        part = slice(int(self.step_offsets[at]), int(self.step_offsets[at + 1]))
        return self.atoms[part], self.values[part]

    def dense_code_at(self, step: int, atoms: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Return coefficients of some atoms after a step; zero where they are not used."""
        used, values = self.code_at(step)
        code = dict(zip(used.tolist(), values.tolist(), strict=True))
        return np.array([code.get(atom, 0.0) for atom in atoms.tolist()], dtype=np.float32)

    @checked
    def residual_at(self, step: int) -> Float[np.ndarray, " d_in"]:
        """Return the residual of the input after a step."""
        return self.x - self.x_hat[self.reached(step)]

    @checked
    def correlations_at(self, step: int) -> Float[np.ndarray, " n_atoms"]:
        """Return correlation of every atom with what is left."""
        return self.correlations[self.reached(step)]

    @checked
    def next_atom(self, step: int) -> int:
        """Return atom that the next step chooses; after the last one, the most correlated atom.

        −1 where no correlation is more than rounding.
        """
        at = self.reached(step)
        if at < self.n_steps and self.chosen[at] >= 0:
            return int(self.chosen[at])
        score = self.correlations[at] if self.nonnegative else np.abs(self.correlations[at])
        best = int(score.argmax())
        return best if score[best] > ROUNDING * np.abs(self.correlations[0]).max() else -1


@checked
def summarise_pursuit(
    x: Float[Tensor, "*batch d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    algorithm: AlgorithmName = "mp",
    *,
    row: int = 0,
    k: int = 16,
    nonnegative: bool = True,
    n_steps: Count = PursuitSteps.SOLVER_STEPS,
    penalty_share: float = PursuitSteps.PENALTY_SHARE,
) -> PursuitSteps:
    """Run an algorithm on one input with its trace, and compute what each step looked like.

    Parameters
    ----------
    x
        One input, or rows of them.
    dictionary
        Atoms of unit norm.
    algorithm
        "mp", "omp" or "gp": greedy, k steps. "ista", "fista" or "admm": steps of a solver on
        ½‖x − zD‖² + λ‖z‖₁. "cg": conjugate gradients on ½‖x − zD‖² + ½ λ‖z‖², which is not sparse.
    nonnegative
        Only coefficients ≥ 0; "cg" does not know that.
    penalty_share
        λ as a share of max_j ⟨x, d_j⟩, above which the code is zero; in (0, 1). For "cg" λ itself, a
        share of ‖d‖² = 1.

    Raises
    ------
    ValueError: If x and dictionary do not fit, an atom is not of unit norm, or there is no such row.
    MemoryError: If the correlations of every step would not fit.

    Source
    ------
    Greedy: Mallat and Zhang 1993; Rubinstein et al. 2008; Blumensath and Davies 2008. Solvers: Beck
    and Teboulle, "A fast iterative shrinkage-thresholding algorithm", 2009; Boyd et al. 2011 (ADMM).

    Example
    -------
    >>> steps = summarise_pursuit(torch.tensor([3.0, 4.0]), torch.eye(2), "mp", k=2)
    >>> steps.chosen.tolist(), steps.residual_norms.tolist()
    ([1, 0], [5.0, 3.0, 0.0])
    >>> steps.correlations_at(1).tolist(), steps.next_atom(1)
    ([3.0, 0.0], 0)
    """
    one = _checked_row(x, dictionary, row)
    check_k(k, len(dictionary))
    taken = k if algorithm in PursuitSteps.GREEDY else n_steps
    needed = 8 * (taken + 1) * (len(dictionary) + dictionary.shape[1])
    check_memory(needed, f"the correlations of {taken} steps", "Take fewer steps.")
    atoms = dictionary.detach()
    if algorithm in PursuitSteps.GREEDY:
        run = getattr(pursuit, PursuitSteps.GREEDY[algorithm])
        _codes, trace = run(one, atoms, k, nonnegative=nonnegative, trace=True)
        found = _steps(one, atoms, trace) | {"penalty": None}
    else:
        signed = not nonnegative or algorithm == "cg"
        nonnegative = not signed
        found = _solved(one, atoms, algorithm, n_steps, signed=signed, share=penalty_share)
    return PursuitSteps(algorithm=algorithm, row=row, nonnegative=nonnegative, **found)


@checked
def summarise_trace(
    x: Float[Tensor, "*batch d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    trace: SolverTrace,
    *,
    row: int = 0,
    solver: str = "solver",
) -> PursuitSteps:
    """Compute what each step of a solver that ran elsewhere looked like, for one of its inputs.

    Parameters
    ----------
    x
        The inputs it ran on, without their bias, in the units of the dictionary.
    dictionary
        Its atoms, of any norms: z D is the reconstruction.
    trace
        Trace that `sparse_code(…, trace=True)` or `KDS.steps` returned with the codes.
    row
        Index of the input.
    solver
        Name in figures.

    Raises
    ------
    TypeError, ValueError: If x, dictionary and trace do not fit, or there is no such row.

    Example
    -------
    >>> from sae_nb.architectures import sparse_code
    >>> x, dictionary = torch.tensor([[3.0, 4.0]]), torch.eye(2)
    >>> _, trace = sparse_code(x, dictionary, weight=1.0, n_steps=2, trace=True)
    >>> steps = summarise_trace(x, dictionary, trace)
    >>> steps.objective.tolist(), steps.dense_code_at(1, np.arange(2)).tolist()
    ([12.5, 6.0, 6.0], [2.0, 3.0])
    """
    one = _checked_row(x, dictionary, row)
    trace.check_fits(len(x) if x.ndim > 1 else 1, len(dictionary))
    found = _steps(one, dictionary.detach(), trace, row=row)
    # The solver may have measured in other units, and through another link.
    norms = np.linalg.norm(found["x"] - found["x_hat"], axis=1)
    return PursuitSteps(
        algorithm=PursuitSteps.OWN,
        row=row,
        nonnegative=bool((found["values"] >= 0).all()),
        penalty=None,
        solver=solver or "solver",
        **(found | {"residual_norms": norms}),
    )


def _checked_row(x: Tensor, dictionary: Tensor, row: int) -> Tensor:
    atoms = check_matrix(dictionary, name="dictionary")
    rows = check_matrix(x, d_in=atoms.shape[1], flatten=True)
    if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < len(rows):
        raise ValueError(f"`row` must be between 0 and {len(rows) - 1}, got {row!r}.")
    one = rows[row : row + 1].detach()
    return one if one.dtype == torch.float64 else one.float()


def _penalty(x: Tensor, dictionary: Tensor, nonnegative: bool, share: float) -> float:
    between(share, 0, 1, name="penalty_share", ends="()", do="At 1 the code is zero.")
    start = x[0] @ dictionary.to(x.dtype).T
    top = float(start.max() if nonnegative else start.abs().max())
    # An input that no atom points at has a zero code under any penalty.
    return share * (top if top > 0 else float(x.norm()) or 1.0)


def _solved(
    x: Float[Tensor, "1 d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    algorithm: AlgorithmName,
    n_steps: int,
    *,
    signed: bool,
    share: float,
) -> dict[str, Any]:
    """The steps of a solver, and its penalty where that is a threshold for correlations."""
    penalty = _penalty(x, dictionary, not signed, share)
    prox = "ridge" if algorithm == "cg" else "soft" if signed else "soft+"
    _codes, trace = sparse_code(
        x,
        dictionary,
        prox=prox,
        weight=share if algorithm == "cg" else penalty,
        solver=cast(Any, algorithm),
        # Conjugate gradients end after as many steps as there are atoms.
        n_steps=min(n_steps, len(dictionary)) if algorithm == "cg" else n_steps,
        trace=True,
    )
    found = _steps(x, dictionary, trace)
    return found | {"penalty": None if algorithm == "cg" else penalty}


def _steps(
    x: Float[Tensor, "1 d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    trace: SolverTrace | PursuitTrace,
    *,
    row: int = 0,
) -> dict[str, Any]:
    """Return the state of each step, by name of the record's fields."""
    greedy = isinstance(trace, PursuitTrace)
    # Counted for all rows, or for each.
    n_steps = int(torch.as_tensor(trace.n_steps).reshape(-1)[0 if greedy else row])
    codes = [_code(trace.codes_at(t), row, sort=not greedy) for t in range(n_steps + 1)]
    x_hat = torch.stack([values.double() @ dictionary[atoms].double() for atoms, values in codes])
    residuals = (x.double() - x_hat).to(x.dtype)
    chosen, objective = torch.full((n_steps,), -1), None
    if isinstance(trace, PursuitTrace):
        chosen = trace.atoms[0, :n_steps]
    else:
        objective = _array(trace.objective[row, : n_steps + 1])
    return {
        "n_atoms": len(dictionary),
        "n_steps": n_steps,
        "x": _array(x[0]),
        "chosen": _array(chosen).astype(np.int64),
        "step_offsets": np.cumsum([0, *(len(atoms) for atoms, _ in codes)]),
        "atoms": _array(torch.cat([atoms for atoms, _ in codes])).astype(np.int64),
        "values": _array(torch.cat([values for _, values in codes])),
        "residual_norms": _array(trace.residual_norms[row, : n_steps + 1]),
        "objective": objective,
        "x_hat": _array(x_hat.to(x.dtype)),
        "correlations": _array(residuals @ dictionary.to(x.dtype).T),
    }


def _code(codes: SparseCodes, row: int, *, sort: bool) -> tuple[Tensor, Tensor]:
    """Atoms and coefficients of one row, strongest first where that is asked for."""
    codes = codes.rows(slice(row, row + 1)) if sort else codes
    used: Bool[Tensor, " nnz"] = codes.values != 0
    atoms, values = codes.atoms[used].long(), codes.values[used].detach()
    # A pursuit's trace has its atoms in the order they were chosen, which is worth keeping.
    order = values.abs().argsort(descending=True, stable=True) if sort else slice(None)
    return atoms[order], values[order]


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
