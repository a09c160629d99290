"""Promises of Waves: the wave equation on a drum, its frequencies, and what a point can know."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import Ringing, Waves, square_fundamental


def square(side: int, at: int = 3, grid: int = 20) -> Tensor:
    shape = torch.zeros(1, grid, grid, dtype=torch.bool)
    shape[0, at : at + side, at : at + side] = True
    return shape


@pytest.fixture(scope="module")
def ringing() -> Ringing:
    return Waves().run(torch.cat([square(5), square(9)]))


@pytest.mark.parametrize("side", [5, 7, 11, 15])
def test_a_square_swings_as_theory_says(side: int) -> None:
    """Its strongest frequency is √8 sin(π / 2(side + 1)), wherever it lies."""
    for at in (0, 4):
        found = Waves().run(square(side, at)).fundamental()
        assert float(found) == pytest.approx(square_fundamental(side), rel=0.03)


def test_a_mode_of_the_drum_stays_itself() -> None:
    """The slowest mode only changes its height, as a pendulum does: cos of 2 asin(ω dt / 2) a step."""
    side, waves = 6, Waves(n_steps=40, dt=0.3)
    ringing = waves.run(square(side, 2, 12))
    inside = torch.sin(math.pi * torch.arange(1, side + 1) / (side + 1))
    mode = torch.outer(inside, inside)
    along = (ringing.states[0, :, 2:8, 2:8] * mode).sum(dim=(1, 2)) / mode.sum()
    angle = 2 * math.asin(square_fundamental(side) * 0.3 / 2)
    steps = torch.arange(1, 41)
    expected = torch.cos(angle * (steps + 0.5)) / math.cos(angle / 2)
    assert torch.allclose(along, expected.float(), atol=1e-4)


def test_nothing_moves_outside(ringing: Ringing) -> None:
    outside = ringing.states.movedim(1, -1)[~ringing.shapes]
    assert float(outside.abs().max()) == 0


def test_waves_travel_one_point_a_step(ringing: Ringing) -> None:
    """The middle of a drum of side 9 does not move before the edge could have reached it."""
    middle = ringing.states[1, :, 7, 7]
    assert torch.equal(middle[:4], torch.ones(4))
    assert float(middle[5:].min()) < 0


def test_spectra_differ_between_sizes_and_not_between_places() -> None:
    here, there = (Waves().run(square(7, at)).features() for at in (2, 9))
    assert torch.allclose(here, there, atol=1e-4)
