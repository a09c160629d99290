"""One linear map per phase: planted maps and their eigenvalues are found, other phases are not."""

from __future__ import annotations

import math

import pytest
import torch

from sae_nb_studies.dynamics import linearise_phases


def turned(angle: float) -> torch.Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]])


def two_phases(n: int = 60) -> torch.Tensor:
    states = [torch.randn(n, 1, 2, generator=torch.Generator().manual_seed(0))]
    for step in range(6):
        states.append(states[-1] @ turned(0.2 if step < 3 else 1.5).T)
    return torch.stack(states, dim=1)


def test_each_phase_gets_its_own_turn() -> None:
    """Exact on unseen inputs, with eigenvalues e^{±iθ}; one map for both phases is worse."""
    first, second = linearise_phases(two_phases(), [0, 3, 6])
    for phase, angle in ((first, 0.2), (second, 1.5)):
        assert phase.r2 == pytest.approx(1.0, abs=1e-3)
        assert phase.eigenvalues.abs().tolist() == pytest.approx([1.0, 1.0], abs=0.02)
        assert phase.eigenvalues.angle().abs().tolist() == pytest.approx([angle] * 2, abs=0.02)
        assert phase.r2_global < phase.r2 - 0.1


def test_a_state_that_stays_is_at_the_floor() -> None:
    x = torch.randn(20, 1, 3, 4, generator=torch.Generator().manual_seed(0)).expand(-1, 5, -1, -1)
    phase = linearise_phases(x, [0, 4])[0]
    assert phase.r2 == pytest.approx(1.0, abs=1e-6) == phase.r2_unchanged


def test_noise_is_not_predicted() -> None:
    x = torch.randn(200, 5, 2, 6, generator=torch.Generator().manual_seed(0))
    assert linearise_phases(x, [0, 4])[0].r2 < 0.05
