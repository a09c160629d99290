"""Gradients from stored selections equal those of the unrolled definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sae_nb.kernels import decode
from sae_nb.pursuit import _autograd as autograd, matching_pursuit


def _problem(rows: int = 4, d_in: int = 5, n_atoms: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, d_in, generator=generator, dtype=torch.float64)
    dictionary = torch.randn(n_atoms, d_in, generator=generator, dtype=torch.float64)
    unit = dictionary / dictionary.norm(dim=1, keepdim=True)
    return x.requires_grad_(), unit.requires_grad_()


@pytest.mark.slow
def test_gradcheck(pursuit: Any, nonnegative: bool) -> None:
    """Finite differences of dense codes, with respect to the inputs and the atoms before scaling."""
    x, dictionary = _problem()

    def encode(x: torch.Tensor, dictionary: torch.Tensor) -> torch.Tensor:
        codes = pursuit(x, dictionary, 4, nonnegative=nonnegative, normalise=True)
        return codes.to_dense()

    assert torch.autograd.gradcheck(encode, (x, dictionary))


@pytest.mark.parametrize("tile_bytes", [1, autograd.TERM_BYTES["cpu"]])
def test_gradients_equal_the_references(
    pursuit: Any, nonnegative: bool, tile_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a loss on codes and reconstruction together, in one tile and in many."""
    monkeypatch.setattr(autograd, "TERM_BYTES", {"cpu": tile_bytes})
    x, dictionary = _problem(rows=11, d_in=7, n_atoms=20)
    weight = torch.linspace(-1, 1, 20, dtype=torch.float64)
    gradients = []
    for backend in ("reference", "cpu"):
        codes = pursuit(x, dictionary, 6, nonnegative=nonnegative, backend=backend)
        z = codes.to_dense()
        loss = (x - z @ dictionary).square().sum() + (z * weight).sum()
        gradients.append(torch.autograd.grad(loss, (x, dictionary)))
    for ours, reference in zip(gradients[1], gradients[0], strict=True):
        assert torch.allclose(ours, reference, atol=1e-10)


def test_gradients_reach_atoms_before_they_are_scaled(pursuit: Any, nonnegative: bool) -> None:
    """As torch has them, of atoms that it scales itself."""
    x, dictionary = _problem()
    long = (2 * dictionary).detach().requires_grad_()
    scaled = long / long.norm(dim=1, keepdim=True)
    ours, by_torch = (
        torch.autograd.grad(codes.values.square().sum(), (x, long), retain_graph=True)
        for codes in (
            pursuit(x, long, 4, nonnegative=nonnegative, normalise=True),
            pursuit(x, scaled, 4, nonnegative=nonnegative),
        )
    )
    torch.testing.assert_close(ours, by_torch)


def test_the_adjoint_by_torch_equals_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU runs backwards, on the CPU; rows that stopped early included."""
    x, dictionary = _problem(rows=9, d_in=4, n_atoms=12)
    gradients = []
    for adjoint in (autograd._matched_loops, autograd._matched_torch):
        monkeypatch.setattr(autograd, "_matched_loops", adjoint)
        codes = matching_pursuit(x, dictionary, 10, relative_tolerance=0.2)
        assert codes.nnz < 9 * 10
        gradients.append(torch.autograd.grad(codes.values.square().sum(), (x, dictionary)))
    for loops, plain in zip(*gradients, strict=True):
        assert torch.allclose(loops, plain, atol=1e-12)


def test_an_atom_chosen_twice_gets_both_gradients() -> None:
    """Amounts that were added up share the gradient of their sum."""
    x, dictionary = _problem(rows=6, d_in=3, n_atoms=5)
    codes, trace = matching_pursuit(x, dictionary, 5, nonnegative=False, trace=True)
    assert int(trace.n_steps.sum()) > codes.nnz
    expected = matching_pursuit(x, dictionary, 5, nonnegative=False, backend="reference")
    ours = torch.autograd.grad(codes.values.sum(), dictionary)[0]
    assert torch.allclose(ours, torch.autograd.grad(expected.values.sum(), dictionary)[0])


def test_what_ends_at_a_repeat_has_the_gradient_of_its_own_steps() -> None:
    """Steps that were computed and dropped leave no trace: loops and definition agree."""
    x, dictionary = _problem(rows=12, d_in=4)
    options: dict[str, Any] = {"reselect": "stop", "any_norm": True}
    gradients = []
    for backend in ("reference", "cpu"):
        codes = matching_pursuit(x, 0.9 * dictionary, 8, backend=backend, **options)
        error = (x - codes.to_dense() @ (0.9 * dictionary)).square().sum()
        gradients.append(torch.autograd.grad(error, (x, dictionary)))
    for ours, reference in zip(*gradients, strict=True):
        assert torch.allclose(ours, reference, atol=1e-10)


def test_dictionary_gradient_alone_is_minus_codes_times_residual(pursuit: Any) -> None:
    """The alternating variant: ∂‖x − zD‖² / ∂D = −2 zᵀ r with z held fixed."""
    x, dictionary = _problem(rows=8)
    codes = pursuit(x.detach(), dictionary, 3, gradient="dictionary")
    assert not codes.values.requires_grad
    residual = x.detach() - decode(codes, dictionary)
    residual.square().sum().backward()
    assert torch.allclose(dictionary.grad, -2 * codes.to_dense().T @ residual.detach())


def test_only_what_asks_for_a_gradient_gets_one() -> None:
    x, dictionary = _problem()
    assert matching_pursuit(x, dictionary.detach(), 2).values.requires_grad
    assert matching_pursuit(x.detach(), dictionary, 2).values.requires_grad
    with torch.no_grad():
        assert not matching_pursuit(x, dictionary, 2).values.requires_grad


def test_gradients_repeat_bit_for_bit() -> None:
    """Terms are added atom by atom in the order of the inputs, never atomically."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 24, generator=generator)
    dictionary = torch.nn.functional.normalize(torch.randn(40, 24, generator=generator), dim=1)
    dictionary.requires_grad_()
    first, again = (
        torch.autograd.grad(matching_pursuit(x, dictionary, 8).values.sum(), dictionary)[0]
        for _ in range(2)
    )
    assert torch.equal(first, again)
