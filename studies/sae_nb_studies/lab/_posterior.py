"""Posteriors of linear Gaussian models: mean, variance of each coefficient and evidence, by three solvers.

x = A z + ε, ε ~ N(0, σ²), z_j ~ N(0, 1/α_j). The posterior has precision Λ = AᵀA / σ² + diag α and mean
Λ⁻¹Aᵀx / σ². Everything here is computed with H = σ²Λ = AᵀA + diag ασ².
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures import Operator
from sae_nb.architectures.parts import conjugate_gradients
from sae_nb.checks import check_memory, check_real

Solver = Literal["cg", "exact", "woodbury"]
Precisions = Float[Tensor, "profiles n_atoms"]


LOUDEST = 1e100
"""Largest σ: its square is still a number, and so is one over it."""


def checked_noise(noise: object) -> float:
    """Return a standard deviation that is above 0, so that there is a posterior."""
    value = float(check_real(noise, name="noise"))
    if not 1 / LOUDEST <= value <= LOUDEST:
        raise ValueError(
            f"`noise` must be above 0 and at most {LOUDEST:g}, got {noise}. Without noise use "
            "sn.architectures.sparse_code."
        )
    return value


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows and the profiles of precisions under which each is seen: pairs of a row and a profile."""

    operator: Operator
    x: Float[Tensor, "rows d_in"]
    variance: float
    """σ²."""

    row: Int[Tensor, " pairs"]
    profile: Int[Tensor, " pairs"]
    n_probes: int
    tolerance: float
    max_steps: int

    @property
    def seen(self) -> Float[Tensor, "pairs d_in"]:
        """The row of each pair."""
        return self.x[self.row]


@dataclass(frozen=True, eq=False)
class Moments:
    """The posterior of every pair."""

    mean: Float[Tensor, "pairs n_atoms"]
    variance: Float[Tensor, "profiles n_atoms"]
    log_likelihood: Float[Tensor, " pairs"]
    """log p(x), codes integrated out."""

    residuals: Float[Tensor, "systems steps_plus_1"]
    """‖r‖ / ‖b‖ after every step of CG: means first, then probes; empty where nothing was iterated."""


def moments(
    problem: Problem, alpha: Precisions, solver: Solver, generator: torch.Generator
) -> Moments:
    """Return the posterior under some precisions."""
    if solver == "cg":
        return _by_cg(problem, alpha, generator)
    return _by_inverse(problem, alpha) if solver == "exact" else _by_samples(problem, alpha)


def check_fits(problem: Problem, n_profiles: int, solver: Solver) -> None:
    """Refuse what would not fit, before any work."""
    m, d = problem.operator.n_atoms, problem.operator.d_in
    size = problem.x.element_size()
    systems = len(problem.row) + n_profiles * problem.n_probes
    needed, what, instead = {
        "cg": (
            10 * size * systems * m,
            f"Conjugate gradients on {systems} systems of {m} atoms",
            "Use fewer rows, clusters or probes.",
        ),
        "exact": (
            size * (4 * m * m + m * d),
            f"The covariance of {m} × {m} coefficients",
            "Use solver='cg', which needs none.",
        ),
        "woodbury": (
            size * (4 * m * d + 2 * d * d),
            f"The dictionary of {m} × {d} and the covariance of {d} samples",
            "Use solver='cg', which needs neither.",
        ),
    }[solver]
    check_memory(needed, what, instead)


# --- conjugate gradients and probes ---------------------------------------------------------------


def _by_cg(problem: Problem, alpha: Precisions, generator: torch.Generator) -> Moments:
    """All means and all probes in one batch of conjugate gradients.

    With D = diag H and Rademacher probes p, the systems H u = D^½p give diag H⁻¹ = E[D^-½p ∘ u] and, by the
    coefficients of CG, log det H.
    """
    operator, ridge = problem.operator, alpha * problem.variance
    diagonal = operator.energy() + ridge
    probes = _rademacher(len(alpha), problem.n_probes, operator.n_atoms, generator, like=alpha)
    of_probe = torch.arange(len(alpha), device=alpha.device).repeat_interleave(problem.n_probes)
    system = torch.cat([problem.profile, of_probe])
    b = torch.cat([operator.adjoint(problem.seen), probes * diagonal[of_probe].sqrt()])
    z, lengths, turns, residuals = _solve(
        lambda p: operator.adjoint(operator.forward(p)) + ridge[system] * p,
        b,
        diagonal[system],
        problem,
    )
    n = len(problem.row)
    mean = z[:n]
    estimates = probes / diagonal[of_probe].sqrt() * z[n:]
    inverse = estimates.view(len(alpha), problem.n_probes, -1).mean(dim=1)
    log_det = lanczos_log_determinant(lengths[n:], turns[n:], operator.n_atoms)
    log_det = log_det.view(len(alpha), problem.n_probes).mean(dim=1)
    log_det = log_det + diagonal.log().sum(dim=1) - ridge.log().sum(dim=1)
    return Moments(
        mean=mean,
        # What holds whatever the probes say: 1 / H_jj ≤ (H⁻¹)_jj ≤ 1 / (ασ²)_j.
        variance=problem.variance * inverse.clamp(min=1 / diagonal, max=1 / ridge),
        log_likelihood=_log_likelihood(problem, alpha, mean, log_det),
        residuals=residuals,
    )


def _rademacher(
    n_profiles: int, n_probes: int, n_atoms: int, generator: torch.Generator, like: Tensor
) -> Tensor:
    """Signs, the same for every profile, so that profiles are compared on the same draws."""
    drawn = torch.randint(2, (n_probes, n_atoms), generator=generator)
    return (2 * drawn - 1).to(like).repeat(n_profiles, 1)


