"""Promises of PatchMosaic: scores that are exact for what they see, and samples whose pixels have a source."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import Mosaics, PatchMosaic

A, B = math.cos(math.pi * 0.4 / 2.016), math.sin(math.pi * 0.4 / 2.016)


def images(n: int = 3, side: int = 5, channels: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, side, side, generator=generator, dtype=torch.float64)


def ideal(x: Tensor, known: Tensor) -> Tensor:
    """Gradient of the log-density of a mixture of Gaussians around images, by autograd."""
    x = x.clone().requires_grad_()
    apart = (x[:, None] - A * known).flatten(2).square().sum(dim=2)
    return torch.autograd.grad((-apart / (2 * B**2)).logsumexp(dim=1).sum(), x)[0]


def shifted(known: Tensor) -> Tensor:
    height, width = known.shape[2:]
    turns = [known.roll((i, j), dims=(2, 3)) for i in range(height) for j in range(width)]
    return torch.cat(turns)


@pytest.fixture(scope="module")
def made() -> Mosaics:
    return PatchMosaic(3, n_steps=12).fit(images(3, 8).sign()).sample(4)


def test_whole_images_have_the_score_of_their_mixture() -> None:
    """The ideal score is the gradient of the log-density of the noisy training images."""
    known, x = images(), images(2, seed=1)
    score = PatchMosaic(None).fit(known).score(x, 0.4)
    assert torch.allclose(score, ideal(x, known), atol=1e-9)


def test_score_of_patches_by_their_definition() -> None:
    known, x = images(2), images(1, seed=1)
    score = PatchMosaic(3).fit(known).score(x, 0.4)
    around = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="circular")[
        0, 0, 2:5, 3:6
    ]  # of pixel 2, 3
    logs, centres = [], []
    for patch in (
        image.roll((-i, -j), dims=(1, 2)) for image in known for i in range(5) for j in range(5)
    ):
        logs.append(-(around - A * patch[0, :3, :3]).square().sum() / (2 * B**2))
        centres.append(patch[0, 1, 1])
    guess = (torch.stack(logs).softmax(dim=0) * torch.stack(centres)).sum()
    assert float(score[0, 0, 2, 3]) == pytest.approx(float((A * guess - x[0, 0, 2, 3]) / B**2))


def test_who_moves_with_the_image() -> None:
    """A shift of the noisy image shifts the score where patches come from anywhere, and there alone."""
    known, x = images(), images(1, seed=1)
    for place, same in (("anywhere", True), ("same", False), ("border", False)):
        fitted = PatchMosaic(3, place=place).fit(known)  # type: ignore[arg-type]
        moved = fitted.score(x.roll((1, 2), dims=(2, 3)), 0.4)
        assert torch.allclose(moved, fitted.score(x, 0.4).roll((1, 2), dims=(2, 3))) == same


def test_patches_come_from_where_they_may() -> None:
    known = images(3, 7)
    same = PatchMosaic(3, place="same", n_steps=5).fit(known).sample(2).places
    assert torch.equal(same, torch.arange(49).view(1, 7, 7).expand(2, 7, 7))
    border = PatchMosaic(3, place="border", n_steps=5).fit(known).sample(2).places
    assert border[:, 0, 0].eq(0).all()
    assert border[:, 6, 6].eq(48).all()
    assert border[:, 0, 1:6].lt(7).all()
    inner = border[:, 1:6, 1:6]
    assert bool(((inner // 7 % 6 > 0) & (inner % 7 % 6 > 0)).all())


def test_whole_images_remember_and_patches_do_not(made: Mosaics) -> None:
    """The first returns training images; the second is of several, and of none at any shift."""
    known = made.dictionary
    remembered = PatchMosaic(None, n_steps=12).fit(known.images).sample(4)
    assert known.found(remembered.images, 8).eq(1).all()
    assert remembered.n_sources().eq(1).all()
    assert known.found(made.images, 8).eq(0).all()
    assert made.n_sources().min() > 1


def test_found_counts_patches_at_any_shift() -> None:
    """All of a shifted training image; of one with a changed pixel those that do not see it."""
    known = PatchMosaic(3).fit(images(2, 6))
    moved = known.images[:1].roll((2, 3), dims=(2, 3))
    assert float(known.found(moved, 3, tolerance=1e-9)) == 1
    moved[0, 0, 1, 1] += 9
    assert float(known.found(moved, 2, tolerance=1e-9)) == pytest.approx(32 / 36)


def test_a_schedule_is_the_sizes_at_its_steps() -> None:
    known = images(3, 7)
    plain = PatchMosaic(3, n_steps=4).fit(known).sample(2).images
    assert torch.equal(PatchMosaic((3, 3, 3, 3), n_steps=4).fit(known).sample(2).images, plain)
    changing = PatchMosaic((7, 5, 3, 3), n_steps=4).fit(known)
    assert not torch.allclose(changing.sample(2).images, plain)
    x = images(1, 7, seed=1)
    seven = PatchMosaic(7).fit(known).score(x, 0.4)
    assert torch.allclose(changing.score(x, 0.4, step=0), seven)


def test_noise_is_not_that_of_images_with_the_same_seed() -> None:
    drawn = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    known = PatchMosaic(1, n_steps=1).fit(torch.stack([drawn[0] * 0, drawn[0] * 0 + 1]))
    made = known.sample(4).images  # one step, one pixel at a time: larger where the noise is
    assert abs(float(torch.corrcoef(torch.stack([made.flatten(), drawn.flatten()]))[0, 1])) < 0.15
