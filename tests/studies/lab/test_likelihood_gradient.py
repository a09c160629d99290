"""Promises of the likelihood's gradient: exact by calculus, and reached by steps that stop early."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import likelihood_gradient

NOISE = 0.3


@pytest.fixture(scope="module")
def model() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    true, other = (torch.randn(8, 20, generator=generator).double() / 3 for _ in range(2))
    x = torch.randn(50, 8, generator=generator).double() @ true
    x = x + NOISE * torch.randn(50, 20, generator=generator)
    return x, other, torch.linspace(0.5, 2, 8).double()


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def test_exact_gradient_is_that_of_the_likelihood(model: tuple[Tensor, Tensor, Tensor]) -> None:
    x, dictionary, alpha = model

    def loss(at: Tensor) -> float:
        covariance = at.T @ (at / alpha[:, None]) + NOISE**2 * torch.eye(20)
        normal = torch.distributions.MultivariateNormal(torch.zeros(20).double(), covariance)
        return float(-normal.log_prob(x).mean())

    found = likelihood_gradient(x, dictionary, noise=NOISE, precision=alpha, how="exact")
    moved = torch.zeros_like(dictionary)
    moved[2, 5] = 1e-5
    slope = (loss(dictionary + moved) - loss(dictionary - moved)) / 2e-5
    assert float(found[2, 5]) == pytest.approx(slope, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["network", "output"])
def test_solved_systems_give_the_gradient(model: tuple[Tensor, Tensor, Tensor], how: str) -> None:
    x, dictionary, alpha = model
    options = {"noise": NOISE, "precision": alpha}
    exact = likelihood_gradient(x, dictionary, how="exact", **options)  # type: ignore[arg-type]
    found = likelihood_gradient(
        x,
        dictionary,
        how=how,
        n_steps=8,
        n_samples=400,
        **options,  # type: ignore[arg-type]
    )
    assert cosine(found, exact) > 0.999
    assert float(found.norm()) == pytest.approx(float(exact.norm()), rel=0.03)


def test_error_through_the_steps_is_the_square_of_theirs(
    model: tuple[Tensor, Tensor, Tensor],
) -> None:
    """On the same draws, what three steps miss of eight: far less through them than with them held fixed."""
    x, dictionary, _ = model
    missed = {}
    for how in ("network", "output"):
        short, whole = (
            likelihood_gradient(x, dictionary, noise=NOISE, how=how, n_steps=n)  # type: ignore[arg-type]
            for n in (4, 8)
        )
        missed[how] = float((short - whole).norm() / whole.norm())
    assert missed["network"] < 0.5 * missed["output"]
