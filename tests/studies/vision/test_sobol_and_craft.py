"""Promises of concept importance: known indices are found, what is held is held, curves follow the order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn

WEIGHTS = torch.tensor([3.0, 2.0, 1.0, 0.0, 0.0])


def _additive(codes: Tensor) -> Tensor:
    return codes @ WEIGHTS


@pytest.mark.slow
def test_indices_of_a_sum_are_its_squared_weights() -> None:
    """a² / Σ a², .643 .286 .071; concepts that nothing reads have exactly 0."""
    found = sn.vision.sobol(_additive, torch.ones(3, 5), n_designs=512)
    assert np.allclose(found.total, (WEIGHTS.square() / 14).numpy(), atol=0.02)
    assert (found.total[3:] == 0).all()
    assert abs(found.interaction).max() < 0.02
    assert found.order[:3] == [0, 1, 2]


def test_a_product_is_an_interaction() -> None:
    """y = u₀ + 2 u₁u₂: Var 1/12 + 4·7/144, of which 4/144 belongs to the pair alone."""
    found = sn.vision.sobol(
        lambda u: u[..., 0] + 2 * u[..., 1] * u[..., 2], torch.ones(1, 4), n_designs=2048
    )
    variance = 1 / 12 + 4 * 7 / 144
    alone, pair = 4 * 3 / 144 / variance, 4 / 144 / variance
    assert np.allclose(found.first, [1 / 12 / variance, alone, alone, 0], atol=0.03)
    assert np.allclose(found.interaction[1:], [pair, pair, 0], atol=0.03)


def test_intervals_hold_the_truth_and_shrink() -> None:
    small, large = (sn.vision.sobol(_additive, torch.ones(1, 5), n_designs=n) for n in (32, 512))
    width = [one.interval[0, 1] - one.interval[0, 0] for one in (small, large)]
    assert width[1] < width[0] / 2
    assert large.interval[0, 0] < 9 / 14 < large.interval[0, 1]


def test_an_answer_that_nothing_moves_has_no_importance() -> None:
    found = sn.vision.sobol(lambda u: u.sum(dim=-1) * 0, torch.ones(2, 3))
    assert (found.total == 0).all()
    assert (found.first == 0).all()


def test_curves_follow_the_order_and_beat_random_ones() -> None:
    """The area under a constant is the constant; a good order inserts early and deletes early."""
    curves = sn.vision.concept_curves(_additive, torch.ones(2, 5), WEIGHTS, baseline="zero")
    assert curves.insertion.tolist() == [0, 3, 5, 6, 6, 6]
    table = curves.table
    assert table.area["insertion"] > table.floor["insertion"]
    assert table.area["deletion"] < table.floor["deletion"]
    flat = sn.vision.concept_curves(lambda u: u[..., 0] * 0 + 4, torch.ones(2, 5), WEIGHTS)
    assert flat.table.area.tolist() == [4, 4]


class _Convolution(nn.Module):
    """A map of two channels that are what the image's first two are, then a class for each."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1, bias=False)
        self.relu = nn.ReLU()
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(2, 3)[:, :, None, None])

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.relu(self.features(pixel_values)).mean(dim=(2, 3))


@pytest.fixture
def two_colours() -> tuple[sn.LiveModel, Tensor]:
    strength = torch.rand(6, 2, generator=torch.Generator().manual_seed(0)) + 0.5
    images = torch.zeros(6, 3, 4, 4)
    images[:, 0, :, :2] = strength[:, :1, None] / 1.5
    images[:, 1, :, 2:] = strength[:, 1:, None] / 1.5
    return sn.wrap(_Convolution(), class_names=["red", "green"]), images


def test_craft_finds_planted_parts_and_what_reads_them(
    two_colours: tuple[sn.LiveModel, Tensor],
) -> None:
    """Two colours on two sides: two concepts, each on its side, each the whole of its class."""
    model, images = two_colours
    found = sn.vision.craft(model, images, "relu", n_concepts=2, outcome=0)
    assert not found.signed
    assert found.r2 > 0.99 > found.random_r2
    red = int(found.concepts[:, 0].argmax())
    maps = found.heatmaps[:, red]
    assert maps[..., :2].min() > 0.1
    assert maps[..., 2:].max() < 1e-3
    total = sn.vision.sobol(found.head, found.codes, n_designs=256).total
    assert total[red] > 0.9
    assert total[1 - red] < 1e-6


@pytest.mark.slow
def test_a_head_changes_nothing_but_its_concepts() -> None:
    """Full codes give the model's own answer; a deleted atom is what `splice` makes of it."""
    model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    images = sn.data.scenes(1, seed=3).images
    head = sn.vision.concept_head(model, sae, images, "resid_post.6", n_concepts=2, outcome=4)
    whole = head(head.codes[:, None])
    assert torch.allclose(whole[:, 0], model(images)[:, 4], atol=1e-4)
    with sn.ablate(model, "resid_post.6", sae, atom=head.atoms[0], positions="patches"):
        ablated = model(images)[:, 4]
    without = head(head.codes[:, None] * torch.tensor([0.0, 1.0]))
    assert torch.allclose(without[:, 0], ablated, atol=1e-3)


@pytest.mark.slow
def test_masks_that_an_image_does_not_feel_are_run_once() -> None:
    """The same answers as one by one, also where an image lacks a concept; fewer runs."""
    model, images = sn.load_model("tiny-vit"), sn.data.scenes(2).images
    head = sn.vision.craft(model, images, "resid_post.10", n_concepts=3).head
    head.codes[0, :, 1] = 0
    masks = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    masks[3:] = masks[:3]
    masks[3:, 1] = 0.5  # differs where the first image has nothing
    found = head.masked(masks)
    each = head(head.codes[:, None] * masks[None, :, None])
    assert torch.allclose(found, each, atol=1e-4)
    assert torch.equal(found[0, :3], found[0, 3:])
    assert not torch.equal(found[1, :3], found[1, 3:])
