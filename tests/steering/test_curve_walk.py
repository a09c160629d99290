"""A walk along a curve: its places, steps and answers on a circle and an arc that are known exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.geometry import curve
from sae_nb.steering import walk_along

HEAD = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, -1.0]])


@pytest.fixture(scope="module")
def model() -> Any:
    linear = nn.Linear(3, 2, bias=False)
    linear.weight.data = HEAD.clone()
    return sn.wrap(nn.Sequential(nn.Identity(), linear), class_names=["a", "b"])


def circle(u: Any) -> Tensor:
    """A unit circle in the first two of three axes; eight values make a turn."""
    angle = 2 * math.pi * torch.as_tensor(u, dtype=torch.float64) / 8
    return torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=-1).float()


def probabilities(x: Tensor) -> np.ndarray:
    return (x @ HEAD.T).double().softmax(dim=-1).numpy()


@pytest.mark.parametrize("by", [2.6, -2.6])
def test_a_walk_round_a_circle(model: Any, by: float) -> None:
    """From 1, off the circle, in three steps of 2.6 / 3; backwards over 0, so that 8 is added."""
    around = curve(circle(torch.arange(8)), np.arange(8.0), closed=True, order=1, n_shuffled=1)
    away = torch.tensor([0.0, 0.0, 0.5])
    x = circle(1.0) + away
    found = walk_along(model, x[None], "0", around, by)
    u = 1 + by * torch.arange(4) / 3
    assert found.start == pytest.approx(1, abs=1e-4)
    assert found.by == by
    np.testing.assert_allclose(found.places, u % 8, atol=1e-4)
    np.testing.assert_allclose(found.before, probabilities(x), atol=1e-5)
    np.testing.assert_allclose(found.path, probabilities(circle(u) + away), atol=1e-4)
    chord = circle(1.0) + torch.arange(4)[:, None] / 3 * (circle(1 + by) - circle(1.0))
    np.testing.assert_allclose(found.chord, probabilities(chord + away), atol=1e-4)


def test_a_walk_ends_with_an_open_curve_and_takes_so_many_steps(model: Any) -> None:
    """Of a line from 0 to 7, from 2: as far as 7 or 0; one step at least, 48 at most."""
    rows = torch.arange(8.0)[:, None] * torch.tensor([[1.0, -1.0, 0.5]])
    line = curve(rows, np.arange(8.0), n_shuffled=1)
    for by, goes, n_steps in ((9.0, 5, 5), (-3.0, -2, 2), (0.2, 0.2, 1), (1.6, 1.6, 2)):
        found = walk_along(model, rows[2:3], "0", line, by)
        assert found.by == pytest.approx(goes, abs=1e-4)
        np.testing.assert_allclose(found.places, 2 + np.linspace(0, goes, n_steps + 1), atol=1e-4)
        np.testing.assert_allclose(found.path, found.chord, atol=1e-4)
    around = curve(circle(torch.arange(8)), np.arange(8.0), closed=True, order=1, n_shuffled=1)
    assert len(walk_along(model, rows[2:3], "0", around, 60.0).places) == 49


def test_the_last_position_of_a_text_is_walked_from(gpt: sn.LiveModel) -> None:
    """And the others stay as they are: a walk of 0 answers as without one."""
    x = sn.capture(gpt, ["the cat sat"], "resid_post.1", drop_first=False, progress=False).x
    rows = x[-1] + torch.arange(-2.0, 3)[:, None] * torch.nn.functional.normalize(x[0], dim=0)
    line = curve(rows, np.arange(5.0), n_shuffled=1)
    found = walk_along(gpt, ["the cat sat"], "resid_post.1", line, 1.0)
    assert found.start == pytest.approx(2, abs=1e-3)
    np.testing.assert_allclose(found.path[0], found.before, atol=1e-6)
    with sn.steer(gpt, "resid_post.1", direction=x[0] / x[0].norm(), by=1.0, positions="last"):
        moved = gpt(["the cat sat"])[0, -1].double().softmax(dim=-1)
    np.testing.assert_allclose(found.path[-1], moved, atol=1e-5)
