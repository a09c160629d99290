"""Promises of the wavelet score: an orthonormal basis, Wiener's filter, Stein's identity, gates that shrink."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import WaveletScore, wavelet_score

SIGMA = 0.3


def edges(n: int = 200, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    at, height = torch.rand(2, n, 1, generator=generator)
    return (torch.linspace(0, 1, 16) > at).float()[:, None].expand(n, 16, 16) * (
        1 + height[:, None]
    )


def noisy(x: Tensor, seed: int = 7) -> Tensor:
    return x + SIGMA * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def gated() -> WaveletScore:
    return wavelet_score(edges(), SIGMA)


def test_gaussian_patches_get_their_score() -> None:
    """Of white Gaussian patches the score is −y / (v + σ²), and gates add nothing."""
    generator = torch.Generator().manual_seed(0)
    x = 0.5 * torch.randn(2000, 8, 8, generator=generator, dtype=torch.float64)
    for gates in ("linear", "self"):
        fitted = wavelet_score(x, SIGMA, gates=gates)
        y = noisy(x[:50])
        off = fitted.score(y) + y / (0.25 + SIGMA**2)
        assert off.square().mean().sqrt() < 0.1
        error = float((fitted.denoise(y) - x[:50]).square().mean())
        assert error == pytest.approx(0.25 * SIGMA**2 / (0.25 + SIGMA**2), rel=0.1)


def test_a_linear_score_is_the_wiener_filter() -> None:
    """Its weight is −1 / variance of the noisy coefficients, in every band."""
    fitted = wavelet_score(edges(), SIGMA, gates="linear", levels=1)
    from_one, two = fitted.weights["vertical 1"].tolist()
    shrunk = fitted.shrinkage(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    variance = fitted.moments.loc[1, "variance"]  # over three bands, of which one has edges
    assert shrunk[1] - shrunk[0] == pytest.approx(1 + SIGMA**2 * two)
    assert -two == pytest.approx(1 / (3 * variance + SIGMA**2), rel=0.05)
    assert abs(from_one) < 0.5


@pytest.mark.slow
def test_weights_have_the_least_error_of_all(gated: WaveletScore) -> None:
    """Stein: weights found without clean data are those of least squares on them; others denoise worse."""
    x = edges(2000, seed=3)
    fitted = wavelet_score(x, SIGMA, gates="self")
    y = noisy(x)
    best = float((fitted.denoise(y) - x).square().mean())
    for factor in (0.8, 1.2):
        worse = WaveletScore(
            sigma=SIGMA,
            gates="self",
            levels=3,
            moments=fitted.moments,
            weights={name: factor * c for name, c in fitted.weights.items()},
        )
        assert float((worse.denoise(y) - x).square().mean()) > best
    assert gated.sigma == SIGMA


def test_gates_denoise_what_is_sparse() -> None:
    """On other patches with edges, each set of features is better than the one before."""
    x = edges(400, seed=5)
    errors = [
        float((wavelet_score(edges(1000), SIGMA, gates=g).denoise(noisy(x)) - x).square().mean())
        for g in ("linear", "self", "neighbours")
    ]
    assert errors[1] < 0.8 * errors[0]
    assert errors[2] < errors[1]


def test_moments_are_of_the_clean_patches(gated: WaveletScore) -> None:
    assert gated.moments.index.tolist() == [1, 2, 3]
    assert gated.moments["kurtosis"].iloc[0] > 8
    assert gated.moments["variance"].is_monotonic_increasing
