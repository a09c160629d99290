"""Products by oneDNN, on any processor that has it: torch's numbers and gradients, where they are taken and where not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sae_nb.kernels import _products as products

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="torch without oneDNN"
)


@pytest.fixture(autouse=True)
def by_onednn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """As on an AMD processor; the shapes of the rows that oneDNN was given."""
    taken: list[tuple[int, ...]] = []
    made = products._made

    def noted(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        taken.append(tuple(x.shape))
        return made(x, weight, bias)

    monkeypatch.setattr(products, "ONEDNN", True)
    monkeypatch.setattr(products, "_made", noted)
    return taken


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(*shape, generator=generator).requires_grad_()


def test_numbers_and_gradients_of_two_orders_are_torchs(by_onednn: list[tuple[int, ...]]) -> None:
    """Of sequences, a transposed matrix and a bias; and what a layer gives may be written to."""
    x, weight, bias = drawn(3, 40, 70), drawn(70, 50), drawn(50)

    def gradients(linear: Callable[..., Tensor]) -> list[Tensor]:
        y = linear(x, weight.T, bias).relu_()
        first = torch.autograd.grad(y.sin().sum(), (x, weight, bias), create_graph=True)
        total = sum((one.square().sum() for one in first), torch.zeros(()))
        return [y, *first, *torch.autograd.grad(total, (x, weight))]

    found = gradients(products.linear)
    assert by_onednn
    for mine, torchs in zip(found, gradients(functional.linear), strict=True):
        assert torch.allclose(mine, torchs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("x", [torch.ones(31, 64), torch.ones(64, 63), torch.ones(64, 64).double()])
def test_small_and_other_numbers_stay_torchs(x: Tensor, by_onednn: list[tuple[int, ...]]) -> None:
    """Few rows, narrow ones, fp64."""
    products.linear(x, torch.ones(2, x.shape[1], dtype=x.dtype))
    assert not by_onednn


def test_transforms_of_torch_func_see_torchs_own() -> None:
    """They have no rule for oneDNN's product."""
    x, weight = drawn(40, 64).detach(), drawn(64, 64).detach()
    found = torch.func.vmap(lambda one: products.linear(one, weight))(x.expand(2, -1, -1))
    assert torch.allclose(found[1], x @ weight.T, atol=1e-4)
    _, slope = torch.func.jvp(lambda one: products.linear(one, weight), (x,), (x,))
    assert torch.allclose(slope, x @ weight.T, atol=1e-4)


def test_a_pass_of_a_wide_model_over_many_tokens_is_fast(by_onednn: list[tuple[int, ...]]) -> None:
    """Layers are asked inside of the block alone, and not for few tokens or a narrow model."""
    wide, narrow = nn.Linear(256, 4), nn.Linear(128, 4)
    many, few = torch.zeros(1, 40), torch.zeros(1, 31)
    for module, tokens in ((wide, few), (narrow, many), (wide, many), (wide, None)):
        with products.fast_pass(module, tokens):
            module(torch.ones(2, 20, module.in_features))
    wide(torch.ones(40, 256))
    assert len(by_onednn) == 2
