"""Promises of LocalDenoiser: what a pixel sees, what moves with the image, and what predicts it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import DenoiserModel, LocalDenoiser, PatchMosaic
from tests.refusing import refused

TIME = 0.5


def images(n: int = 3, side: int = 8, channels: int = 1) -> Tensor:
    """Black and white."""
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(0)).sign()


def reach(model: DenoiserModel) -> Tensor:
    """Whether each pixel of a noisy image changes the guess in the middle."""
    x = torch.randn(1, 1, 9, 9, generator=torch.Generator().manual_seed(1)).requires_grad_()
    middle = model.network(x, torch.tensor([TIME]))[0, 0, 4, 4]
    return torch.autograd.grad(middle, x)[0][0, 0] != 0


@pytest.fixture(scope="module")
def local() -> DenoiserModel:
    """Trained enough to be predicted better by patches of its size than by whole images."""
    return LocalDenoiser(3, width=12).fit(images(), steps=250, batch_size=16, seed=0)


@pytest.mark.parametrize("side", [3, 5, 7])
def test_a_guess_depends_on_its_patch_alone(side: int) -> None:
    """The pixels that move the middle are the k × k around it."""
    seen = reach(LocalDenoiser(side, width=4).fit(images(side=9), steps=1))
    expected = torch.zeros(9, 9, dtype=torch.bool)
    half = side // 2
    expected[4 - half : 5 + half, 4 - half : 5 + half] = True
    assert torch.equal(seen, expected)


def test_with_attention_it_depends_on_all_pixels() -> None:
    """One layer is enough."""
    assert reach(LocalDenoiser(3, width=4, attention=True).fit(images(side=9), steps=1)).all()


@pytest.mark.parametrize("attention", [False, True])
def test_a_guess_moves_with_the_image(attention: bool) -> None:
    """Convolutions wrap around, and attention knows no places: both are equivariant."""
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
    """A seed is a network."""
    assert local.losses[-25:].mean() < 0.7 * local.losses[:5].mean()
    again = [LocalDenoiser(3, width=4).fit(images(), steps=3, seed=1).losses for _ in range(2)]
    assert torch.equal(*again)
    assert not torch.equal(again[0], LocalDenoiser(3, width=4).fit(images(), steps=3).losses)


def test_samples_begin_at_the_noise_of_the_mosaic(local: DenoiserModel) -> None:
    """In one step a sample is the guess of that noise."""
    from sae_nb_studies.lab._patch_mosaic import white_noise

    noise = white_noise((2, 1, 8, 8), 3).float()
    assert torch.allclose(local.sample(2, n_steps=1, seed=3), local.guess(noise, 1.0), atol=1e-5)


def test_channels_are_read_and_written() -> None:
    """Colour in, colour out."""
    model = LocalDenoiser(3, width=4).fit(images(channels=3), steps=1)
    assert model.sample(2, n_steps=2).shape == (2, 3, 8, 8)


def test_what_is_given_is_checked(local: DenoiserModel) -> None:
    """Rule and what was given."""
    refused("must be odd, 3 or more, got 4", LocalDenoiser, 4)
    refused("must be odd, 3 or more, got 1", LocalDenoiser, 1)
    refused("two or more", LocalDenoiser(3).fit, images(1))
    refused("must fit into images of 5 × 5, got 7", LocalDenoiser(7).fit, images(side=5))
    refused("must have 1 channels and sides of 3 or more", local.guess, images(channels=2), 0.5)
    refused("`time` must be above 0", local.guess, images(), 0.0)
    known = PatchMosaic(3).fit(images())
    refused("must name one or more", local.predicted_by, {})
    refused("must hold fitted scores, got int", local.predicted_by, {"3": 3}, error=TypeError)
    refused("must name one or more", local.predicted_by, {"3": known}, times=(2.0,))
    refused("must be of images of", local.predicted_by, {"3": PatchMosaic(3).fit(images(side=6))})
    fewer = PatchMosaic(3, n_steps=5).fit(images())
    refused("one number of steps", local.predicted_by, {"3": known, "few": fewer})


def test_long_training_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first step."""
    monkeypatch.setattr("sae_nb_studies.lab._local_denoiser.LONG", 0.0)
    with pytest.warns(UserWarning, match="1 steps take about"):
        LocalDenoiser(3, width=4).fit(images(), steps=1)
