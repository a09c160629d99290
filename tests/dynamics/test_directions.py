"""Convergence and speed: by hand on arcs and lines, unchanged by rotation and by length."""

from __future__ import annotations

import math

import pytest
import torch

from sae_nb.dynamics.paths._trajectory import (
    angles_between,
    angular_speed,
    directional_convergence,
    directions_of,
)


def arc(angles: list[float], lengths: list[float] | None = None) -> torch.Tensor:
    lengths = lengths or [1.0] * len(angles)
    rows = [[r * math.cos(a), r * math.sin(a)] for a, r in zip(angles, lengths, strict=True)]
    return torch.tensor(rows)[None, :, None]


def rotation(d: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]


def test_an_arc_has_the_angles_it_was_made_of() -> None:
    states = arc([0.0, 0.1, 0.4, 1.0], lengths=[1.0, 5.0, 0.2, 30.0])
    assert angular_speed(states).flatten().tolist() == pytest.approx([0.1, 0.3, 0.6], abs=1e-6)
    expected = [math.cos(1.0 - a) for a in (0.0, 0.1, 0.4, 1.0)]
    assert directional_convergence(states).flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_a_straight_path_through_the_origin_turns_nothing() -> None:
    """Growing along one direction has speed 0 and convergence 1 everywhere."""
    direction = torch.randn(8, generator=torch.Generator().manual_seed(0))
    states = (direction * torch.tensor([1.0, 2.0, 10.0, 11.0])[:, None])[None, :, None]
    assert angular_speed(states).max() < 1e-6
    assert (directional_convergence(states) - 1).abs().max() < 1e-6


def test_a_straight_line_past_the_origin_slows_down() -> None:
    """x + t·y with x ⟂ y: the angle so far is arctan t, so that steps of equal length turn less and less."""
    steps = torch.arange(5.0)
    states = torch.stack([torch.ones(5), steps], dim=1)[None, :, None]
    expected = torch.atan(steps).diff()
    assert torch.allclose(angular_speed(states).flatten(), expected, atol=1e-6)
    assert bool((expected.diff() < 0).all())


def test_tiny_angles_keep_their_digits() -> None:
    assert angular_speed(arc([0.0, 1e-5])).item() == pytest.approx(1e-5, rel=1e-3)


def test_a_zero_state_has_no_direction() -> None:
    zero, one = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0]])
    assert angles_between(zero, one).item() == pytest.approx(math.pi / 2)
    assert angles_between(zero, zero).item() == 0.0


def test_directions_survive_tiny_and_huge_states() -> None:
    x = torch.tensor([[3e-30, 4e-30], [3e30, 4e30]])
    assert torch.allclose(directions_of(x), torch.tensor([[0.6, 0.8], [0.6, 0.8]]))
