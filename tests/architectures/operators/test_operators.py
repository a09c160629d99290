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
    Operator,
)
from sae_nb.architectures.parts._operators import MatrixOperator


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
    assert isinstance(operator, Operator)
    atoms = operator.atoms()
    assert atoms.shape == (operator.n_atoms, operator.d_in)
    z, r = torch.randn(5, operator.n_atoms).double(), torch.randn(5, operator.d_in).double()
    assert torch.allclose(operator.forward(z), z @ atoms)
    assert torch.allclose(operator.adjoint(r), r @ atoms.T)
    assert torch.allclose(operator.energy(), atoms.square().sum(dim=1))


def test_lipschitz_bounds_the_spectral_norm(operator: Operator) -> None:
    exact = float(torch.linalg.matrix_norm(operator.atoms().detach(), 2) ** 2)
    assert operator.lipschitz() >= exact * (1 - 1e-9)
    if isinstance(operator, MatrixOperator):
        assert operator.lipschitz() == pytest.approx(exact)


def test_the_fft_bound_is_nearly_tight_on_long_recordings() -> None:
    h = kernels(2, 6)
    operator = ConvolutionOperator(h, n_samples=120)
    exact = float(torch.linalg.matrix_norm(operator.atoms(), 2) ** 2)
    assert exact <= operator.lipschitz() <= 1.02 * exact
    padded = torch.nn.functional.pad(h, (0, 114))
    circle = torch.cat([padded.roll(i, dims=1) for i in range(120)])
    on_a_circle = float(torch.linalg.matrix_norm(circle, 2) ** 2)
    assert operator.lipschitz() == pytest.approx(on_a_circle, rel=1e-9)


def test_long_recordings_go_by_fft_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    z, r, results = torch.randn(2, 3 * 36).double(), torch.randn(2, 40).double(), []
    for from_here in (10, 10**6):
        monkeypatch.setattr("sae_nb.architectures.parts._operators.LONG", from_here)
        h = kernels().requires_grad_()
        operator = ConvolutionOperator(h, n_samples=40)
        forward, adjoint = operator.forward(z), operator.adjoint(r)
        (forward.square().sum() + adjoint.pow(3).sum()).backward()  # type: ignore[no-untyped-call]
        results.append((forward, adjoint, h.grad))
    assert all(torch.allclose(a, b) for a, b in zip(*results, strict=True))


def test_cosines_are_scipys() -> None:
    signal = torch.randn(3, 10, generator=torch.Generator().manual_seed(0)).double()
    whole = CosineOperator(torch.ones(10, dtype=torch.bool), torch.float64)
    by_scipy = torch.from_numpy(scipy.fft.dct(signal.numpy(), norm="ortho"))
    assert torch.allclose(whole.adjoint(signal), by_scipy)
    assert torch.allclose(whole.forward(by_scipy), signal)
    assert torch.allclose(CosineOperator(SOME, torch.float64).forward(by_scipy), signal[:, SOME])
