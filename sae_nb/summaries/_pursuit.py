"""One input's code step by step: what is chosen, what is left, and every correlation with it.

At step t the code is z_t, the reconstruction z_t D, the residual r_t = x − z_t D, and the correlations
r_t Dᵀ. Codes and residual norms are the kernel's own trace; the rest is computed anew from them, so
going back is as exact as going forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import between, check_count, check_k, check_matrix, check_memory, checked, one_of

if TYPE_CHECKING:
    from sae_nb.codes import SparseCodes


AlgorithmName = Literal["mp", "omp", "gp", "ista", "fista"]
ALGORITHMS: tuple[AlgorithmName, ...] = get_args(AlgorithmName)

TITLES: dict[str, str] = {
    "mp": "matching pursuit",
    "omp": "orthogonal matching pursuit",
    "gp": "gradient pursuit",
    "ista": "ISTA",
    "fista": "FISTA",
}
PURSUITS = {
    "mp": "matching_pursuit",
    "omp": "orthogonal_matching_pursuit",
    "gp": "gradient_pursuit",
}
SOLVER_STEPS = 60
"""Iterations of ISTA and FISTA that are kept. Then FISTA's objective is at most 3 % above its limit and
ISTA's 33 % (40 inputs: planted atoms of mean cosine 0.3, and tiny-vit's SAE): its slowness shows."""

PENALTY_SHARE = 0.1
"""Weight of the l1 penalty as a share of the smallest one that gives the zero code. Ours."""

ROUNDING = 1e-5
"""Share of the largest correlation with the input below which nothing is left, in fp32."""

MOST_BARS = 200
"""Correlations that a figure shows at most: more than a bar chart has pixels for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PursuitSteps:
    """Every step of one algorithm on one input.

    A step past the last one is the last one, so that two records can be read in lock-step.
    """

    algorithm: AlgorithmName
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
    """Where the code of each step begins in `atoms` and `values`."""

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

    @property
    def title(self) -> str:
        """The algorithm in words."""
        return TITLES[self.algorithm]

    @checked
    def reached(self, step: int) -> int:
        """The step that is shown at `step` of a player: itself, or the last one there is."""
        return min(max(int(step), 0), self.n_steps)

    @checked
    def code_at(self, step: int) -> tuple[Int[np.ndarray, " l0"], Float[np.ndarray, " l0"]]:
        """Atoms and coefficients after a step; step 0, here and below, is before the first one."""
        at = self.reached(step)
        part = slice(int(self.step_offsets[at]), int(self.step_offsets[at + 1]))
        return self.atoms[part], self.values[part]

    def dense_code_at(self, step: int, atoms: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Coefficients of some atoms after a step; zero where they are not used."""
        used, values = self.code_at(step)
        code = dict(zip(used.tolist(), values.tolist(), strict=True))
        return np.array([code.get(atom, 0.0) for atom in atoms.tolist()], dtype=np.float32)

    @checked
    def residual_at(self, step: int) -> Float[np.ndarray, " d_in"]:
        """What is left of the input after a step."""
        return self.x - self.x_hat[self.reached(step)]

    @checked
    def correlations_at(self, step: int) -> Float[np.ndarray, " n_atoms"]:
        """Correlation of every atom with what is left."""
        return self.correlations[self.reached(step)]

    @checked
    def next_atom(self, step: int) -> int:
        """Atom that the next step chooses; after the last one, the most correlated atom.

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
    n_steps: int = SOLVER_STEPS,
    penalty_share: float = PENALTY_SHARE,
) -> PursuitSteps:
    """Run an algorithm on one input with its trace, and compute what each step looked like.

    Parameters
    ----------
    x
        One input, or rows of them.
    dictionary
        Atoms of unit norm.
    algorithm
        "mp", "omp" or "gp": greedy, k steps. "ista" or "fista": proximal gradient steps on
        ½‖x − zD‖² + λ‖z‖₁.
    nonnegative
        Only coefficients ≥ 0.
    penalty_share
        λ as a share of max_j ⟨x, d_j⟩, above which the code is zero; in (0, 1).

    Raises
    ------
    TypeError, ValueError: If x, dictionary, k or a number do not fit, an atom is not of unit norm, or there
        is no such algorithm or row.
    MemoryError: If the correlations of every step would not fit.

    Source
    ------
    Greedy: Mallat and Zhang 1993; Rubinstein et al. 2008; Blumensath and Davies 2008. Proximal: Beck
    and Teboulle, "A fast iterative shrinkage-thresholding algorithm", 2009.

    Example
    -------
    >>> steps = summarise_pursuit(torch.tensor([3.0, 4.0]), torch.eye(2), "mp", k=2)
    >>> steps.chosen.tolist(), steps.residual_norms.tolist()
    ([1, 0], [5.0, 3.0, 0.0])
    >>> steps.correlations_at(1).tolist(), steps.next_atom(1)
    ([3.0, 0.0], 0)
    """
    one = _checked_row(x, dictionary, row)
    check_algorithm(algorithm)
    check_k(k, len(dictionary))
    check_count(n_steps, name="n_steps")
    taken = k if algorithm in PURSUITS else n_steps
    needed = 8 * (taken + 1) * (len(dictionary) + dictionary.shape[1])
    check_memory(needed, f"the correlations of {taken} steps", "Take fewer steps.")
    atoms, penalty = dictionary.detach(), None
    if algorithm in PURSUITS:
        from sae_nb import pursuit

        run = getattr(pursuit, PURSUITS[algorithm])
        _codes, trace = run(one, atoms, k, nonnegative=nonnegative, trace=True)
    else:
        from sae_nb.architectures import sparse_code

        penalty = _penalty(one, atoms, nonnegative, penalty_share)
        prox = "soft+" if nonnegative else "soft"
        solver = {"weight": penalty, "solver": algorithm, "n_steps": n_steps}
        _codes, trace = sparse_code(one, atoms, prox=prox, trace=True, **solver)
    return PursuitSteps(
        algorithm=algorithm,
        row=row,
        nonnegative=nonnegative,
        penalty=penalty,
        **_steps(one, atoms, trace, sort=penalty is not None),
    )


