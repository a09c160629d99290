"""What every synthesis operator promises a solver: adjoint, steepness, energies and its matrix."""

from __future__ import annotations

from typing import Any

import pytest
import scipy.fft
import torch
from torch import Tensor

from sae_nb.architectures import (
    ConvolutionOperator,
    CosineOperator,
    DenseOperator,
    FixedOperator,
    MatrixOperator,
    Operator,
)
from sae_nb.codes import SparseCodes


def kernels(n: int = 3, length: int = 5) -> Tensor:
    return torch.randn(n, length, generator=torch.Generator().manual_seed(2)).double()


SOME = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0, 1, 1], dtype=torch.bool)

OPERATORS: dict[str, Any] = {
    "dense": lambda: DenseOperator(7, 11).double(),
    "fixed": lambda: FixedOperator(3 * torch.randn(11, 7).double()),
    "tall": lambda: FixedOperator(torch.randn(4, 7).double()),
    "convolution": lambda: ConvolutionOperator(kernels(), n_samples=12),
    "cosines": lambda: CosineOperator(SOME, torch.float64),
    "cosines, odd": lambda: CosineOperator(SOME[:9], torch.float64),
    "cosines, all": lambda: CosineOperator(torch.ones(6, dtype=torch.bool), torch.float64),
}


@pytest.fixture(params=OPERATORS)
def operator(request: pytest.FixtureRequest) -> Operator:
    return OPERATORS[request.param]()


def test_forward_is_the_matrix_and_adjoint_its_transpose(operator: Operator) -> None:
    """A z = z D and Aᵀ r = r Dᵀ, so ⟨A z, r⟩ = ⟨z, Aᵀ r⟩."""
    assert isinstance(operator, Operator)
    atoms = operator.atoms()
    assert atoms.shape == (operator.n_atoms, operator.d_in)
    z, r = torch.randn(5, operator.n_atoms).double(), torch.randn(5, operator.d_in).double()
    assert torch.allclose(operator.forward(z), z @ atoms)
    assert torch.allclose(operator.adjoint(r), r @ atoms.T)
    assert torch.allclose(operator.energy(), atoms.square().sum(dim=1))


def test_lipschitz_bounds_the_spectral_norm(operator: Operator) -> None:
    """Tight for a matrix; for a convolution an upper bound."""
    exact = float(torch.linalg.matrix_norm(operator.atoms().detach(), 2) ** 2)
    assert operator.lipschitz() >= exact * (1 - 1e-9)
    if isinstance(operator, MatrixOperator):
        assert operator.lipschitz() == pytest.approx(exact)


def test_the_fft_bound_is_nearly_tight_on_long_recordings() -> None:
    """And it is exact for a recording on a circle."""
    h = kernels(2, 6)
    operator = ConvolutionOperator(h, n_samples=120)
    exact = float(torch.linalg.matrix_norm(operator.atoms(), 2) ** 2)
    assert exact <= operator.lipschitz() <= 1.02 * exact
    padded = torch.nn.functional.pad(h, (0, 114))
    circle = torch.cat([padded.roll(i, dims=1) for i in range(120)])
    on_a_circle = float(torch.linalg.matrix_norm(circle, 2) ** 2)
    assert operator.lipschitz() == pytest.approx(on_a_circle, rel=1e-9)


def test_long_recordings_go_by_fft_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Synthesis, its adjoint and the gradient of the kernels, whichever way is taken."""
    z, r, results = torch.randn(2, 3 * 36).double(), torch.randn(2, 40).double(), []
    for from_here in (10, 10**6):
        monkeypatch.setattr("sae_nb.architectures.parts._operators.LONG", from_here)
        h = kernels().requires_grad_()
        operator = ConvolutionOperator(h, n_samples=40)
        forward, adjoint = operator.forward(z), operator.adjoint(r)
        (forward.square().sum() + adjoint.pow(3).sum()).backward()  # type: ignore[no-untyped-call]
        results.append((forward, adjoint, h.grad))
    assert all(torch.allclose(a, b) for a, b in zip(*results, strict=True))


def test_sparse_and_dense_synthesis_agree() -> None:
    """With a bias, in fp32."""
    operator = DenseOperator(7, 11)
    z = torch.relu(torch.randn(6, 11))
    dense = operator.forward(z) + 3
    codes = SparseCodes.from_dense(z)
    assert torch.allclose(operator.synthesise(codes, torch.full((7,), 3.0)), dense, atol=1e-5)


def test_kernels_longer_than_the_recording_are_refused() -> None:
    """By name."""
    with pytest.raises(ValueError, match="at least the length of a kernel, 5, got 4"):
        ConvolutionOperator(kernels(), n_samples=4)


def test_gradients_reach_kernels() -> None:
    """Of forward and adjoint."""
    h = kernels(2, 3).requires_grad_()
    z, r = torch.randn(2, 12).double(), torch.randn(2, 8).double()
    operator = ConvolutionOperator(h, n_samples=8)
    (operator.forward(z).square().sum() + operator.adjoint(r).square().sum()).backward()
    assert bool((h.grad != 0).all())


def test_cosines_are_scipys() -> None:
    """All samples of a code are its inverse DCT-II, and the adjoint is the transform."""
    signal = torch.randn(3, 10, generator=torch.Generator().manual_seed(0)).double()
    whole = CosineOperator(torch.ones(10, dtype=torch.bool), torch.float64)
    by_scipy = torch.from_numpy(scipy.fft.dct(signal.numpy(), norm="ortho"))
    assert torch.allclose(whole.adjoint(signal), by_scipy)
    assert torch.allclose(whole.forward(by_scipy), signal)
    assert torch.allclose(CosineOperator(SOME, torch.float64).forward(by_scipy), signal[:, SOME])


def test_cosines_without_a_sample_are_refused() -> None:
    """By name, as are numbers that are no floats."""
    with pytest.raises(ValueError, match="`mask` must take a sample"):
        CosineOperator(torch.zeros(4, dtype=torch.bool))
    with pytest.raises(TypeError, match="`dtype`"):
        CosineOperator(SOME, torch.int64)
