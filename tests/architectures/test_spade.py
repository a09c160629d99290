"""SpaDE: memberships on the simplex, one step of K-Deep Simplex, regions that linear encoders cannot draw."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import FixedOperator, SimplexProx, SpaDE, ista


def spade(d_in: int = 6, n_atoms: int = 20, seed: int = 0, **settings: Any) -> SpaDE:
    return SpaDE(d_in, n_atoms, generator=torch.Generator().manual_seed(seed), **settings)


def distances(sae: SpaDE, x: Tensor) -> Tensor:
    scaled = (x - sae.scaling.mean) * sae.scaling.scale
    return (scaled[:, None] - sae.prototypes).square().sum(dim=2)


@pytest.fixture
def x() -> Tensor:
    return 5 + 2 * torch.randn(80, 6, generator=torch.Generator().manual_seed(1))


def test_codes_are_the_sparsemax_of_distances(x: Tensor) -> None:
    """z = sparsemax(−λ‖x − a_j‖²), though no distance is ever computed that way."""
    sae = spade()
    for _ in range(2):
        direct = SimplexProx().dense(-sae.sharpness * distances(sae, x))
        assert torch.allclose(sae.encode(x).to_dense(), direct, atol=1e-5)
        sae.initialise(x, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("cost_weight", [0.3, 2.0])
def test_encoding_is_one_step_of_k_deep_simplex(cost_weight: float) -> None:
    """From zero, with step s and costs λ‖x − w_j‖², on atoms of equal norm: sharpness (1 + 2λ)s / 2."""
    generator = torch.Generator().manual_seed(2)
    atoms = torch.nn.functional.normalize(torch.randn(20, 6, generator=generator), dim=1).double()
    x = torch.randn(30, 6, generator=generator).double()
    operator = FixedOperator(atoms)
    cost = cost_weight * (x[:, None] - atoms).square().sum(dim=2)
    step = ista(operator, x, SimplexProx(cost), n_steps=1)
    sae = spade().double()
    with torch.no_grad():
        sae.prototypes.copy_(atoms)
        sharpness = (1 + 2 * cost_weight) / operator.lipschitz() / 2
        sae.log_sharpness.fill_(torch.tensor(sharpness).double().expm1().log())
    assert torch.allclose(sae.encode(x).to_dense(), step.to_dense(), atol=1e-7)


def test_the_loss_is_what_it_says(x: Tensor) -> None:
    """Share of variance unexplained plus γ times mean membership-weighted squared distance."""
    sae = spade(sparsity=0.5)
    sae.initialise(x, torch.Generator().manual_seed(0))
    loss = sae.training_loss(x, torch.zeros(20, dtype=torch.int64), 100, 0.0)
    z = sae.encode(x).to_dense()
    reconstruction = (x - sae(x)).square().sum() / (80 * sae.scaling.variance)
    distance = (z * distances(sae, x)).sum() / (80 * 6)
    assert torch.allclose(loss.parts["reconstruction"], reconstruction, rtol=1e-4)
    assert torch.allclose(loss.parts["distance"], distance, rtol=1e-4)
    assert torch.allclose(loss.total, reconstruction + 0.5 * distance, rtol=1e-4)


def test_gradients_are_those_of_the_dense_formula(x: Tensor) -> None:
    """Sparse backward against autograd through the direct formula, in float64, for every parameter."""
    sae = spade(sparsity=0.3).double()
    x = x.double()
    sae.initialise(x, torch.Generator().manual_seed(0))
    silent = torch.zeros(20, dtype=torch.int64)
    ours = torch.autograd.grad(sae.training_loss(x, silent, 100, 0.0).total, list(sae.parameters()))
    d = distances(sae, x)
    z = SimplexProx().dense(-sae.sharpness * d)
    x_hat = sae.scaling.mean + z @ sae.operator.weight / sae.scaling.scale
    total = (x - x_hat).square().sum() / (80 * sae.scaling.variance) + 0.3 * (z * d).sum() / 480
    theirs = torch.autograd.grad(total, list(sae.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_it_starts_as_training_points(x: Tensor) -> None:
    """Prototypes and atoms are rows of the data, all different while there are enough."""
    sae = spade()
    sae.initialise(x, torch.Generator().manual_seed(0))
    points = sae.dictionary + sae.bias
    nearest = (points[:, None] - x).norm(dim=2)
    assert float(nearest.min(dim=1).values.max()) < 1e-4
    assert len(set(nearest.argmin(dim=1).tolist())) == 20
    few = spade()
    few.initialise(x[:7], torch.Generator().manual_seed(0))
    nearest = ((few.dictionary + few.bias)[:, None] - x[:7]).norm(dim=2)
    assert float(nearest.min(dim=1).values.max()) < 1e-4


@pytest.mark.slow
def test_a_cluster_within_others_gets_latents_of_its_own() -> None:
    """Six Gaussians, every other one nearer the middle: each is covered by atoms that fire there alone."""
    data = sn.data.six_gaussians(2000, seed=0)
    sae = spade(2, 64, sparsity=1e-3)
    sn.train(sae, data.x, sn.TrainConfig(steps=150, batch_size=512, seed=0), progress=False)
    z = sae.encode(data.x).detach().to_dense()
    members = torch.nn.functional.one_hot(data.concept, 6).float()
    used = z.T @ members
    purity = used.max(dim=1).values.sum() / used.sum()
    assert float(purity) > 0.8  # .90 ± .02 of three seeds
    assert set(used.argmax(dim=1).tolist()) == set(range(6))


def test_sparsity_may_change_while_it_trains() -> None:
    sae = spade()
    config = sn.TrainConfig(steps=2, sparsity=0.25)
    sn.train(sae, torch.randn(50, 6), config, progress=False)
    assert sae.sparsity == 0.25
