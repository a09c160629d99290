"""Promises of the parity posterior: enumeration, products, and numbers that stay finite."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import parity_posterior


def even(n_bits: int) -> Tensor:
    bits = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n_bits)), dtype=torch.float64)
    return bits[bits.prod(dim=1) > 0]


def draws(n: int, n_bits: int, sigma: float) -> Tensor:
    generator = torch.Generator().manual_seed(n_bits)
    clean = even(n_bits)[torch.randint(len(even(n_bits)), (n,), generator=generator)]
    return clean + sigma * torch.randn(clean.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("n_bits", [2, 3, 8])
@pytest.mark.parametrize("sigma", [0.2, 1.0, 3.0])
def test_mean_is_that_of_enumeration(n_bits: int, sigma: float) -> None:
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


def test_little_noise_is_no_division_by_zero() -> None:
    found = parity_posterior(torch.tensor([[1.0, 1.0, -0.5], [1.0, 1.0, 1.0]]), 1e-3)
    assert torch.isfinite(found.mean).all()
    assert found.mean.round().tolist() == [[1, 1, 1], [1, 1, 1]]
