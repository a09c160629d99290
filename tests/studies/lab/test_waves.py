"""Promises of Waves: the wave equation on a drum, its frequencies, and what a point can know."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import Ringing, Waves, square_fundamental
from tests.refusing import refused


def square(side: int, at: int = 3, grid: int = 20) -> Tensor:
    """One drum."""
    shape = torch.zeros(1, grid, grid, dtype=torch.bool)
    shape[0, at : at + side, at : at + side] = True
    return shape


@pytest.fixture(scope="module")
def ringing() -> Ringing:
    """Squares of two sizes."""
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
    """The edge is held at rest, at every step."""
    outside = ringing.states.movedim(1, -1)[~ringing.shapes]
    assert float(outside.abs().max()) == 0


def test_waves_travel_one_point_a_step(ringing: Ringing) -> None:
    """The middle of a drum of side 9 does not move before the edge could have reached it."""
    middle = ringing.states[1, :, 7, 7]
    assert torch.equal(middle[:4], torch.ones(4))
    assert float(middle[5:].min()) < 0


def test_readouts_are_of_points_inside(ringing: Ringing) -> None:
    """In the order of the shapes; spectra of 100 steps have 51 entries, heights one."""
    n = int(ringing.shapes.sum())
    assert ringing.features().shape == (n, 51)
    for name in ("last", "mean", "max"):
        assert ringing.features(name).shape == (n, 1)
    assert torch.equal(ringing.features("last")[:25, 0], ringing.states[0, -1][ringing.shapes[0]])


def test_spectra_differ_between_sizes_and_not_between_places() -> None:
    """The same square elsewhere gives its points the same spectra."""
    here, there = (Waves().run(square(7, at)).features() for at in (2, 9))
    assert torch.allclose(here, there, atol=1e-4)


def test_figure_shows_moments(ringing: Ringing) -> None:
    """One frame each, on one scale."""
    figure = ringing.figure(1, moments=(0, 9))
    assert [trace.name for trace in figure.data] == ["step 1", "step 10"]
    refused("`shape`", ringing.figure, 2, error=IndexError)
    refused("`moments`", ringing.figure, 0, moments=(100,), error=IndexError)


def test_listening_to_a_point(ringing: Ringing) -> None:
    """Its height after every step; a point that is not there is refused."""
    (heard,) = ringing.listen(1, 7, 7).data
    assert list(heard.y) == ringing.states[1, :, 7, 7].tolist()
    refused("`row`", ringing.listen, 1, 20, 7, error=IndexError)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (torch.zeros(1, 4, 4, dtype=torch.bool), "a point inside"),
        (torch.ones(1, 4, 4, dtype=torch.bool), "a point outside"),
        (torch.ones(4, 4, dtype=torch.bool), "One alone"),
    ],
)
def test_what_is_no_drum_is_refused(shapes: Tensor, words: str) -> None:
    """Empty, without an edge, or without the axis of images."""
    refused(words, Waves().run, shapes)


def test_a_step_that_blows_up_is_refused() -> None:
    """Beyond √½ the heights would grow without end."""
    refused("above 0 and at most 0.707107, got 0.8.*√½", Waves, dt=0.8)
