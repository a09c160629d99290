"""Promises of the parity posterior: enumeration, products, and numbers that stay finite."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import parity_posterior
from tests.refusing import refused


def even(n_bits: int) -> Tensor:
    """All bits with an even number of −1."""
    bits = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n_bits)), dtype=torch.float64)
    return bits[bits.prod(dim=1) > 0]


def draws(n: int, n_bits: int, sigma: float) -> Tensor:
    """Noisy even bits."""
    generator = torch.Generator().manual_seed(n_bits)
    clean = even(n_bits)[torch.randint(len(even(n_bits)), (n,), generator=generator)]
    return clean + sigma * torch.randn(clean.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("n_bits", range(2, 9))
@pytest.mark.parametrize("sigma", [0.2, 1.0, 3.0])
def test_mean_is_that_of_enumeration(n_bits: int, sigma: float) -> None:
    """Of all even groups, weighed by how likely they make the noisy bits."""
    y = draws(40, n_bits, sigma)
    weights = (-(y[:, None] - even(n_bits)).square().sum(dim=2) / (2 * sigma**2)).softmax(dim=1)
    assert torch.allclose(
        parity_posterior(y, sigma).mean, weights @ even(n_bits), atol=1e-9, rtol=0
    )


def test_product_is_that_of_the_others() -> None:
    """t without the bit itself; and the mean is (t + q) / (1 + t q)."""
    found = parity_posterior(draws(20, 5, 1.0), 1.0)
    for i in range(5):
        others = found.alone[:, [j for j in range(5) if j != i]].prod(dim=1)
        assert torch.allclose(found.product[:, i], others, atol=1e-12)
    t, q = found.alone, found.product
    assert torch.allclose(found.mean, (t + q) / (1 + t * q), atol=1e-10)


def test_product_vanishes_with_the_number_of_bits() -> None:
    """On average over noisy bits, at every noise."""
    for sigma in (1.0, 1.5):
        sizes = [
            float(parity_posterior(draws(400, g, sigma), sigma).product.abs().mean())
            for g in (2, 4, 6, 8)
        ]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[-1] < 0.2 * sizes[0]


def test_little_noise_is_no_division_by_zero() -> None:
    """Where the bits contradict the rule, the weakest one gives way."""
    found = parity_posterior(torch.tensor([[1.0, 1.0, -0.5], [1.0, 1.0, 1.0]]), 1e-3)
    assert torch.isfinite(found.mean).all()
    assert found.mean.round().tolist() == [[1, 1, 1], [1, 1, 1]]


def test_figure_is_the_rule_against_without() -> None:
    """One dot a bit."""
    found = parity_posterior(draws(10, 3, 1.0), 1.0)
    assert len(found.figure().data[0].x) == 30


def test_wrong_values_are_refused() -> None:
    """A bit alone, and integers."""
    refused("two bits", parity_posterior, torch.ones(3, 1), 1.0)
    refused("float", parity_posterior, torch.ones(3, 2, dtype=torch.long), 1.0, error=TypeError)
