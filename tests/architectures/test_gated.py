"""Gated: gates that are paid for, strengths that are free."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import Gated, ReLU
from sae_nb.architectures._one_step import without_zeros
from sae_nb.codes import SparseCodes
from sae_nb.data import planted_dictionary
from sae_nb.training import TrainConfig, train


def gated(seed: int = 0, **settings: Any) -> Gated:
    return Gated(16, 40, generator=torch.Generator().manual_seed(seed), **settings)


@torch.no_grad()
def shaken(sae: Gated) -> Gated:
    """With gains and strengths that are not those it starts with, so that some strengths vanish."""
    generator = torch.Generator().manual_seed(2)
    sae.log_gain.add_(0.3 * torch.randn(40, generator=generator))
    sae.magnitude_bias.add_(torch.randn(40, generator=generator))
    return sae


def dense_parts(sae: Gated, x: Tensor) -> dict[str, Tensor]:
    scale, variance = sae.scaling.scale, sae.scaling.variance
    v = (x - sae.bias) @ sae.encoder.weight.T
    pi = (v + sae.encoder.bias / scale).relu()
    z = (pi > 0) * (sae.log_gain.exp() * v + sae.magnitude_bias / scale).relu()
    x_hat = z @ sae.operator.weight + sae.bias
    gate_hat = pi @ sae.operator.weight.detach() + sae.bias.detach()
    return {
        "reconstruction": (x - x_hat).square().sum() / (len(x) * variance),
        "l1": pi.sum() / (len(x) * variance.sqrt()),
        "gate": (x - gate_hat).square().sum() / (len(x) * variance),
    }


def test_loss_and_gradients_equal_the_dense_definition(rows: Tensor) -> None:
    sae = shaken(gated(sparsity=0.4)).double()
    x = rows.double()
    sae.initialise(x, None)
    loss = sae.training_loss(x, torch.zeros(40, dtype=torch.long), 1, 0.5)
    parts = dense_parts(sae, x)
    for name, part in parts.items():
        assert loss.parts[name].item() == pytest.approx(part.item()), name
    reference = parts["reconstruction"] + 0.4 * parts["l1"] + parts["gate"]
    assert loss.total.item() == pytest.approx(reference.item())
    parameters = list(sae.parameters())
    ours = torch.autograd.grad(loss.total, parameters)
    theirs = torch.autograd.grad(reference, parameters)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=1e-6, atol=1e-10)


def test_codes_that_people_keep_hold_no_zeros(rows: Tensor) -> None:
    """An open gate with strength zero is not an entry; the loss keeps it, for its gradient."""
    sae = shaken(gated())
    codes = sae.encode(rows)
    assert bool((codes.values > 0).all())
    loss = sae.training_loss(rows, torch.zeros(40, dtype=torch.long), 1, 0.5)
    assert loss.codes.nnz > codes.nnz
    assert torch.allclose(loss.codes.to_dense(), codes.to_dense().detach())


def test_zeros_are_left_out_row_by_row() -> None:
    z = torch.tensor([[0.0, 2.0, 3.0], [4.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    codes = SparseCodes.from_dense(z)
    assert without_zeros(codes) is codes
    values = (codes.values * torch.tensor([1.0, 0.0, 0.0, 1.0])).requires_grad_()
    kept = without_zeros(codes.with_values(values))
    assert kept.to_dense().tolist() == [[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 5.0]]
    assert kept.l0.tolist() == [1, 0, 1]
    kept.values.sum().backward()
    assert values.grad.tolist() == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.slow
def test_gates_do_not_shrink() -> None:
    """At a like L0 the output needs no stretching, where ReLU's does, and more is explained."""
    data = planted_dictionary(64, 32, 8192, 3, noise=0.02, seed=0)
    config = TrainConfig(steps=400, batch_size=512)
    stretch, explained, l0 = {}, {}, {}
    for kind in (Gated, ReLU):
        sae = kind(32, 64, l0=4.0, generator=torch.Generator().manual_seed(0))
        train(sae, data.x[:6144], config, progress=False)
        test = data.x[6144:]
        codes = sae.encode(test).detach()
        x, x_hat = (y - test.mean(dim=0) for y in (test, sae.decode(codes).detach()))
        stretch[kind] = float((x * x_hat).sum() / x_hat.square().sum())
        explained[kind] = 1 - float((x - x_hat).square().sum() / x.square().sum())
        l0[kind] = codes.nnz / len(test)
    assert l0[Gated] == pytest.approx(4, rel=0.25)
    assert abs(stretch[Gated] - 1) <= 0.03
    assert stretch[ReLU] >= 1.08
    assert explained[Gated] > explained[ReLU]
