"""Promises of the rendered scenes: independent factors, legible ink, unseen test handwriting."""

from __future__ import annotations

import pytest
import torch

from sae_nb.data import digits, scenes
from sae_nb.data._scenes import BLOCK

LUMINANCE = torch.tensor([0.299, 0.587, 0.114])
FACTORS = {"colour": 8, "texture": 8, "position": 9, "distractor": 2}


@pytest.fixture(scope="module")
def many() -> object:
    return scenes(4_000, seed=3)


def test_a_picture_depends_on_seed_and_number_alone():
    whole = scenes(2 * BLOCK + 40, seed=1)
    part = scenes(BLOCK + 7, seed=1, start=BLOCK - 3)
    few = scenes(5, seed=1)
    for name in ("digit", "colour", "texture", "position", "distractor", "patch_mask"):
        expected = getattr(whole, name)
        assert torch.equal(getattr(part, name), expected[BLOCK - 3 : 2 * BLOCK + 4])
        assert torch.equal(getattr(few, name), expected[:5])
    # Where strokes are is a product over the batch, whose size decides how it is rounded.
    assert torch.allclose(part.images, whole.images[BLOCK - 3 : 2 * BLOCK + 4], atol=1e-5)
    assert torch.allclose(few.images, whole.images[:5], atol=1e-5)


@pytest.mark.slow
def test_test_handwriting_is_never_trained_on():
    train, test = scenes(6_000, split="train"), scenes(3_000, split="test")
    rows = set(digits("train").handwriting.tolist()), set(digits("test").handwriting.tolist())
    assert not rows[0] & rows[1]
    assert len(rows[0] | rows[1]) == 1797
    assert set(train.handwriting.tolist()) <= rows[0]
    assert set(test.handwriting.tolist()) <= rows[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTORS)
def test_every_value_of_a_factor_is_as_likely(many, name):
    counts = torch.bincount(getattr(many, name), minlength=FACTORS[name]).double()
    share = 1 / FACTORS[name]
    spread = (len(many) * share * (1 - share)) ** 0.5
    assert len(counts) == FACTORS[name]
    assert float((counts - len(many) * share).abs().max()) < 5 * spread


@pytest.mark.parametrize(
    ("a", "b"),
    [("digit", "colour"), ("digit", "texture"), ("colour", "texture"), ("position", "digit")],
)
def test_factors_are_independent(many, a, b):
    """The χ² statistic of two factors' counts is what independence gives."""
    x, y = getattr(many, a), getattr(many, b)
    n_y = int(y.max()) + 1
    counts = torch.bincount(x * n_y + y, minlength=(int(x.max()) + 1) * n_y).view(-1, n_y).double()
    expected = counts.sum(1, keepdim=True) * counts.sum(0) / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5


@pytest.mark.slow
def test_ink_stands_out_from_everything_behind_it(many):
    grey = (many.images * LUMINANCE[:, None, None]).sum(dim=1)
    mask = many.mask
    ink = (grey * mask).sum((1, 2)) / mask.sum((1, 2))
    rest = (grey * ~mask).sum((1, 2)) / (~mask).sum((1, 2))
    assert float((ink - rest).min()) > 0.15
    assert float((ink - rest).mean()) > 0.4


def test_ink_has_the_named_colour(many):
    from sae_nb.data._scenes import INKS

    weight = many.mask[:, None].float()
    mean = (many.images * weight).sum((2, 3)) / weight.sum((2, 3))
    nearest = torch.cdist(mean, torch.tensor(list(INKS.values()))).argmin(dim=1)
    assert float((nearest == many.colour).float().mean()) > 0.97


def test_the_digit_lies_in_its_cell(many):
    steps = torch.arange(32.0)
    weight = many.mask.float()
    x = (weight * steps).sum((1, 2)) / weight.sum((1, 2)) - 15.5
    y = (weight * steps[:, None]).sum((1, 2)) / weight.sum((1, 2)) - 15.5
    column, row = many.position % 3 - 1, many.position // 3 - 1
    seen = [float(x[column == c].mean()) for c in (-1, 0, 1)]
    assert seen[0] < -4
    assert abs(seen[1]) < 1
    assert seen[2] > 4
    assert float(((x / 6).round().clamp(-1, 1) == column).float().mean()) > 0.9
    assert float(((y / 6).round().clamp(-1, 1) == row).float().mean()) > 0.9


def test_a_patch_is_foreground_when_a_quarter_is_covered(many):
    few = many[:50]
    for row, column in ((0, 0), (3, 4), (7, 7), (5, 2)):
        tile = few.mask[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert torch.equal(tile.sum((1, 2)) >= 4, few.patch_mask[:, 8 * row + column])
    assert bool(many.patch_mask.any(dim=1).all())


def test_a_disc_changes_the_picture_and_nothing_else(many):
    background = torch.where(many.mask[:, None], torch.nan, many.images)
    spread = background.flatten(2).nan_to_num(0).amax(dim=2).mean(dim=1)
    assert spread[many.distractor == 1].mean() > spread[many.distractor == 0].mean()
