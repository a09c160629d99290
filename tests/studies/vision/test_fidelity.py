"""Promises of pixel fidelity: the pixels that the answer reads win under every baseline; fillers keep what is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.figures import to_svg
from sae_nb_studies.vision._fillers import filling

ALL = ("zero", "mean", "blur", "noise", "inpaint")


class Corner(nn.Module):
    """Two logits: how bright the upper left quarter is, and how dark."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        bright = 8 * self.weight * x[:, :, :8, :8].mean(dim=(1, 2, 3))
        return torch.stack([bright, -bright], dim=1)


def _images(n: int = 4) -> Tensor:
    x = 0.2 * torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    x[:, :, :8, :8] += 0.7
    return x


@pytest.fixture(scope="module")
def found() -> sn.vision.PixelFidelity:
    model = sn.wrap(Corner(), name="corner", patch_grid=(4, 4))
    right = torch.zeros(4, 4, 4)
    right[:, :2, :2] = 1
    half = torch.zeros(4, 16, 16)
    half[:, :8] = 1
    maps = {"right": right, "half": half, "wrong": 1 - right}
    return sn.vision.pixel_fidelity(model, _images(), maps, n_steps=4, n_masks=24, n_bootstrap=50)


@pytest.mark.slow
def test_the_pixels_that_are_read_win_under_every_baseline(
    found: sn.vision.PixelFidelity,
) -> None:
    """Right, then the half that holds it, then random or wrong ones; coarse maps are as good as fine ones."""
    scores = dict(zip(found.maps, found.scores.mean(axis=3).transpose(2, 0, 1), strict=True))
    for j, baseline in enumerate(ALL):
        ranks = [2] if baseline == "blur" else [0, 1, 2]  # a blurred bright corner is still bright
        for i in ranks:
            assert scores["right"][i, j] > scores["half"][i, j] > scores["wrong"][i, j]
            assert scores["right"][i, j] > scores["random"][i, j]


@pytest.mark.slow
def test_ends_of_the_curves_are_the_image_and_the_baseline(
    found: sn.vision.PixelFidelity,
) -> None:
    assert np.allclose(found.insertion[:, :, -1], found.deletion[:, :, 0], atol=0.2)
    black = found.baselines.index("zero")
    assert np.allclose(found.insertion[black, :, 0], 0, atol=1e-5)
    assert np.allclose(found.insertion[black, :, -1], found.insertion[black, 0, -1], atol=1e-5)


@pytest.mark.slow
def test_scores_that_agree_say_so(found: sn.vision.PixelFidelity) -> None:
    """Three maps in one order: Spearman 1; the random one does not count."""
    matrix = found.agreement
    assert matrix.loc["insertion, zero", "deletion, zero"] == pytest.approx(1)
    assert np.allclose(np.diag(matrix), 1)


def test_both_axes_of_a_baseline(found: sn.vision.PixelFidelity) -> None:
    axes = found.of_baselines
    assert axes.unusual["zero"] > axes.unusual["blur"]
    assert set(axes.index) == set(ALL)
    assert "<svg" in to_svg(found.plot_curves("mean"))
    assert len(found.table) == 3 * len(ALL) * 4


@pytest.mark.slow
def test_the_visualised_image_is_faint_to_the_model_and_like_all_in_colour() -> None:
    """|bright − dark| of its corner falls from that of the image of random phase; pixels are its own, in [0, 1]."""
    model, x = sn.wrap(Corner(), name="corner", patch_grid=(4, 4)), _images(8)
    maps = {"any": x.mean(dim=1)}
    names = ("visualised", "random phase")
    found = sn.vision.pixel_fidelity(
        model, x, maps, baselines=names, n_steps=2, n_masks=3, n_bootstrap=0
    )
    assert found.made is not None
    assert 0 <= found.made.min() < found.made.max() <= 1
    start = filling(x, "random phase", torch.Generator().manual_seed(0))
    faint = [
        float(model.module(one).abs().mean()) for one in (found.made[None], start.view(x.shape)[:1])
    ]
    assert faint[0] < 0.7 * faint[1]
    assert found.certain[0] < found.certain[1]  # two logits near 0 decide nothing


def test_fillers_keep_what_is_kept_and_mend_what_is_smooth() -> None:
    """A ramp is found again between its ends; where nothing is missing, nothing changes but ROAD's noise."""
    ramp = torch.linspace(0, 1, 16).expand(1, 3, 16, 16)
    put = filling(ramp, "inpaint", torch.Generator().manual_seed(0))
    kept = torch.ones(1, 2, 1, 256, dtype=torch.bool)
    kept[0, 1, 0, 5 * 16 + 4 : 5 * 16 + 12] = False
    filled = put(kept)  # type: ignore[operator]
    assert (filled - ramp.flatten(2)[:, None]).abs().max() < 0.06
