"""Four solvers of one problem: they agree with each other, with sklearn and with linear algebra."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.linear_model import Lasso
from torch import Tensor

from sae_nb.architectures import (
    FixedOperator,
    GroupProx,
    IdentityProx,
    Penalty,
    RidgeProx,
    SimplexProx,
    SoftProx,
    SolverTrace,
    TopKProx,
    admm,
    cg,
    fista,
    ista,
)
from sae_nb.architectures.parts._links import BinomialLink, GaussianLink, Link, PoissonLink
from sae_nb.architectures.parts._solvers import SOLVERS

LASSO = SoftProx(0.1, nonnegative=True)


@pytest.fixture
def problem() -> tuple[FixedOperator, Tensor]:
    """50 signals of five atoms each over 32 × 64, a little noise, float64."""
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.randn(64, 32, generator=generator, dtype=torch.float64)
    dictionary = torch.nn.functional.normalize(dictionary, dim=1)
    z = torch.rand(50, 64, generator=generator, dtype=torch.float64)
    z = z * (torch.rand(50, 64, generator=generator) < 5 / 64)
    noise = 0.02 * torch.randn(50, 32, generator=generator, dtype=torch.float64)
    return FixedOperator(dictionary), z @ dictionary + noise


def trace_of(solve: Any, problem: Any, prox: Penalty = LASSO, **options: Any) -> SolverTrace:
    return solve(*problem, prox, trace=True, **options)[1]


@pytest.mark.slow
def test_ista_never_climbs(problem: Any) -> None:
    operator, x = problem
    links: list[tuple[Link, Tensor]] = [
        (GaussianLink(), x),
        (BinomialLink(), torch.sigmoid(3 * x)),
        (PoissonLink(max_rate=8.0), torch.poisson((2 * x).exp().clamp_max(6))),
    ]
    penalties = [LASSO, SoftProx(0.05), TopKProx(4), RidgeProx(0.3), SimplexProx()]
    for link, y in links:
        for prox in penalties:
            objective = trace_of(ista, (operator, y), prox, n_steps=30, link=link).objective[:, 1:]
            assert bool((objective.diff(dim=1) <= 1e-9 * objective.abs().max()).all())


@pytest.mark.slow
def test_no_penalty_is_least_squares(problem: Any) -> None:
    """ISTA, FISTA, ADMM and CG with the identity prox find the same reconstruction as lstsq."""
    _, x = problem
    tall = FixedOperator(torch.randn(8, 32, dtype=torch.float64))
    exact = torch.linalg.lstsq(tall.atoms().T, x.T).solution.T
    for name, solve in SOLVERS.items():
        codes = solve(tall, x, IdentityProx(), n_steps=2000)
        assert torch.allclose(codes.to_dense(), exact, atol=1e-8), name


def test_cg_is_the_dense_solve(problem: Any) -> None:
    """(AᵀA + diag α) z = Aᵀx with a precision per row and atom, relative error < 1e-5 in fp32."""
    operator, x = problem
    alpha = 0.05 + torch.rand(50, 64, dtype=torch.float64)
    dictionary = operator.atoms()
    system = dictionary @ dictionary.T + torch.diag_embed(alpha)
    exact = torch.linalg.solve(system, x @ dictionary.T)
    single = FixedOperator(dictionary.float())
    codes = cg(single, x.float(), RidgeProx(alpha.float()), n_steps=60).to_dense().double()
    assert float((codes - exact).norm() / exact.norm()) < 1e-5


@pytest.mark.slow
def test_the_lasso_is_sklearns(problem: Any) -> None:
    """Non-negative and signed, coefficients to 1e-6; sklearn divides its data term by the width."""
    operator, x = problem
    for nonnegative in (True, False):
        prox = SoftProx(0.1, nonnegative=nonnegative)
        ours = fista(operator, x, prox, n_steps=3000).to_dense()
        lasso = Lasso(
            alpha=0.1 / 32, positive=nonnegative, fit_intercept=False, tol=1e-14, max_iter=100_000
        )
        theirs = lasso.fit(operator.atoms().T.numpy(), x.T.numpy()).coef_
        assert torch.allclose(ours, torch.from_numpy(theirs), atol=1e-6)
        admms = admm(operator, x, prox, n_steps=1000).to_dense()
        assert torch.allclose(admms, ours, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "prox",
    [SoftProx(0.1), GroupProx(torch.arange(64) // 4, 0.1), SimplexProx(), RidgeProx(0.2)],
    ids=["soft", "group", "simplex", "ridge"],
)
def test_proximal_gradient_and_splitting_agree_on_every_convex_penalty(
    problem: Any, prox: Penalty
) -> None:
    """Two algorithms that share only the prox: relative objective difference < 1e-4."""
    a = trace_of(fista, problem, prox, n_steps=400).objective[:, -1].sum()
    b = trace_of(admm, problem, prox, n_steps=400).objective[:, -1].sum()
    assert float((a - b).abs() / a) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["binomial", "poisson"])
def test_other_links_end_where_the_gradient_vanishes(problem: Any, name: str) -> None:
    """Optimality of the non-negative lasso: Aᵀ(x − μ) ≤ λ, with equality where z > 0."""
    operator, x = problem
    link: Link = BinomialLink() if name == "binomial" else PoissonLink(max_rate=40.0)
    data = torch.sigmoid(4 * x) if name == "binomial" else torch.poisson((1.5 * x).exp())
    z = fista(operator, data, LASSO, n_steps=4000, link=link).to_dense()
    slope = operator.adjoint(data - link.mean(operator.forward(z)))
    assert float(slope.max()) < 0.1 + 1e-4
    assert float((slope[z > 0] - 0.1).abs().max()) < 1e-4


def test_links_have_the_mean_and_curvature_they_say() -> None:
    """∂nll/∂η = μ(η) − x, and μ grows by at most `curvature` per unit of η, also beyond the knee."""
    eta = torch.linspace(-6, 8, 400, dtype=torch.float64)[:, None].requires_grad_()
    x = torch.full_like(eta, 0.7)
    for link in (GaussianLink(), BinomialLink(), PoissonLink(max_rate=20.0)):
        (slope,) = torch.autograd.grad(link.nll(x, eta).sum(), eta)
        mean = link.mean(eta).detach()
        assert torch.allclose(slope, mean - x, atol=1e-9)
        growth = mean.diff(dim=0) / eta.detach().diff(dim=0)
        assert float(growth.max()) <= link.curvature * (1 + 1e-9)
        assert float(growth.min()) >= 0


@pytest.mark.slow
def test_rows_that_have_converged_stop(problem: Any) -> None:
    """Each row on its own; its code no longer changes, its residual stays, and it says when."""
    operator, x = problem
    x = torch.cat([x, torch.zeros(1, 32, dtype=x.dtype)])
    codes, trace = fista(operator, x, LASSO, n_steps=500, tolerance=1e-6, trace=True)
    assert trace.n_steps[-1] == 1
    assert 10 < int(trace.n_steps.max()) < 500
    assert int(trace.n_steps.min()) < int(trace.n_steps[:-1].max())
    row = int(trace.n_steps[:-1].argmin())
    at = int(trace.n_steps[row])
    for step in range(at, len(trace.steps)):
        assert torch.equal(trace.codes_at(step).rows(row).values, codes.rows(row).values)
        assert trace.residual_norms[row, step] == trace.residual_norms[row, at]
    exact = fista(operator, x, LASSO, n_steps=3000).to_dense()
    assert torch.allclose(codes.to_dense(), exact, atol=1e-4)


def test_the_trace_is_what_happened(problem: Any) -> None:
    """Codes, residuals and objective of every step, recomputed from the codes themselves."""
    operator, x = problem
    codes, trace = fista(operator, x, LASSO, n_steps=7, trace=True)
    assert len(trace.steps) == 8
    assert trace.residual_norms.shape == trace.objective.shape == (50, 8)
    assert trace.codes_at(0).nnz == 0
    assert torch.equal(trace.codes_at(7).to_dense(), codes.to_dense())
    for step in range(8):
        z = trace.codes_at(step).to_dense()
        norms = (x - z @ operator.atoms()).norm(dim=1)
        assert torch.allclose(trace.residual_norms[:, step], norms)
        objective = 0.5 * norms**2 + 0.1 * z.sum(dim=1)
        assert torch.allclose(trace.objective[:, step], objective)
    with pytest.raises(ValueError, match="between 0 and 7, got 8"):
        trace.codes_at(8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fista", "admm"])
def test_tiles_do_not_show(problem: Any, name: str) -> None:
    operator, x = problem
    weights = 0.05 + 0.1 * torch.rand(50, 64, dtype=torch.float64)
    options: dict[str, Any] = {"n_steps": 40, "tolerance": 1e-3, "trace": True}
    whole, trace = SOLVERS[name](operator, x, SoftProx(weights), **options)
    cap = 8 * 8 * 64 * 7  # seven rows
    parts, tiled = SOLVERS[name](operator, x, SoftProx(weights), memory_cap=cap, **options)
    assert torch.allclose(whole.to_dense(), parts.to_dense(), atol=1e-12)
    assert torch.equal(trace.n_steps, tiled.n_steps)
    assert torch.allclose(trace.objective, tiled.objective[:, : trace.objective.shape[1]])
    assert torch.allclose(trace.codes_at(3).to_dense(), tiled.codes_at(3).to_dense())
    with pytest.raises(MemoryError, match=r"one row of 64 codes, 4096 bytes, got 100"):
        ista(operator, x, LASSO, n_steps=1, memory_cap=100)


@pytest.mark.parametrize("name", ["ista", "fista", "admm", "cg"])
def test_gradients_flow_through_every_step(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    dictionary = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    x = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    prox: Penalty = RidgeProx(0.3) if name == "cg" else SoftProx(0.2)

    def loss(x: Tensor, dictionary: Tensor) -> Tensor:
        # The step is a constant of the graph: hold ‖A‖² while the dictionary is perturbed.
        operator = _HeldStep(dictionary)
        codes = SOLVERS[name](operator, x, prox, n_steps=4, **extra)
        return (codes.to_dense() @ dictionary).square().sum()

    extra = {"rho": 0.7} if name == "admm" else {}
    assert torch.autograd.gradcheck(loss, (x.requires_grad_(), dictionary.requires_grad_()))


class _HeldStep(FixedOperator):
    def lipschitz(self) -> float:
        return 20.0


def test_only_the_tail_carries_a_gradient(problem: Any) -> None:
    """Cut to the last steps the graph is shorter, and at convergence the gradient nearly the same."""
    operator, x = problem
    dictionary = operator.atoms().clone().requires_grad_()

    def gradient(**options: Any) -> Tensor:
        codes = fista(FixedOperator(dictionary), x, LASSO, n_steps=150, **options)
        loss = (codes.to_dense() @ dictionary - x).square().sum()
        return torch.autograd.grad(loss, dictionary)[0]

    full, half, one = gradient(), gradient(tail=75), gradient(tail=1)
    assert float((full - half).norm() / full.norm()) < 1e-3
    assert float((full - one).norm() / full.norm()) > 1e-2
    with torch.no_grad():
        assert not fista(FixedOperator(dictionary), x, LASSO, n_steps=3).values.requires_grad


def test_a_zero_dictionary_gives_zero_codes() -> None:
    operator, x = FixedOperator(torch.zeros(4, 3)), torch.ones(2, 3)
    for name, solve in SOLVERS.items():
        prox: Penalty = IdentityProx() if name == "cg" else LASSO
        codes = solve(operator, x, prox, n_steps=3)
        assert bool(torch.isfinite(codes.to_dense()).all())
        assert codes.nnz == 0
