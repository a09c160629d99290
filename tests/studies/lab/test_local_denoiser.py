"""Promises of LocalDenoiser: what a pixel sees, what moves with the image, and what predicts it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import DenoiserModel, LocalDenoiser, PatchMosaic

TIME = 0.5


def images(n: int = 3, side: int = 8, channels: int = 1) -> Tensor:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(0)).sign()


def reach(model: DenoiserModel) -> Tensor:
    x = torch.randn(1, 1, 9, 9, generator=torch.Generator().manual_seed(1)).requires_grad_()
    middle = model.network(x, torch.tensor([TIME]))[0, 0, 4, 4]
    return torch.autograd.grad(middle, x)[0][0, 0] != 0


@pytest.fixture(scope="module")
def local() -> DenoiserModel:
    """Trained enough to be predicted better by patches of its size than by whole images."""
    return LocalDenoiser(3, width=12).fit(images(), steps=250, batch_size=16, seed=0)


@pytest.mark.parametrize("side", [3, 5, 7])
def test_a_guess_depends_on_its_patch_alone(side: int) -> None:
    seen = reach(LocalDenoiser(side, width=4).fit(images(side=9), steps=1))
    expected = torch.zeros(9, 9, dtype=torch.bool)
    half = side // 2
    expected[4 - half : 5 + half, 4 - half : 5 + half] = True
    assert torch.equal(seen, expected)


def test_with_attention_it_depends_on_all_pixels() -> None:
    assert reach(LocalDenoiser(3, width=4, attention=True).fit(images(side=9), steps=1)).all()


@pytest.mark.parametrize("attention", [False, True])
def test_a_guess_moves_with_the_image(attention: bool) -> None:
    model = LocalDenoiser(3, width=4, attention=attention).fit(images(), steps=2)
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    moved = model.guess(x.roll((2, 3), dims=(2, 3)), TIME)
    assert torch.allclose(moved, model.guess(x, TIME).roll((2, 3), dims=(2, 3)), atol=1e-5)


def test_patches_of_its_size_predict_it(local: DenoiserModel) -> None:
    """Guesses: better than larger patches and whole images. Samples: better than from other noise."""
    machines = {str(k): PatchMosaic(k).fit(local.images) for k in (3, 7, None)}
    found = local.predicted_by(machines, times=(0.6, 0.4), n=8)
    assert found.best == "3"
    assert found.explained[0].min() > 0.7 > found.explained[2].mean() + 0.1
    assert found.samples[0] > found.other_noise[0] + 0.4
    assert list(found.table.index) == ["3", "7", "None"]
    assert len(found.plot().data) == 3


def test_training_lowers_the_error_and_repeats(local: DenoiserModel) -> None:
    assert local.losses[-25:].mean() < 0.7 * local.losses[:5].mean()
    again = [LocalDenoiser(3, width=4).fit(images(), steps=3, seed=1).losses for _ in range(2)]
    assert torch.equal(*again)
    assert not torch.equal(again[0], LocalDenoiser(3, width=4).fit(images(), steps=3).losses)
