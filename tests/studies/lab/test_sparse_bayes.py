"""Promises of SparseBayes: posteriors are Bayes' rule, EM climbs, and no covariance is needed for either."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import CosineOperator, FixedOperator, Operator
from sae_nb_studies.lab import Posterior, SparseBayes
from sae_nb_studies.lab._posterior import Problem, moments

NOISE = 0.02


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def masked(n: int, n_kept: int, seed: int = 0) -> CosineOperator:
    mask = torch.zeros(n, dtype=torch.bool)
    mask[torch.randperm(n, generator=drawn(seed))[:n_kept]] = True
    return CosineOperator(mask, torch.float64)


def planted(operator: Operator, supports: list[Tensor], seed: int = 1) -> tuple[Tensor, Tensor]:
    """Codes on the given supports, one row each, and what is seen of them through noise."""
    generator = drawn(seed)
    z = torch.zeros(len(supports), operator.n_atoms, dtype=torch.float64)
    for row, support in zip(z, supports, strict=True):
        row[support] = torch.randn(len(support), generator=generator, dtype=torch.float64)
    x = operator.forward(z)
    return z, x + NOISE * torch.randn(x.shape, generator=generator)


def error(found: Posterior, z: Tensor) -> float:
    return float((found.mean - z).norm() / z.norm())


@pytest.fixture(scope="module")
def seen() -> tuple[CosineOperator, Tensor, Tensor]:
    operator = masked(96, 48)
    z, x = planted(operator, [torch.randperm(96, generator=drawn(5))[:6]])
    return operator, z, x


@pytest.fixture(scope="module")
def problem() -> tuple[Problem, Tensor]:
    operator, rows = masked(40, 20), torch.arange(3)
    alpha = 30 * torch.rand(3, 40, generator=drawn()).double() + 0.05
    x = torch.randn(3, 20, generator=drawn(1)).double()
    return Problem(operator, x, 0.01, rows, rows, 2000, 1e-16, 200), alpha


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["exact", "woodbury", "cg"])
def test_posterior_is_bayes_rule(problem: tuple[Problem, Tensor], solver: str) -> None:
    """Mean, variances and log p(x) by conditioning a joint Gaussian; by probes within their spread."""
    asked, alpha = problem
    found = moments(asked, alpha, solver, drawn())  # type: ignore[arg-type]
    atoms = asked.operator.atoms()
    for row in range(3):
        prior = torch.diag(1 / alpha[row])
        covariance = asked.variance * torch.eye(20).double() + atoms.T @ prior @ atoms
        gain = prior @ atoms @ torch.linalg.inv(covariance)
        log_p = torch.distributions.MultivariateNormal(torch.zeros(20).double(), covariance)
        sd = (prior - gain @ atoms.T @ prior).diagonal().sqrt()
        rough = solver == "cg"
        assert torch.allclose(found.mean[row], gain @ asked.x[row], atol=1e-6)
        assert torch.allclose(found.variance[row].sqrt(), sd, rtol=0.05 if rough else 1e-6)
        expected = float(log_p.log_prob(asked.x[row]))
        assert float(found.log_likelihood[row]) == pytest.approx(
            expected, abs=0.5 if rough else 1e-6
        )


def test_solved_rows_add_nothing_to_the_determinant() -> None:
    """With orthogonal atoms the preconditioner is the matrix: one step, and its logarithm exactly."""
    atoms = torch.linalg.qr(torch.randn(6, 6, generator=drawn()).double())[0]
    rows = torch.arange(1)
    asked = Problem(FixedOperator(atoms), torch.ones(1, 6).double(), 0.1, rows, rows, 3, 1e-30, 9)
    alpha = torch.tensor([[0.5, 1.0, 2.0, 3.0, 4.0, 5.0]]).double()
    by_cg, exact = (moments(asked, alpha, solver, drawn()) for solver in ("cg", "exact"))
    assert torch.allclose(by_cg.log_likelihood, exact.log_likelihood, atol=1e-9)
    assert torch.allclose(by_cg.variance, exact.variance, rtol=1e-9)


@pytest.mark.parametrize("n_clusters", [None, 2])
def test_em_never_loses_likelihood(n_clusters: int | None) -> None:
    """With exact posteriors every iteration climbs; both exact solvers take the same way."""
    operator = masked(48, 24)
    order = torch.randperm(48, generator=drawn(3))
    _, x = planted(operator, [order[:3], order[3:6], order[:3], order[3:6]])
    model = SparseBayes(noise=NOISE, n_clusters=n_clusters, solver="exact", n_iterations=20)
    found = model.fit(x, operator)
    assert float(found.log_likelihood.diff().min()) > 0
    other = replace(model, solver="woodbury").fit(x, operator)
    assert torch.allclose(found.log_likelihood, other.log_likelihood, atol=1e-6)
    assert torch.allclose(found.precisions, other.precisions, rtol=1e-5)


@pytest.mark.slow
def test_error_bars_hold_the_truth(seen: tuple[CosineOperator, Tensor, Tensor]) -> None:
    """Nearly all true coefficients that were found lie within three sd; what is not there is small."""
    operator, z, x = seen
    found = SparseBayes(noise=NOISE).fit(x, operator)
    there = (z[0] != 0) & (found.mean[0].abs() > 4 * found.sd[0])
    assert int(there.sum()) >= 4
    assert bool(((found.mean - z).abs() < 3.5 * found.sd)[0, there].all())
    assert float(found.mean[0, z[0] == 0].abs().max()) < 5 * NOISE


@pytest.mark.slow
def test_clusters_are_found_and_shared() -> None:
    """Rows that share supports are told apart, and better recovered than by themselves or all as one."""
    operator = masked(64, 24)
    order = torch.randperm(64, generator=drawn(2))
    z, x = planted(operator, [order[:4], order[4:8]] * 6)
    errors = {}
    for n_clusters in (None, 1, 2):
        found = SparseBayes(noise=NOISE, n_clusters=n_clusters, tolerance=1e-10).fit(x, operator)
        errors[n_clusters] = error(found, z)
    assert errors[2] < 0.9 * min(errors[None], errors[1])
    groups = found.assignment
    assert groups[0::2].unique().numel() == groups[1::2].unique().numel() == 1
    assert int(groups[0]) != int(groups[1])
    assert found.precisions.shape == (2, 64)
    assert torch.allclose(found.responsibilities.sum(dim=1), torch.ones(12).double())


def test_a_singular_design_is_shared_and_unsure() -> None:
    """Twins share what they explain, each less sure than one alone; a zero atom keeps its prior."""
    single = torch.eye(3, 5).double()
    double = torch.cat([single, single[:1], torch.zeros(1, 5).double()])
    x = torch.tensor([[1.0, 0.0, 0.5, 0.0, 0.0]]).double()
    model = SparseBayes(noise=0.1, solver="exact", n_iterations=5)
    alone, twins = model.fit(x, single), model.fit(x, double)
    assert float(twins.mean[0, 0]) == pytest.approx(float(twins.mean[0, 3]), rel=1e-3)
    assert float(twins.mean[0, [0, 3]].sum()) == pytest.approx(float(alone.mean[0, 0]), rel=0.02)
    assert float(twins.sd[0, 0]) > 2 * float(alone.sd[0, 0])
    assert (float(twins.mean[0, 4]), float(twins.sd[0, 4])) == (0, pytest.approx(1, rel=1e-4))
    by_cg = replace(model, solver="cg").fit(x, double)
    assert torch.allclose(by_cg.mean, twins.mean, atol=0.02)