def _solve(
    matrix: Callable[[Tensor], Tensor], b: Tensor, diagonal: Tensor, problem: Problem
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Until ‖r‖² ≤ tolerance · ‖b‖² in every row: solutions, CG's coefficients, relative residuals."""
    size = b.norm(dim=1).clamp_min(torch.finfo(b.dtype).tiny)
    lengths, turns, residuals = [], [], [torch.ones_like(size)]
    z = torch.zeros_like(b)
    for found in islice(conjugate_gradients(matrix, b, diagonal, z), problem.max_steps):
        z = found.z
        lengths.append(found.length[:, 0])
        turns.append(found.turn[:, 0])
        residuals.append(found.residual.norm(dim=1) / size)
        if bool((residuals[-1].square() <= problem.tolerance).all()):
            break
    return z, torch.stack(lengths, 1), torch.stack(turns, 1), torch.stack(residuals, 1)


def lanczos_log_determinant(
    lengths: Float[Tensor, "probes steps"], turns: Float[Tensor, "probes steps"], n_atoms: int
) -> Float[Tensor, " probes"]:
    """Return logarithm of the determinant of the preconditioned matrix as each probe sees it, n Σ_l
    e_l² log θ_l.

    θ and first entries e of the eigenvectors are those of the tridiagonal matrix of Lanczos, with
    diagonal 1/a_i + b_{i−1}/a_{i−1} and off-diagonal √b_i / a_i. Source: Ubaru, Chen and Saad, "Fast
    estimation of tr f(A) via stochastic Lanczos quadrature", 2017; by CG's coefficients in
    al5250/multics.
    """
    going = (
        (lengths > 0).cumprod(dim=1).bool()
    )  # where a row was solved, nothing more is known of it
    over = torch.where(going, 1 / torch.where(going, lengths, torch.ones_like(lengths)), 0)
    diagonal = torch.where(going, over, torch.ones_like(over))
    diagonal[:, 1:] += torch.where(going[:, 1:], turns[:, :-1] * over[:, :-1], 0)
    beside = torch.where(going[:, 1:], turns[:, :-1].clamp_min(0).sqrt() * over[:, :-1], 0)
    tridiagonal = torch.diag_embed(diagonal)
    tridiagonal += torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
    theta, vectors = torch.linalg.eigh(tridiagonal)
    tiny = torch.finfo(theta.dtype).tiny
    return n_atoms * (vectors[:, 0].square() * theta.clamp_min(tiny).log()).sum(dim=1)


# --- with matrices --------------------------------------------------------------------------------


def _by_inverse(problem: Problem, alpha: Precisions) -> Moments:
    """The covariance of all coefficients of each profile: what EM does without a trick."""
    atoms = problem.operator.atoms()
    gram, data = atoms @ atoms.T, problem.operator.adjoint(problem.seen)
    mean, inverses, log_dets = torch.empty_like(data), [], []
    for k, ridge in enumerate(alpha * problem.variance):
        of_profile = problem.profile == k
        h = gram + torch.diag(ridge)
        root = h.diagonal().sqrt()
        factor = torch.linalg.cholesky(h / root / root[:, None])
        inverse = torch.cholesky_inverse(factor) / root / root[:, None]
        mean[of_profile] = data[of_profile] @ inverse
        inverses.append(inverse.diagonal())
        log_dets.append(2 * (factor.diagonal().log() + root.log()).sum() - ridge.log().sum())
    return _without_residuals(problem, alpha, mean, torch.stack(inverses), torch.stack(log_dets))


def _by_samples(problem: Problem, alpha: Precisions) -> Moments:
    """The same by the covariance of samples, S = I + A diag(1 / ασ²) Aᵀ: cheaper where samples are fewer."""
    atoms, seen = problem.operator.atoms(), problem.seen
    mean = torch.empty(len(seen), len(atoms), dtype=atoms.dtype, device=atoms.device)
    inverses, log_dets = [], []
    eye = torch.eye(atoms.shape[1], dtype=atoms.dtype, device=atoms.device)
    for k, ridge in enumerate(alpha * problem.variance):
        of_profile = problem.profile == k
        weighted = atoms / ridge[:, None]
        factor = torch.linalg.cholesky(eye + atoms.T @ weighted)
        solved = torch.linalg.solve_triangular(factor, weighted.T, upper=False)
        white = torch.linalg.solve_triangular(factor, seen[of_profile].T, upper=False)
        mean[of_profile] = white.T @ solved
        inverses.append(1 / ridge - solved.square().sum(dim=0))
        log_dets.append(2 * factor.diagonal().log().sum())
    return _without_residuals(problem, alpha, mean, torch.stack(inverses), torch.stack(log_dets))


def _without_residuals(
    problem: Problem, alpha: Precisions, mean: Tensor, inverse: Tensor, log_det: Tensor
) -> Moments:
    return Moments(
        mean=mean,
        variance=problem.variance * inverse,
        log_likelihood=_log_likelihood(problem, alpha, mean, log_det),
        residuals=mean.new_zeros(0, 1),
    )


def _log_likelihood(
    problem: Problem, alpha: Precisions, mean: Tensor, log_det: Float[Tensor, " profiles"]
) -> Float[Tensor, " pairs"]:
    """−½ (d log 2πσ² + log det S + ‖x − A μ‖² / σ² + Σ α μ²), log det S = log det H − Σ log ασ²."""
    left = problem.seen - problem.operator.forward(mean)
    misfit = left.square().sum(dim=1) / problem.variance
    size = (alpha[problem.profile] * mean.square()).sum(dim=1)
    constant = problem.operator.d_in * math.log(2 * math.pi * problem.variance)
    return -0.5 * (constant + log_det[problem.profile] + misfit + size)
