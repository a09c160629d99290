"""Every penalty against brute force and general-purpose optimisers: its prox is what it says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from sae_nb.architectures import (
    AbsTopKProx,
    GroupProx,
    HardProx,
    IdentityProx,
    Penalty,
    Prox,
    RidgeProx,
    SimplexProx,
    SoftProx,
    TopKProx,
)
from sae_nb.architectures.parts._proxes import FIRST_LOOK, simplex_threshold

N = 6
WEIGHTS = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], dtype=torch.float64)
GROUPS = torch.tensor([0, 1, 0, 2, 2, 2])
PENALTIES: dict[str, Penalty] = {
    "soft": SoftProx(0.4),
    "soft+": SoftProx(0.4, nonnegative=True),
    "weighted soft": SoftProx(WEIGHTS),
    "weighted soft+": SoftProx(WEIGHTS, nonnegative=True),
    "hard": HardProx(0.3),
    "hard+": HardProx(0.3, nonnegative=True),
    "group": GroupProx(GROUPS, 0.5),
    "group+": GroupProx(GROUPS, 0.5, nonnegative=True),
    "top-k": TopKProx(2),
    "top-k by size": AbsTopKProx(2),
    "simplex": SimplexProx(),
    "costly simplex": SimplexProx(WEIGHTS),
    "ridge": RidgeProx(0.7),
    "weighted ridge": RidgeProx(WEIGHTS),
    "identity": IdentityProx(),
}
CONVEX = [name for name, penalty in PENALTIES.items() if penalty.convex]


def value(penalty: Penalty, z: Tensor, v: Tensor, step: float) -> float:
    return float(0.5 * (z - v).square().sum() + step * penalty.objective(z)[0])


@pytest.mark.parametrize("name", CONVEX)
def test_convex_proxes_agree_with_a_quadratic_program(name: str) -> None:
    """SLSQP on ½‖z − v‖² + g(z), split into parts ≥ 0, finds the same point."""
    penalty = PENALTIES[name]
    generator = torch.Generator().manual_seed(3)
    nonnegative = name.endswith("+") or "simplex" in name
    for _ in range(5):
        v = 1.5 * torch.randn(1, N, generator=generator, dtype=torch.float64)
        ours = penalty.dense(v, 0.8)

        def cost(parts: Tensor, v: Tensor = v) -> Tensor:
            z = (parts[:N] if nonnegative else parts[:N] - parts[N:])[None]
            smooth = 0.5 * (z - v).square().sum()
            if "simplex" in name:
                return smooth + (0.0 if penalty.cost is None else 0.8 * (penalty.cost * z).sum())
            return smooth + 0.8 * penalty.objective(z)[0]

        def with_slope(parts: np.ndarray) -> tuple[float, np.ndarray]:
            at = torch.from_numpy(parts).requires_grad_()
            there = cost(at)
            (slope,) = torch.autograd.grad(there, at)
            return there.item(), slope.numpy()

        sums = ({"type": "eq", "fun": lambda parts: parts[:N].sum() - 1},)
        found = minimize(
            with_slope,
            np.full(N if nonnegative else 2 * N, 1 / N),
            jac=True,
            method="SLSQP",
            bounds=[(0, None)] * (N if nonnegative else 2 * N),
            constraints=sums if "simplex" in name else (),
            options={"ftol": 1e-13, "maxiter": 500},
        )
        z = torch.from_numpy(found.x[:N] - (0 if nonnegative else found.x[N:]))
        assert torch.allclose(ours[0], z, atol=1e-3), name
        assert value(penalty, ours, v, 0.8) <= found.fun + 1e-8


@pytest.mark.parametrize("name", ["hard", "hard+", "top-k", "top-k by size"])
def test_proxes_that_choose_agree_with_trying_every_support(name: str) -> None:
    """All 64 supports, entries kept as they are (what is best for each)."""
    penalty = PENALTIES[name]
    for v in torch.randn(20, 1, N, dtype=torch.float64):
        tried = [
            value(penalty, v * torch.tensor([mask], dtype=v.dtype), v, 0.7)
            for mask in itertools.product([0, 1], repeat=N)
        ]
        assert value(penalty, penalty.dense(v, 0.7), v, 0.7) == pytest.approx(min(tried))


@pytest.mark.parametrize("name", PENALTIES)
def test_the_sparse_faces_are_the_dense_one(name: str) -> None:
    penalty = PENALTIES[name]
    assert isinstance(penalty, Prox)
    x, weight = torch.randn(9, 3).double(), torch.randn(N, 3).double()
    bias, centre = torch.randn(N).double(), torch.randn(3).double()
    pre_codes = (x - centre) @ weight.T + bias
    expected = penalty.dense(pre_codes)
    assert torch.allclose(penalty(pre_codes).to_dense(), expected, atol=1e-12)
    fused = penalty.of_affine(x, weight, bias, centre)
    assert torch.allclose(fused.to_dense(), expected, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(PENALTIES) - {"hard", "hard+"}))
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """In float64, away from the kinks (where entries come and go)."""
    penalty = PENALTIES[name]
    v = torch.tensor(
        [[2.03, -1.51, 1.12, 0.33, -0.21, 0.9], [1.4, 1.2, 1.3, 1.45, 0.1, -3.0]]
    ).double()
    assert torch.autograd.gradcheck(lambda u: penalty.dense(u, 0.8), v.requires_grad_())
    assert torch.autograd.gradcheck(lambda u: penalty(u).to_dense(), v)


@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0, 1e4])
def test_rows_of_any_spread_land_on_the_simplex(spread: float) -> None:
    """Supports of one entry and of all of them, beyond the first look, far from zero, in fp32."""
    n_atoms = 5 * FIRST_LOOK
    v = 1000 + spread * torch.randn(30, n_atoms)
    dense, sparse = SimplexProx().dense(v), SimplexProx()(v)
    assert torch.equal(sparse.to_dense() > 0, dense > 0)
    assert torch.allclose(dense.sum(dim=1), torch.ones(30), atol=1e-4)
    assert float(dense.min()) >= 0
    if spread == 0.0:
        assert torch.allclose(dense, torch.full_like(dense, 1 / n_atoms), atol=1e-6)
    by_sorting = torch.sort(v.double(), dim=1, descending=True).values
    theta = (by_sorting.cumsum(1) - 1) / torch.arange(1, n_atoms + 1)
    kept = (by_sorting > theta).sum(dim=1, keepdim=True)
    exact = theta.gather(1, kept - 1)
    assert torch.allclose(simplex_threshold(v.double()), exact, atol=1e-9)


def test_weights_follow_their_rows_into_tiles() -> None:
    weights = torch.rand(8, N)
    v = torch.randn(8, N)
    for penalty in (SoftProx(weights), SimplexProx(weights), RidgeProx(weights)):
        whole = penalty.dense(v)
        parts = [penalty.of_rows(slice(i, i + 3)).dense(v[i : i + 3]) for i in (0, 3, 6)]
        assert torch.allclose(torch.cat(parts), whole)


def test_a_silent_group_has_no_gradient_and_no_nan() -> None:
    v = torch.zeros(1, N, requires_grad=True)
    penalty = GroupProx(GROUPS, 0.5)
    (penalty.dense(v).sum() + penalty.objective(v).sum()).backward()
    assert torch.equal(v.grad, torch.zeros(1, N))


@pytest.mark.parametrize("cost", [None, WEIGHTS])
def test_fused_simplex_gradients_are_sparse_and_right(cost: Tensor | None) -> None:
    """Into inputs, encoder rows, bias, centre and cost, by finite differences in float64."""
    generator = torch.Generator().manual_seed(5)
    x, weight, bias, centre = (
        torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((4, 3), (N, 3), (N,), (3,))
    )

    def codes(x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor) -> Tensor:
        z = SimplexProx(cost).of_affine(x, weight, bias, centre)
        return z.to_dense()

    assert torch.autograd.gradcheck(codes, (x, weight, bias, centre))
    z = codes(x, weight, bias, centre)
    dense = SimplexProx(cost).dense((x - centre) @ weight.T + bias)
    assert torch.allclose(z, dense)
    assert bool((z == 0).any())
