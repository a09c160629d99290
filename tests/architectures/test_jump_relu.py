"""JumpReLU: thresholds by atom, their pseudo-derivatives, and a target for L0."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import JumpReLU
from sae_nb.architectures._jump_relu import jump, step
from sae_nb.data import planted_dictionary
from sae_nb.training import TrainConfig, train


def jump_relu(l0: float | None = 3, seed: int = 0, **settings: Any) -> JumpReLU:
    return JumpReLU(16, 40, l0, generator=torch.Generator().manual_seed(seed), **settings)


def dense_loss(sae: JumpReLU, x: Tensor) -> Tensor:
    """The loss with dense codes; pseudo-derivatives written as the paper's closed form.

    A function whose value is z and whose derivative is the pseudo-derivative: the true value, plus a
    linear term in what should move that is zero here.
    """
    u = sae.encoder(x - sae.bias, sae.scaling.scale)
    theta = sae.thresholds
    epsilon = sae.bandwidth * theta.detach()
    near = ((u - theta).abs() < epsilon / 2).to(u.dtype).detach()
    above = (u > theta).to(u.dtype).detach()
    moved = theta - theta.detach()
    z = u * above - theta.detach() / epsilon * near * moved
    active = above - near / epsilon * moved
    x_hat = z @ sae.operator.weight + sae.bias
    share = (x - x_hat).square().sum() / (len(x) * sae.scaling.variance)
    return share + sae.sparsity * (active.sum() / len(x) / sae.l0 - 1).square()


@pytest.mark.parametrize("bandwidth", [0.1, 0.5, 1.9])
def test_sparse_gradients_equal_the_closed_form(rows: Tensor, bandwidth: float) -> None:
    """Every parameter, thresholds included, against dense autograd in float64."""
    sae = jump_relu(bandwidth=bandwidth, sparsity=0.7).double()
    sae.initialise(rows.double(), None)
    with torch.no_grad():
        sae.log_threshold.add_(0.3 * torch.randn(40, generator=torch.Generator().manual_seed(2)))
    loss = sae.training_loss(rows.double(), torch.zeros(40, dtype=torch.long), 1, 0.5)
    reference = dense_loss(sae, rows.double())
    assert loss.total.item() == pytest.approx(reference.item())
    parameters = list(sae.parameters())
    ours = torch.autograd.grad(loss.total, parameters)
    theirs = torch.autograd.grad(reference, parameters)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=1e-6, atol=1e-9)
    assert bool((ours[-1] != 0).any())


def test_only_the_window_and_what_is_above_it_is_stored(rows: Tensor) -> None:
    sae = jump_relu()
    sae.initialise(rows, None)
    candidates = sae._candidates(rows)
    u = sae.encoder(rows - sae.bias, sae.scaling.scale)
    floor = 0.75 * sae.thresholds
    # Rounding decides for the pre-codes, of a few units, that lie as near as this.
    least, most = (int((u > floor + near).sum()) for near in (1e-5, -1e-5))
    assert least <= candidates.nnz <= most < 0.3 * u.numel()
    loss = sae.training_loss(rows, torch.zeros(40, dtype=torch.long), 1, 0.5)
    torch.testing.assert_close(loss.codes.to_dense(), sae.encode(rows).to_dense())
    assert bool((sae.encode(rows).values != 0).all())


@pytest.mark.parametrize(("u", "slope"), [(0.7, 0.0), (0.9, 1.0), (1.1, 1.0), (1.3, 0.0)])
def test_the_window_is_half_a_bandwidth_to_either_side(u: float, slope: float) -> None:
    """∂z/∂θ = −θ/ε and ∂H/∂θ = −1/ε inside it; ∂z/∂u = H, ∂H/∂u = 0."""
    value, theta = (torch.tensor([v], requires_grad=True) for v in (u * 3.0, 3.0))
    z = jump(value, theta, 0.4)
    grad_u, grad_theta = torch.autograd.grad(z, (value, theta))
    assert z.item() == pytest.approx(u * 3.0 * (u > 1))
    assert grad_u.item() == float(u > 1)
    assert grad_theta.item() == pytest.approx(-slope / 0.4)
    h = step(value, theta, 0.4)
    assert h.item() == float(u > 1)
    grad_u, grad_theta = torch.autograd.grad(h, (value, theta), allow_unused=True)
    assert grad_u is None
    assert grad_theta.item() == pytest.approx(-slope / (0.4 * 3.0))


def test_the_first_codes_have_the_target_l0(rows: Tensor) -> None:
    """Thresholds start where the first activations have so many entries; by default 20 at most."""
    sae = jump_relu(2.5)
    sae.initialise(rows, None)
    assert sae.encode(rows).nnz / len(rows) == pytest.approx(2.5, rel=0.01)
    assert jump_relu(None).l0 == 10
    assert JumpReLU(16, 400).l0 == 20


def test_a_threshold_can_move_either_way(rows: Tensor) -> None:
    sae, silent = jump_relu(), torch.zeros(40, dtype=torch.long)
    sae.initialise(rows, None)
    for l0, sign in ((1.0, -1), (9.0, 1)):
        sae.l0, sae.sparsity = l0, 100.0
        sae.zero_grad()
        sae.training_loss(rows, silent, 1, 0.5).total.backward()
        assert float(sae.log_threshold.grad.mean()) * sign > 0


@pytest.mark.slow
@pytest.mark.parametrize("l0", [2.0, 4.0])
def test_the_target_is_met_and_the_atoms_are_found(l0: float) -> None:
    """L0 within a fifth on held-out data that use 3, planted atoms matched."""
    data = planted_dictionary(64, 32, 8192, 3, noise=0.02, seed=0)
    sae = JumpReLU(32, 64, l0, generator=torch.Generator().manual_seed(0))
    train(sae, data.x[:6144], TrainConfig(steps=400, batch_size=512), progress=False)
    test = data.x[6144:]
    assert sae.encode(test).nnz / len(test) == pytest.approx(l0, rel=0.2)
    cosine = (data.dictionary @ sae.dictionary.T).amax(dim=1).mean()
    assert float(cosine) >= 0.93
