"""Promises of WaveNetwork: local couplings, the wave equation at first, and what only time can tell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import WaveNetwork


def squares(n: int = 8, side: int = 14) -> tuple[Tensor, Tensor]:
    """Squares of side 9 and 12 by turns: both larger than a window of 7 × 7."""
    shapes = torch.zeros(n, side, side, dtype=torch.bool)
    labels = torch.arange(n) % 2
    for shape, label in zip(shapes, labels.tolist(), strict=True):
        shape[1 : 10 + 3 * label, 1 : 10 + 3 * label] = True
    return shapes, labels


def test_what_is_far_away_arrives_by_and_by() -> None:
    """A change 10 points away moves nothing before 10 − 3 steps have passed: 3 are seen at once."""
    shapes, labels = squares()
    model = WaveNetwork(2, channels=2, n_steps=12).fit(shapes, labels, steps=1)
    row = torch.zeros(1, 3, 16, dtype=torch.bool)
    row[0, 1, 1:14] = True
    other = row.clone()
    other[0, 1, 13] = False
    moved = (model.states(row) - model.states(other))[0, :, :, 1, 3].abs().amax(dim=1) > 0
    assert not moved[:6].any()
    assert moved[8:].all()


def test_it_begins_as_the_wave_equation() -> None:
    """One step from rest, without stiffness: v = dt tanh of the five-point Laplacian, h + dt v."""
    shapes, labels = squares()
    model = WaveNetwork(2, channels=2, n_steps=2, dt=0.5).fit(
        shapes, labels, steps=1, learning_rate=1e-9
    )
    height = torch.zeros(1, 2, 5, 5)
    height[0, 0, 2, 2] = 1
    nothing = torch.zeros_like(height)
    first = model.network.heights(height, nothing, nothing)[0]  # type: ignore[operator]
    assert first[0, 0, 2, 2] == pytest.approx(
        1 + 0.25 * float(torch.tanh(torch.tensor(-4.0))), abs=1e-4
    )
    assert first[0, 0, 1, 2] == pytest.approx(0.25 * float(torch.tanh(torch.tensor(1.0))), abs=1e-4)
    assert first[0, 1].abs().max() < 1e-4
    random = WaveNetwork(2, channels=2, start="random").fit(shapes, labels, steps=1)
    assert (random.network.coupling.weight[0, 1] != 0).all()  # type: ignore[union-attr, index]


@pytest.mark.slow
def test_points_learn_a_size_that_they_do_not_see() -> None:
    """Better by the spectrum than without time, where the middle of both squares looks alike."""
    shapes, labels = squares()
    kept = {"channels": 2, "n_steps": 16, "hidden": 8}
    heard, blind = (
        WaveNetwork(2, readout=readout, **kept).fit(shapes, labels, steps=80, learning_rate=0.02)  # type: ignore[arg-type]
        for readout in ("spectrum", "nothing")
    )
    assert heard.losses[-5:].mean() < 0.7 * heard.losses[:5].mean()
    assert heard.losses[-5:].mean() < blind.losses[-5:].mean() - 0.05
    assert heard.accuracy(shapes, labels) > blind.accuracy(shapes, labels)


@pytest.mark.parametrize("readout", ["spectrum", "last", "mean", "max", "nothing"])
def test_every_readout_answers_for_every_point_inside(readout: str) -> None:
    shapes, labels = squares(4)
    settings = WaveNetwork(3, channels=2, n_steps=4, readout=readout)  # type: ignore[arg-type]
    model = settings.fit(shapes, labels, steps=2, seed=1)
    assert model.logits(shapes).shape == (int(shapes.sum()), 3)
    assert torch.equal(model.losses, settings.fit(shapes, labels, steps=2, seed=1).losses)
    assert 0 <= model.accuracy(shapes, labels) <= 1
    assert len(model.figure(shapes, moments=(0, 3)).data) == 2
