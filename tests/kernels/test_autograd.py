"""Codes and gradients of every backend equal the dense definition's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.kernels import (
    _autograd as autograd,
    _reference as reference,
    batch_topk_encode,
    decode,
    entries_encode,
    nested_squared_error,
    per_entry,
    squared_error,
    threshold_encode,
    topk_encode,
)
from sae_nb.kernels._backends import PreCodes
from sae_nb.kernels._coding import tails_squared_error


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
    entries = primitives.topk(problem.pre_codes.detach(), problem.k)
    return autograd.chosen(primitives, problem.pre_codes, entries)


def fused(problem: Any, primitives: Any, codes: SparseCodes) -> Tensor:
    error, *_ = autograd.SquaredError.apply(
        codes.values, problem.dictionary, problem.centre, problem.x, codes.support, primitives
    )
    return error


def decoded(problem: Any, primitives: Any, codes: SparseCodes) -> Tensor:
    x_hat = autograd.Decoded.apply(
        codes.values, problem.dictionary, problem.centre, codes.support, primitives
    )
    return (problem.x - x_hat).square().sum()


@pytest.mark.parametrize("loss", [fused, decoded])
def test_gradients_equal_dense_autograd(
    problem: Any, primitives: Any, loss: Callable[..., Tensor]
) -> None:
    z, gradients = dense_autograd(problem)
    codes = encoded(problem, primitives)
    assert relative(codes.to_dense().detach(), z) < 5e-7
    ours = torch.autograd.grad(loss(problem, primitives, codes), problem.inputs)
    # Measured: at most 3.5e-7 (a sum over 300 rows, in another order).
    assert max(relative(a, b) for a, b in zip(ours, gradients, strict=True)) < 1e-6


def test_the_reference_equals_dense_autograd(problem: Any) -> None:
    z, gradients = dense_autograd(problem)
    codes = reference.topk(problem.pre_codes.dense(), problem.k)
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
    x, weight = torch.randn(6, 4), torch.randn(9, 4, requires_grad=True)
    pre_codes = PreCodes(x, weight)
    codes = autograd.chosen(primitives, pre_codes, primitives.topk(pre_codes.detach(), 2))
    dictionary = torch.randn(9, 4)
    x_hat = autograd.Decoded.apply(codes.values, dictionary, None, codes.support, primitives)
    x_hat.sum().backward()
    assert weight.grad is not None
    assert x.grad is None


SELECTIONS: dict[str, Callable[..., SparseCodes]] = {
    "batch": lambda x, w, b, c, how: batch_topk_encode(x, w, b, k=2.5, centre=c, backend=how),
    "signed": lambda x, w, b, c, how: topk_encode(x, w, b, k=3, centre=c, signed=True, backend=how),
    "threshold": lambda x, w, b, c, how: threshold_encode(
        x, w, b, thresholds=torch.linspace(-1, 1, len(w)), centre=c, backend=how
    ),
}


@pytest.mark.parametrize("selection", list(SELECTIONS))
def test_every_selection_has_the_references_gradients(problem: Any, selection: str) -> None:
    """Of the codes themselves, to inputs, encoder, bias and centre, against dense autograd."""
    p, results = problem, []
    for backend in ("cpu", "reference"):
        codes = SELECTIONS[selection](p.x, p.weight, p.bias, p.centre, backend)
        error, *_ = squared_error(codes, p.dictionary, p.centre, p.x, backend=backend)
        loss = error + codes.values.sum()
        results.append((codes.to_dense().detach(), *torch.autograd.grad(loss, p.inputs)))
    assert torch.equal(results[0][0] != 0, results[1][0] != 0)
    assert max(relative(a, b) for a, b in zip(*results, strict=True)) < 2e-6


WIDTHS = {"one": (1.0,), "two": (0.1, 1.0), "many": (0.02, 0.1, 0.3, 0.5, 0.9, 1.0)}


@pytest.mark.parametrize("shares", list(WIDTHS))
def test_nested_errors_equal_dense_prefixes(problem: Any, primitives: Any, shares: str) -> None:
    """Each prefix of the dictionary on its own: values, and gradients of any weighted sum of them."""
    n_atoms = len(problem.weight)
    widths = tuple(sorted({max(1, round(share * n_atoms)) for share in WIDTHS[shares]}))
    weights = torch.linspace(0.5, 2, len(widths))
    results = []
    for fast in (True, False):
        codes = encoded(problem, primitives)
        inputs = (codes, problem.dictionary, problem.centre, problem.x)
        if fast:
            how = (codes.support, widths, primitives)
            found = autograd.NestedSquaredError.apply(codes.values, *inputs[1:], *how)
        else:
            found = reference.nested_squared_error(*inputs, widths)
        gradients = torch.autograd.grad((found[0] * weights).sum(), problem.inputs)
        results.append((*(part.detach() for part in found), *gradients))
    assert max(relative(a, b) for a, b in zip(*results, strict=True)) < 2e-6


def test_one_prefix_is_the_plain_squared_error(problem: Any) -> None:
    codes = topk_encode(problem.x, problem.weight, k=problem.k)
    inputs = (codes, problem.dictionary, problem.centre, problem.x)
    errors, *rest = nested_squared_error(*inputs, widths=(len(problem.weight),))
    error, *plain = squared_error(*inputs)
    assert torch.allclose(errors[0], error, rtol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(rest, plain, strict=True))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_numbers_per_atom_are_read_at_the_entries(backend: Any) -> None:
    """And their gradients are added up by atom, zero where an atom is not used."""
    codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0, 0.0], [1.0, 1.0, 0.0]]))
    vector = torch.tensor([10.0, 20.0, 30.0], requires_grad=True)
    read = per_entry(vector, codes, backend=backend)
    assert read.tolist() == [20.0, 10.0, 20.0]
    (read * torch.tensor([1.0, 2.0, 4.0])).sum().backward()
    assert vector.grad.tolist() == [2.0, 5.0, 0.0]
    with pytest.raises(ValueError, match=r"shape \(3,\), one number per atom, got \(2,\)"):
        per_entry(torch.ones(2), codes)


def test_several_codes_into_one_target_give_the_gradients_of_dense_autograd() -> None:
    """Values, dictionaries, bias and target, each dictionary writing to the last columns."""
    generator = torch.Generator().manual_seed(0)
    codes = [
        topk_encode(torch.randn(40, 6, generator=generator), torch.eye(9, 6), k=k)
        for k in (2, 1, 3)
    ]
    draws = [(9, 12), (9, 7), (9, 4), (12,), (40, 12)]
    leaves = [torch.randn(*shape, generator=generator).double() for shape in draws]
    leaves = [
        leaf.requires_grad_() for leaf in (*leaves, *(code.values.double() for code in codes))
    ]
    found = []
    for backend in ("cpu", "reference"):
        *dictionaries, bias, target = leaves[:5]
        made = [c.with_values(v) for c, v in zip(codes, leaves[5:], strict=True)]
        error, *rest = tails_squared_error(made, dictionaries, bias, target, backend=backend)
        found.append((error.detach(), *rest, *torch.autograd.grad(error, leaves)))
        fixed = [c.with_values(v.detach()) for c, v in zip(codes, leaves[5:], strict=True)]
        error, *_ = tails_squared_error(fixed, dictionaries, bias, target, backend=backend)
        of_dictionaries = torch.autograd.grad(error, dictionaries)
        for ours, theirs in zip(of_dictionaries, found[-1][3:6], strict=True):
            torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_entries_of_another_rule_have_the_gradient_of_their_pre_codes(backend: Any) -> None:
    """By hand: entries (0, 1) and (1, 0) of u = (x − c)Eᵀ + a, whose strengths are kept as they come."""
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
    weight = torch.tensor([[1.0, 1.0], [2.0, -1.0], [0.0, 7.0]], requires_grad=True)
    bias = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
    centre = torch.tensor([1.0, 0.0], requires_grad=True)
    rows, atoms = torch.tensor([0, 1]), torch.tensor([1, 0])
    # u is −1 and 7.5 there; each strength is a pre-code and a constant.
    found = SparseCodes.from_entries(torch.tensor([9.0, 7.5]), rows, atoms, (2, 3))
    codes = entries_encode(x, weight, bias, entries=found, centre=centre, backend=backend)
    assert codes.values.tolist() == [9.0, 7.5]
    assert codes.atoms.tolist() == [1, 0]
    (codes.values * torch.tensor([10.0, 1.0])).sum().backward()
    assert x.grad.tolist() == [[20.0, -10.0], [1.0, 1.0]]
    assert weight.grad.tolist() == [[2.0, 5.0], [0.0, 20.0], [0.0, 0.0]]
    assert bias.grad.tolist() == [1.0, 10.0, 0.0]
    assert centre.grad.tolist() == [-21.0, 9.0]


def test_entries_of_other_rows_or_atoms_are_refused() -> None:
    found = SparseCodes.from_dense(torch.eye(3))
    with pytest.raises(ValueError, match=r"\(2, 4\).*\(3, 3\)"):
        entries_encode(torch.zeros(2, 2), torch.zeros(4, 2), entries=found)
