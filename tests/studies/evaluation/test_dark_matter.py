"""Dark matter: shares add up, shrinkage is not structure, and noise is not predicted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.report._measurement import Resampling
from sae_nb_studies.evaluation import split_error
from sae_nb_studies.evaluation.dark_matter._dark_matter import (
    RIDGES,
    GramSums,
    Norms,
    fit_linear,
    fit_ridge,
    predict_norms,
)

D_IN = 8


class _Made:
    """An SAE of known error: x̂ = `made`(x), its code x itself."""

    d_in = n_atoms = D_IN
    dictionary = torch.eye(D_IN)

    def __init__(self, made) -> None:
        self.made = made

    def encode(self, x: torch.Tensor) -> SparseCodes:
        return SparseCodes.from_dense(x)

    def decode(self, codes: SparseCodes) -> torch.Tensor:
        return self.made(codes.to_dense())


def _x(n: int = 2000, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(seed))


def _split(made, n: int = 2000, **options):
    return split_error(_Made(made), _x(n), n_bootstrap=100, **options)


@pytest.mark.slow
def test_shrinkage_alone_is_refitted_and_leaves_no_structure() -> None:
    """x̂ = s x makes e = (1 − s)x, linear in x; the gain wins all of it back first."""
    split = _split(lambda x: 0.6 * x)
    assert split.gain == pytest.approx(1 / 0.6, rel=1e-4)
    assert split.shares["explained"].value == pytest.approx(1 - 0.4**2, abs=0.02)
    assert split.shares["shrinkage"].value == pytest.approx(0.4**2, abs=0.02)
    assert abs(split.shares["linear"].value) < 1e-6


def test_a_linear_error_is_all_linear() -> None:
    """Two of eight axes never come back: e = Bx exactly, a quarter of the variance."""
    mask = torch.tensor([1.0] * 6 + [0.0] * 2)
    split = _split(lambda x: x * mask)
    assert split.value == pytest.approx(1, abs=1e-6)
    assert split.shares["linear"].value + split.shares["shrinkage"].value == pytest.approx(
        0.25, abs=0.02
    )
    assert split.floor < 0.05


def test_independent_noise_is_the_rest() -> None:
    generator = torch.Generator().manual_seed(5)
    split = _split(lambda x: x + torch.randn(x.shape, generator=generator), n=4000)
    assert split.gain == 1
    assert abs(split.value) < 0.02
    assert abs(split.shares["nonlinear"].value) < 0.02
    assert split.shares["rest"].value == pytest.approx(1, abs=0.1)


def test_a_quadratic_error_is_nonlinear_and_not_linear() -> None:
    split = _split(lambda x: x - 0.5 * (x.roll(1, dims=1) ** 2 - 1), n=6000)
    assert abs(split.value) < 0.05
    assert split.shares["nonlinear"].value > 5 * abs(split.shares["linear"].value)
    assert split.shares["nonlinear"].value > split.shares["rest"].value


def test_few_rows_take_ridge_and_say_so_and_fewer_are_refused() -> None:
    """10 rows per dimension or more: least squares; 2 to 10: ridge; below 2: named error."""
    made = _Made(lambda x: x * 0.5 + x.roll(1, dims=1) * 0.1)
    assert split_error(made, _x(400), n_bootstrap=0).ridge == 0
    few = split_error(made, _x(80), n_bootstrap=0)
    assert few.ridge in RIDGES
    assert "ridge" in few.guard
    with pytest.raises(ValueError, match="at least 2 training rows per dimension, 16 for d_in=8"):
        split_error(made, _x(20), n_bootstrap=0)


def test_samples_never_stand_on_both_sides() -> None:
    """With every sample twice, held-out rows are of other samples than the training rows."""
    x = _x(800).repeat_interleave(2, dim=0)
    acts = sn.Activations.from_tensor(x, sample=torch.arange(800).repeat_interleave(2))
    split = split_error(_Made(lambda x: x * 0.5 + 0.1 * x.abs()), acts, n_bootstrap=0)
    assert split.n_train == split.n == 800


def test_gram_sums_agree_with_numpy() -> None:
    """As np.linalg.lstsq on centred rows; the chosen ridge errs least where it was chosen."""
    generator = np.random.default_rng(0)
    x, noise = generator.standard_normal((300, 6)), generator.standard_normal((300, 2))
    targets = x @ generator.standard_normal((6, 2)) + noise
    weights = np.linalg.lstsq(x - x.mean(0), targets - targets.mean(0), rcond=None)[0]
    np.testing.assert_allclose(fit_linear(x, targets).weights, weights, atol=1e-9)
    chosen = fit_ridge(x[:20], targets[:20], x[20:], targets[20:])
    errors = [
        ((targets[20:] - fit(x[20:])) ** 2).sum()
        for fit in GramSums.of(x[:20], targets[:20]).solve(RIDGES)
    ]
    assert RIDGES[int(np.argmin(errors))] == chosen.ridge


def test_the_norm_is_predicted_by_its_token_where_the_token_decides() -> None:
    """‖e‖² = 1 for one token and 3 for another: R² 1 by token, 0 by an unrelated x."""
    token = np.arange(400) % 2
    norms = 1.0 + 2 * token
    x = np.random.default_rng(0).standard_normal((400, 3))
    plain = {"token": token, "l0": np.ones(400)}
    found = predict_norms(
        Norms(norms, x, plain), Norms(norms, x, plain), np.arange(400), Resampling(50)
    )
    assert found.baselines["token"] == pytest.approx(1)
    assert found.floor == pytest.approx(1)
    assert found.value < 0.1


@pytest.mark.slow
def test_giving_parts_of_the_error_back_costs_less() -> None:
    """tiny-vit on held-out pictures: x̂ + linear + rest is x, each part alone lies below x̂'s cost."""
    torch.set_num_threads(1)
    model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    acts = sn.capture(model, sn.data.scenes(60, 9, "test").images, "resid_post.6", progress=False)
    split = split_error(sae, acts, model=model, n_bootstrap=50)
    costs = {name: cost.value for name, cost in split.downstream.items()}
    assert set(costs) == {"x_hat", "x_hat_and_linear", "x_hat_and_rest"}
    assert 0 <= costs["x_hat_and_rest"] < costs["x_hat"] < split.downstream["x_hat"].floor
    assert all(f"loss_{name}" in split.measurements for name in costs)
