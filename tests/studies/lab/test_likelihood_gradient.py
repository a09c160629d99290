"""Promises of the likelihood's gradient: exact by calculus, and reached by steps that stop early."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import likelihood_gradient

NOISE = 0.3


@pytest.fixture(scope="module")
def model() -> tuple[Tensor, Tensor, Tensor]:
    """Rows of a factor model, a dictionary that is not its own, and precisions."""
    generator = torch.Generator().manual_seed(0)
    true, other = (torch.randn(8, 20, generator=generator).double() / 3 for _ in range(2))
    x = torch.randn(50, 8, generator=generator).double() @ true
    x = x + NOISE * torch.randn(50, 20, generator=generator)
    return x, other, torch.linspace(0.5, 2, 8).double()


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def test_exact_gradient_is_that_of_the_likelihood(model: tuple[Tensor, Tensor, Tensor]) -> None:
    """By finite differences of −log N(x; 0, Dᵀ diag(1/α) D + σ²)."""
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


@pytest.mark.parametrize("how", ["network", "output"])
def test_solved_systems_give_the_gradient(model: tuple[Tensor, Tensor, Tensor], how: str) -> None:
    """With steps enough both are the gradient, up to the draws of the samples."""
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


def test_a_step_downhill_raises_the_likelihood(model: tuple[Tensor, Tensor, Tensor]) -> None:
    """Twenty small steps along it, and the exact gradient gets smaller."""
    x, dictionary, _ = model
    first = float(likelihood_gradient(x, dictionary, noise=NOISE, how="exact").norm())
    for step in range(20):
        dictionary = dictionary - 0.005 * likelihood_gradient(
            x, dictionary, noise=NOISE, n_steps=6, seed=step
        )
    last = float(likelihood_gradient(x, dictionary, noise=NOISE, how="exact").norm())
    assert last < 0.8 * first


def test_what_is_out_of_range_is_refused(model: tuple[Tensor, Tensor, Tensor]) -> None:
    """Noise, precisions, and a graph that would not fit."""
    x, dictionary, alpha = model
    with pytest.raises(ValueError, match="`noise` must be above 0"):
        likelihood_gradient(x, dictionary, noise=0.0)
    with pytest.raises(ValueError, match="`precision` must be above 0"):
        likelihood_gradient(x, dictionary, noise=1.0, precision=-alpha)
    with pytest.raises(ValueError, match="`precision`"):
        likelihood_gradient(x, dictionary, noise=1.0, precision=alpha[:3])
    with pytest.raises(MemoryError, match="fewer rows"):
        likelihood_gradient(x, dictionary, noise=1.0, n_steps=10**6, n_samples=10**4)
