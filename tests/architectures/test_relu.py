"""ReLU with an ℓ1 price: what it keeps, what it costs, and how the price finds a target."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import ReLU
from sae_nb.architectures._sparsity import Adaptive
from sae_nb.codes import SparseCodes
from sae_nb.data import planted_dictionary
from sae_nb.training import TrainConfig, train


def relu(seed: int = 0, **settings: Any) -> ReLU:
    return ReLU(16, 40, generator=torch.Generator().manual_seed(seed), **settings)


def dense_loss(sae: ReLU, x: Tensor) -> Tensor:
    """‖x − x̂‖² + λ' Σ_j z_j ‖d_j‖ by dense autograd, on inputs scaled to length √d."""
    scaled = (x - sae.scaling.mean) * sae.scaling.scale
    z = ((scaled - sae.pre_bias) @ sae.encoder.weight.T + sae.encoder.bias).relu()
    d = sae.d_in
    x_hat = z @ sae.operator.weight + sae.pre_bias
    price = sae.sparsity * d**0.5 * (z * sae.operator.weight.norm(dim=1)).sum(dim=1)
    return ((scaled - x_hat).square().sum(dim=1) + price).mean() / d


def test_the_loss_is_the_april_recipes(rows: Tensor) -> None:
    sae = relu(sparsity=0.3).double()
    sae.operator.project_()  # unit norm in double
    sae.initialise(rows.double(), None)
    loss = sae.training_loss(rows.double(), torch.zeros(40, dtype=torch.long), 1, 0.5)
    parameters = [sae.operator.weight, sae.pre_bias, sae.encoder.weight, sae.encoder.bias]
    ours = torch.autograd.grad(loss.total, parameters)
    reference = dense_loss(sae, rows.double())
    theirs = torch.autograd.grad(reference, parameters)
    assert loss.total.item() == pytest.approx(reference.item())
    # The norm of an atom is fixed, so only the part of its gradient along the sphere counts.
    atoms = sae.dictionary
    along = [(g * atoms).sum(dim=1, keepdim=True) * atoms for g in (ours[0], theirs[0])]
    assert torch.allclose(ours[0] - along[0], theirs[0] - along[1], atol=1e-12)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert torch.allclose(mine, other, atol=1e-12)


def test_the_price_sets_in_over_the_first_twentieth(rows: Tensor) -> None:
    sae, silent = relu(sparsity=0.3), torch.zeros(40, dtype=torch.long)
    sae.initialise(rows, None)
    added = []
    for fraction in (0.0, 0.025, 0.05, 1.0):
        loss = sae.training_loss(rows, silent, 1, fraction)
        added.append((loss.total - loss.parts["reconstruction"]).item() / loss.parts["l1"].item())
    assert added == pytest.approx([0.0, 0.15, 0.3, 0.3], abs=1e-5)
    loss = sae.eval().training_loss(rows, silent, 1, 1.0)
    price = (loss.total - loss.parts["reconstruction"]).item()
    assert price == pytest.approx(0.3 * loss.parts["l1"].item(), abs=1e-5)


def test_the_price_rises_until_the_target_is_met() -> None:
    """By a hundredth a step far away, less near the target, and not at all without one."""
    many = SparseCodes.from_dense(torch.ones(4, 10))
    exact, few = (SparseCodes.from_dense(torch.eye(10)[:4] * v) for v in (1.0, 0.0))
    price = Adaptive(1.0)
    assert float(price(many, 4)) == pytest.approx(1.01, rel=1e-3)
    before = float(price.price)
    assert float(price(exact, 4)) == pytest.approx(before)
    assert float(price(few, 4)) < before
    assert float(Adaptive(None)(many, 4)) == 1


@pytest.mark.slow
def test_a_larger_price_means_fewer_atoms_and_more_shrinkage() -> None:
    """L0 falls with λ; the output is too short by more; a target L0 is met."""
    data = planted_dictionary(64, 32, 8192, 3, noise=0.02, seed=0)
    config = TrainConfig(steps=300, batch_size=512)
    l0, stretch = [], []
    for settings in ({"sparsity": 0.05}, {"sparsity": 0.15}, {"sparsity": 0.4}, {"l0": 4.0}):
        sae = ReLU(32, 64, generator=torch.Generator().manual_seed(0), **settings)
        train(sae, data.x, config, progress=False)
        codes = sae.encode(data.x).detach()
        centre = data.x.mean(dim=0)
        x, x_hat = data.x - centre, sae.decode(codes).detach() - centre
        l0.append(codes.nnz / len(x))
        stretch.append(float((x * x_hat).sum() / x_hat.square().sum()))
    assert l0[0] > l0[1] > l0[2]
    assert 1 < stretch[0] < stretch[1] < stretch[2]
    assert l0[3] == pytest.approx(4, rel=0.25)
