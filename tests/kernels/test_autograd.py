"""Codes and gradients of every backend equal the dense definition's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.kernels import autograd, decode, reference, squared_error, topk_encode


def dense_autograd(problem: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A dense SAE as the libraries of the field write it: topk, scatter, two products, autograd."""
    u = (problem.x - problem.centre) @ problem.weight.T + problem.bias
    values, atoms = u.topk(problem.k, dim=1)
    z = torch.zeros_like(u).scatter(1, atoms, values.relu())
    loss = (problem.x - (z @ problem.dictionary + problem.centre)).square().sum()
    return z.detach(), torch.autograd.grad(loss, problem.inputs)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp_min(1e-30))


def encoded(problem: Any, primitives: Any) -> SparseCodes:
    return autograd.topk_encode(
        primitives, problem.x, problem.weight, problem.bias, problem.k, problem.centre
    )


def fused(problem: Any, primitives: Any, codes: SparseCodes) -> Tensor:
    error, *_ = autograd.squared_error(
        primitives, codes, problem.dictionary, problem.centre, problem.x
    )
    return error


def decoded(problem: Any, primitives: Any, codes: SparseCodes) -> Tensor:
    x_hat = autograd.decode(primitives, codes, problem.dictionary, problem.centre)
    return (problem.x - x_hat).square().sum()


@pytest.mark.parametrize("loss", [fused, decoded])
def test_gradients_equal_dense_autograd(
    problem: Any, primitives: Any, loss: Callable[..., Tensor]
) -> None:
    """Every gradient, and the codes themselves, up to rounding."""
    z, gradients = dense_autograd(problem)
    codes = encoded(problem, primitives)
    assert relative(codes.to_dense().detach(), z) < 5e-7
    ours = torch.autograd.grad(loss(problem, primitives, codes), problem.inputs)
    # Measured: at most 3.5e-7 (a sum over 300 rows, in another order).
    assert max(relative(a, b) for a, b in zip(ours, gradients, strict=True)) < 1e-6


def test_the_reference_equals_dense_autograd(problem: Any) -> None:
    """The definition is the dense one."""
    z, gradients = dense_autograd(problem)
    codes = reference.topk_encode(
        problem.x, problem.weight, problem.bias, problem.k, problem.centre
    )
    loss, *_ = reference.squared_error(codes, problem.dictionary, problem.centre, problem.x)
    assert torch.equal(codes.to_dense().detach(), z)
    ours = torch.autograd.grad(loss, problem.inputs)
    assert max(relative(a, b) for a, b in zip(ours, gradients, strict=True)) < 1e-6


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("k", [2, 6])
def test_gradcheck_passes_in_double_precision(draw: Any, backend: Any, k: int) -> None:
    """Finite differences agree, for the whole chain and every input."""
    p = draw(4, 3, 6, k, dtype=torch.float64, seed=3)

    def chain(x: Tensor, weight: Tensor, dictionary: Tensor, bias: Tensor, centre: Tensor) -> Any:
        codes = topk_encode(x, weight, bias, k=k, centre=centre, backend=backend)
        error, *_ = squared_error(codes, dictionary, centre, x, backend=backend)
        return error, decode(codes, dictionary, centre, backend=backend)

    assert torch.autograd.gradcheck(chain, p.inputs)


def test_the_reference_can_be_differentiated_twice() -> None:
    """Second derivatives exist there, and are refused, not wrong, in the fast backends."""
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    weight = torch.eye(2, dtype=torch.float64)

    def slope(backend: Any) -> Tensor:
        codes = topk_encode(x, weight, k=2, backend=backend)
        (first,) = torch.autograd.grad(codes.values.pow(3).sum(), x, create_graph=True)
        return first.sum()

    (second,) = torch.autograd.grad(slope("reference"), x)
    assert second.tolist() == [[6.0, 12.0]]
    with pytest.raises(RuntimeError):
        torch.autograd.grad(slope("cpu"), x)


def test_no_gradient_is_computed_that_nobody_asked_for(primitives: Any) -> None:
    """Constant inputs cost nothing and get nothing."""
    x, weight = torch.randn(6, 4), torch.randn(9, 4, requires_grad=True)
    codes = autograd.topk_encode(primitives, x, weight, None, 2, None)
    autograd.decode(primitives, codes, torch.randn(9, 4), None).sum().backward()
    assert weight.grad is not None
    assert x.grad is None
