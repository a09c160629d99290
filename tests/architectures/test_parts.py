"""The parts architectures choose from: operators, proxes, solvers, first looks at data."""

from __future__ import annotations

import math

import pytest
import torch

from sae_nb.architectures import DenseOperator, TopKProx, ista_step
from sae_nb.architectures._one_step import best_gain
from sae_nb.architectures._recipe import TrainingDefaults, geometric_median
from sae_nb.architectures.parts._operators import LearnedAdjoint, random_unit_rows


def test_random_directions_are_uniform() -> None:
    """Unit norm and no preferred side: the mean of 4000 is within four standard errors of 0."""
    rows = random_unit_rows(4000, 5, torch.Generator().manual_seed(0))
    assert torch.allclose(rows.norm(dim=1), torch.ones(4000))
    assert float(rows.mean(dim=0).abs().max()) < 4 / math.sqrt(5 * 4000)


def test_one_ista_step_with_the_tied_adjoint_is_the_prox_of_correlations() -> None:
    """From z = 0 with step 1: prox(Aᵀ(x − b)); the two faces of a prox agree."""
    operator = DenseOperator(9, 30)
    encoder, prox = LearnedAdjoint(operator), TopKProx(4)
    x, centre = torch.randn(20, 9), torch.randn(9)
    codes = ista_step(x, encoder, prox, centre=centre, scale=torch.ones(()))
    by_hand = prox(operator.adjoint(x - centre))
    assert torch.allclose(codes.to_dense(), by_hand.to_dense(), atol=1e-5)
    with torch.no_grad():
        encoder.bias.fill_(3)
    torch.testing.assert_close(encoder(x), x @ encoder.weight.T + 3)
    torch.testing.assert_close(encoder(x, 2.0), x @ encoder.weight.T + 1.5)


def test_the_geometric_median_minimises_distances() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(501, 4, generator=generator)
    x[:50] += 1000
    median = geometric_median(x.double()).float()

    def cost(point: torch.Tensor) -> float:
        return float((x - point).norm(dim=1).sum())

    for direction in torch.randn(20, 4, generator=generator):
        assert cost(median + 0.01 * direction) > cost(median) - 1e-2
    assert float(median.norm()) < 0.6
    assert float(x.mean(dim=0).norm()) > 100


def test_a_median_on_a_row_is_found() -> None:
    x = torch.cat([torch.ones(6, 3), torch.randn(5, 3)])
    assert torch.allclose(geometric_median(x), torch.ones(3), atol=1e-3)
    assert torch.allclose(geometric_median(torch.full((4, 2), 3.0)), torch.full((2,), 3.0))


def test_warm_up_is_a_share_of_the_run_with_a_ceiling() -> None:
    assert TrainingDefaults(learning_rate=1e-3).warmup_steps(400) == 20
    assert TrainingDefaults(learning_rate=1e-3).warmup_steps(10**6) == 1000


def test_the_gain_is_least_squares() -> None:
    """Of a reconstruction that is twice too long; 1 where there is nothing to go by."""
    x = torch.randn(10, 3)
    assert best_gain(x, 2 * x) == pytest.approx(0.5)
    assert best_gain(x, torch.zeros(10, 3)) == 1
    assert best_gain(x, -x) == 1
