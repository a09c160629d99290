"""Promises of planted shortcuts: predictivity, availability and conflicts are as asked for, and bias counts them."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn


def test_each_latent_predicts_the_label_as_often_as_asked() -> None:
    data = sn.data.planted_shortcuts(20_000, predictivity=(0.95, 0.7), availability=(0.1, 5.0))
    right = ((data.latents > 0) == data.label.bool()[:, None]).double().mean(dim=0)
    assert torch.allclose(right, torch.tensor([0.95, 0.7], dtype=torch.float64), atol=0.01)


def test_availability_is_length_in_x() -> None:
    """Along orthonormal directions, which are those of the size and not of the seed; noise lies everywhere."""
    one, other = (sn.data.planted_shortcuts(50, seed=s, availability=(0.5, 2.0)) for s in (0, 1))
    assert torch.equal(one.directions, other.directions)
    assert torch.allclose(one.directions @ one.directions.T, torch.eye(2), atol=1e-5)
    seen = one.x @ one.directions.T
    assert torch.allclose(seen, one.latents * torch.tensor([0.5, 2.0]), atol=1e-4)
    noisy = sn.data.planted_shortcuts(2000, availability=(0.5, 2.0), noise=0.3)
    rest = noisy.x - (noisy.x @ noisy.directions.T) @ noisy.directions
    assert float(rest.square().sum() / (2000 * 98)) ** 0.5 == pytest.approx(0.3, rel=0.02)


def test_the_best_classifier_is_better_than_either_latent() -> None:
    data = sn.data.planted_shortcuts(20_000, predictivity=(0.9, 0.75))
    right = (data.optimal == data.label).double().mean()
    alone = ((data.latents > 0) == data.label.bool()[:, None]).double().mean(dim=0)
    assert right > alone.max()
    core = (data.latents[:, 0] > 0).long()
    assert (data.optimal == core)[data.conflict].double().mean() > 0.7
    assert torch.equal(data.conflict, (data.latents > 0)[:, 0] != (data.latents > 0)[:, 1])


def test_bias_is_the_share_of_conflicts_that_follow_the_shortcut() -> None:
    """Counted by hand: of an answer by each latent alone, of the best, and where nothing is in conflict."""
    data = sn.data.planted_shortcuts(500, seed=3)
    core, shortcut = (data.latents > 0).long().T
    best = float((data.optimal == shortcut)[data.conflict].double().mean())
    assert data.bias(shortcut) == pytest.approx(1 - best)
    assert data.bias(core) == pytest.approx(-best)
    assert data.bias(data.optimal) == 0
    agree = data[~data.conflict]
    assert torch.tensor(agree.bias(agree.optimal)).isnan()


def test_a_grid_covers_the_square_and_keeps_what_is_planted() -> None:
    data = sn.data.planted_shortcuts(10, availability=(0.5, 2.0), noise=1.0)
    grid = data.on_grid(4, reach=1.5)
    steps = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    assert torch.allclose(grid.latents, torch.cartesian_prod(steps, steps))
    seen = grid.x @ data.directions.T
    assert torch.allclose(seen, grid.latents * torch.tensor([0.5, 2.0]), atol=1e-4)
    assert int(grid.conflict.sum()) == 8
    assert torch.equal(grid.label, grid.optimal)
    assert len(grid[:3]) == 3
    assert grid[:3].availability == (0.5, 2.0)
