"""PolySAE: products of strengths in the decoder, their gradients, and the pairs that it names."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import TopK
from sae_nb.training import TrainConfig, train
from sae_nb_studies.architectures import PolySAE
from sae_nb_studies.architectures._poly import orthonormal, strongest_pairs


def poly(d_in: int = 12, n_atoms: int = 30, k: int = 4, **settings: Any) -> PolySAE:
    sae = PolySAE(d_in, n_atoms, k, generator=torch.Generator().manual_seed(0), **settings)
    generator = torch.Generator().manual_seed(1)
    for part in (sae.squares, sae.cubes):
        part.data.copy_(torch.randn(part.shape, generator=generator))
    return sae


@pytest.fixture
def x() -> Tensor:
    return 5 + 2 * torch.randn(200, 12, generator=torch.Generator().manual_seed(1))


def by_hand(sae: PolySAE, z: Tensor) -> Tensor:
    length = sae.scaling.variance.sqrt()
    a = z @ sae.mixing / length
    products = length * (a**2 @ sae.squares + a**3 @ sae.cubes)
    return z @ sae.operator.weight + sae.bias + products


def test_the_loss_and_its_gradients_are_those_of_the_definition(x: Tensor) -> None:
    sae = poly(rank=5).double()
    x = x.double()
    sae.initialise(x, None)
    loss = sae.training_loss(x, torch.zeros(30, dtype=torch.long), 1, 0.5)
    loss.total.backward()
    ours = {name: p.grad.clone() for name, p in sae.named_parameters()}
    sae.zero_grad()
    u = (x - sae.bias) @ sae.encoder.weight.T + sae.encoder.bias / sae.scaling.scale
    values, atoms = u.topk(4, dim=1)
    x_hat = by_hand(sae, torch.zeros_like(u).scatter(1, atoms, values.relu()))
    total = (x - x_hat).square().sum() / (len(x) * sae.scaling.variance)
    total.backward()
    assert float(loss.total.detach()) == pytest.approx(float(total.detach()), rel=1e-10)
    assert torch.allclose(loss.x_hat, x_hat, rtol=1e-10, atol=1e-10)
    for name, parameter in sae.named_parameters():
        assert torch.allclose(ours[name], parameter.grad, rtol=1e-8, atol=1e-10), name


def test_without_products_it_is_its_host(x: Tensor) -> None:
    """The same codes and the same reconstruction as a TopK that starts at the same atoms."""
    sae = poly()
    for part in (sae.squares, sae.cubes):
        part.data.zero_()
    host = TopK(12, 30, 4, generator=torch.Generator().manual_seed(0))
    for one in (sae, host):
        one.initialise(x, None)
    assert torch.equal(sae.encode(x).to_dense(), host.encode(x).to_dense())
    assert torch.equal(sae(x), host(x))


def test_what_a_pair_adds_is_what_its_score_says(x: Tensor) -> None:
    sae = poly(rank=3)
    sae.initialise(x, None)
    sae.cubes.data.zero_()
    length = float(sae.scaling.variance.sqrt())
    table = sae.interactions(5)
    assert table.score.is_monotonic_decreasing
    assert bool((table.atom < table.other).all())
    for atom, other, score in table.itertuples(index=False):
        z = torch.zeros(3, 30)
        z[0, atom] = z[1, other] = z[2, atom] = z[2, other] = length
        one, two, both = by_hand(sae, z).detach()
        added = (both - one - two + sae.bias.detach()).norm() / length
        assert float(added) == pytest.approx(score, rel=1e-3)


@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_the_strongest_pairs_are_the_strongest_of_all(spread: float) -> None:
    """Those that are never computed cannot be among them, whether rows of U are alike or not."""
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(40, 6, generator=generator)
    rows *= (spread * torch.randn(40, 1, generator=generator)).exp()
    squares = torch.randn(6, 4, generator=generator)
    found = strongest_pairs(rows, squares, 7)
    scores = {
        (i, j): float(((rows[i] * rows[j]) @ squares).norm()) for i, j in combinations(range(40), 2)
    }
    expected = sorted(scores, key=scores.__getitem__, reverse=True)[:7]
    assert list(zip(found[0].tolist(), found[1].tolist(), strict=True)) == expected
    assert found[2].tolist() == pytest.approx([scores[pair] for pair in expected], rel=1e-4)
    assert len(strongest_pairs(rows, squares, 10_000)[0]) == len(scores)


def test_a_step_keeps_the_columns_orthonormal(x: Tensor) -> None:
    """UᵀU = 1 after training; and columns that were orthonormal are not turned."""
    sae = poly()
    train(sae, x, TrainConfig(steps=10, batch_size=50), progress=False)
    u = sae.mixing.detach()
    assert torch.allclose(u.T @ u, torch.eye(u.shape[1]), atol=1e-5)
    assert torch.allclose(orthonormal(u), u, atol=1e-5)


def test_a_resampled_atom_takes_part_in_no_product(x: Tensor) -> None:
    sae = poly(revival="resample", rank=5)
    sae.initialise(x, None)
    silent = torch.zeros(30, dtype=torch.long)
    silent[4] = 200
    sae.training_loss(x, silent, 100, 0.1)
    sae.after_optimiser_step()
    assert sae.resampled.tolist() == [4]
    assert float(sae.mixing[4].detach().norm()) < 1e-6
