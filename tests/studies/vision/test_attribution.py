"""Promises of attributions: each method gives what its definition says where that is known, and maps are compared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn

CELLS = torch.tensor([[4.0, 0.0], [0.0, -2.0]])
METHODS = ("sobol", "occlusion", "gradient", "integrated", "smooth")


class Weighted(nn.Module):
    """Two logits: a weighted sum of the mean brightness of four quarters, to some power, and its negative."""

    def __init__(self, cells: Tensor = CELLS, power: int = 1) -> None:
        super().__init__()
        self.cells, self.power = nn.Parameter(cells.clone()), power

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=1).unflatten(1, (2, 8)).unflatten(3, (2, 8)).mean(dim=(2, 4))
        total = (means * self.cells).sum(dim=(1, 2)) ** self.power
        return torch.stack([total, -total], dim=1)


def _model(cells: Tensor = CELLS, power: int = 1) -> sn.LiveModel:
    return sn.wrap(Weighted(cells, power), name="weighted", patch_grid=(2, 2))


def _images(n: int = 3) -> Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def _means(x: Tensor) -> Tensor:
    return x.mean(dim=1).unflatten(1, (2, 8)).unflatten(3, (2, 8)).mean(dim=(2, 4))


def test_occlusion_of_a_sum_is_its_terms() -> None:
    x = _images()
    found = sn.vision.attribution(_model(), x, "occlusion", outcome=[0, 1, 0], baseline="zero")
    terms = _means(x) * CELLS
    terms[1] *= -1
    assert torch.allclose(found.maps, terms, atol=1e-5)
    assert found.n_runs == 5


@pytest.mark.slow
def test_sobol_of_a_sum_is_the_share_of_its_variance() -> None:
    """(w (x − b))² of each quarter, over their sum; the estimator is that of `sobol`."""
    x = _images()
    found = sn.vision.attribution(_model(), x, "sobol", outcome=0, baseline="zero", n_designs=1024)
    squares = (_means(x) * CELLS).square()
    assert torch.allclose(found.maps, squares / squares.sum(dim=(1, 2), keepdim=True), atol=0.02)
    assert found.maps[:, 0, 1].abs().max() == 0  # nothing reads it


def test_integrated_gradients_add_up() -> None:
    x, model = _images(), _model(power=3)
    found = sn.vision.attribution(model, x, "integrated", outcome=0, baseline="zero", n_steps=64)
    assert torch.allclose(found.maps.sum(dim=(1, 2)), model(x)[:, 0].detach(), rtol=1e-3)


def test_gradients_of_a_sum_are_its_weights() -> None:
    """Noise changes nothing there; means over the grid are the weights of the quarters."""
    plain, smooth = (sn.vision.attribution(_model(), _images(), m) for m in ("gradient", "smooth"))
    weights = CELLS.abs() / (3 * 64)
    assert torch.allclose(plain.on_grid(2, 2), weights.expand(3, 2, 2), atol=1e-6)
    assert torch.allclose(plain.maps, smooth.maps, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_map_of_a_square_lies_on_it(method: str) -> None:
    """A bright quarter on a dark ground is what the answer reads, whatever the method."""
    x = 0.1 * _images(2)
    x[:, :, :8, :8] += 0.8
    found = sn.vision.attribution(_model(), x, method, outcome=0, n_designs=16, n_steps=4)
    assert (found.on_grid(2, 2).flatten(1).argmax(dim=1) == 0).all()
    assert found.table["outcome"].tolist() == ["0", "0"]
    assert found.table["top"].between(0, 1).all()


@pytest.mark.slow
def test_maps_of_one_model_agree_and_of_another_less() -> None:
    x = _images(8)
    one = sn.vision.attribution(_model(), x, "occlusion", outcome=0)
    same = sn.vision.attribution_stability(one, one, n_bootstrap=20)
    assert same.relative == pytest.approx(1)
    assert same.table.loc["where they agree", "agreement"] == pytest.approx(1)
    assert np.isnan(same.table.loc["where they differ", "agreement"])
    turned = sn.vision.attribution(_model(CELLS.flip(0)), x, "occlusion", outcome=0)
    other = sn.vision.attribution_stability(one, turned, n_bootstrap=20)
    assert other.table.loc["maps", "agreement"] < 0.5
    assert len(other.plot().data) == 2


@pytest.mark.slow
def test_shuffled_maps_are_those_of_other_images() -> None:
    x = _images(6)
    flat = sn.vision.attribution(_model(), x, "gradient", outcome=0)
    alike = sn.vision.attribution_stability(flat, flat, n_bootstrap=0)
    assert alike.shuffled == pytest.approx(np.ones(6))
    lit = sn.vision.attribution(_model(CELLS.abs()), x, "integrated", outcome=0)
    assert sn.vision.attribution_stability(lit, lit, n_bootstrap=0).shuffled.max() < 0.9