def check_algorithm(name: object) -> AlgorithmName:
    """Return `name` if it is one of the algorithms."""
    return cast(AlgorithmName, one_of(name, ALGORITHMS, name="algorithm"))


def strongest_atoms(
    steps: Sequence[PursuitSteps], *, most: int = MOST_BARS, order: str = "sorted"
) -> Int[np.ndarray, " n"]:
    """Atoms worth a bar: all that are ever chosen, then those most correlated at any step."""
    one_of(order, ("sorted", "dictionary"), name="order")
    score = np.max([np.abs(one.correlations).max(axis=0) for one in steps], axis=0)
    for one in steps:
        score[one.atoms] = np.inf
    # Stable, so that ties keep the order of the dictionary everywhere.
    shown = np.sort(np.argsort(-score, kind="stable")[:most])
    if order == "sorted":
        shown = shown[np.argsort(-steps[0].correlations[0, shown], kind="stable")]
    return shown


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


def _steps(
    x: Float[Tensor, "1 d_in"], dictionary: Float[Tensor, "n_atoms d_in"], trace: Any, *, sort: bool
) -> dict[str, Any]:
    """What each step looked like, by name of the record's fields; `sort` where none chose an atom."""
    n_steps = int(torch.as_tensor(trace.n_steps).max())  # counted for each row, or for all
    codes = [_strongest_first(trace.codes_at(t), sort) for t in range(n_steps + 1)]
    x_hat = torch.stack([values.double() @ dictionary[atoms].double() for atoms, values in codes])
    residuals = (x.double() - x_hat).to(x.dtype)
    chosen = torch.full((n_steps,), -1) if sort else trace.atoms[0, :n_steps]
    return {
        "n_atoms": len(dictionary),
        "n_steps": n_steps,
        "x": _array(x[0]),
        "chosen": _array(chosen).astype(np.int64),
        "step_offsets": np.cumsum([0, *(len(atoms) for atoms, _ in codes)]),
        "atoms": _array(torch.cat([atoms for atoms, _ in codes])).astype(np.int64),
        "values": _array(torch.cat([values for _, values in codes])),
        "residual_norms": _array(trace.residual_norms[0, : n_steps + 1]),
        "x_hat": _array(x_hat.to(x.dtype)),
        "correlations": _array(residuals @ dictionary.to(x.dtype).T),
    }


def _strongest_first(codes: SparseCodes, sort: bool) -> tuple[Tensor, Tensor]:
    used: Bool[Tensor, " nnz"] = codes.values != 0
    atoms, values = codes.atoms[used].long(), codes.values[used].detach()
    # A pursuit's trace has its atoms in the order they were chosen, which is worth keeping.
    order = values.abs().argsort(descending=True, stable=True) if sort else slice(None)
    return atoms[order], values[order]


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
