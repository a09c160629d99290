"""All measurements in one record agree with each alone, for pictures and for texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.data import scenes
from sae_nb.dynamics import capture_states, trajectories, update_rank
from sae_nb.dynamics.paths._trajectory import angular_speed, directional_convergence


@pytest.mark.slow
def test_every_measurement_is_in_the_record() -> None:
    pictures = scenes(24, seed=0)
    states = capture_states(sn.load_model("tiny-vit"), pictures, backend="hooks")
    found = trajectories(states, pictures.digit)
    assert found.kinds == ("cls", "register", "patch")
    assert torch.equal(found.convergence, directional_convergence(states))
    assert torch.equal(found.speed, angular_speed(states))
    assert torch.equal(found.update_rank.stable, update_rank(states).stable)
    assert found.basins is not None
    assert found.basins.n_classes == len(pictures.digit.unique())
    cls = found.convergence[:, :, 0]
    assert torch.allclose(found.mean("convergence", "cls"), cls.mean(dim=0))
    assert torch.allclose(found.sd("convergence", "cls"), cls.std(dim=0, correction=0))
    assert list(found.table.index) == list(range(13))
    assert found.table["speed cls"].isna().tolist() == [True] + 12 * [False]


def test_half_precision_states_are_measured_in_single() -> None:
    x = torch.randn(6, 4, 3, 8, generator=torch.Generator().manual_seed(0))
    full, half = trajectories(x), trajectories(x.half())
    assert half.convergence.dtype == torch.float32
    assert torch.allclose(full.convergence, half.convergence, atol=5e-3)


def test_one_block_is_a_path_of_one_step() -> None:
    """Two classes of two samples, which the only block turns by a quarter, either to where the other was."""
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = trajectories(torch.stack([first, 2 * first.flip(1)], dim=1)[:, :, None], list("aabb"))
    assert found.convergence[:, :, 0].tolist() == [[0, 1]] * 4
    assert found.speed.flatten().tolist() == pytest.approx([np.pi / 2] * 4)
    assert found.coherence.tolist() == [[1, 1]] * 4
    for rank in (found.update_rank.stable, found.update_rank.effective):
        assert rank.tolist() == pytest.approx([1])
    assert found.basins is not None
    assert found.basins.gap == pytest.approx([1, 1])
