"""Class basins: by hand on few points, at the floor where labels mean nothing, bad labels refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.dynamics.paths._trajectory import class_basins


def planted(n_per_class: int = 20, noise: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes that are one cloud at layer 0 and two at layer 1."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat_interleave(n_per_class)
    means = torch.stack([torch.ones(2, 8), torch.eye(8)[:2] * 4])
    x = means[:, labels] + noise * torch.randn(2, len(labels), 8, generator=generator)
    return x.transpose(0, 1)[:, :, None], labels


def test_means_by_hand() -> None:
    """Three points: a, a at 60° to each other, b at 90° to the first and 30° to the second."""
    x = torch.tensor([[1.0, 0.0], [0.5, 3**0.5 / 2], [0.0, 1.0]])
    basins = class_basins(torch.stack([x, 2 * x], dim=1)[:, :, None], ["a", "a", "b"])
    assert basins.within.tolist() == pytest.approx([0.5, 0.5])
    assert basins.between.tolist() == pytest.approx([3**0.5 / 4] * 2, abs=1e-6)
    assert basins.n_classes == 2


def test_the_gap_opens_where_classes_part() -> None:
    states, labels = planted()
    basins = class_basins(states, labels)
    assert basins.gap[1] > 0.8 > 5 * abs(basins.gap[0])
    assert basins.gap[1] > basins.floor[1]
    assert basins.gap[0] < 0.05
    assert basins.silhouette[1] > 0.8 > 0.3 > basins.silhouette[0]


def test_shuffled_labels_are_at_the_floor() -> None:
    """95 % of random labellings lie below it, so most of twenty others do."""
    states, labels = planted()
    rng = np.random.default_rng(7)
    gaps = [class_basins(states, rng.permutation(labels.numpy())) for _ in range(20)]
    below = np.mean([one.gap[1] <= one.floor[1] for one in gaps])
    assert below >= 0.8


def test_only_the_chosen_token_is_looked_at() -> None:
    states, labels = planted()
    both = torch.cat(
        [torch.randn(states.shape, generator=torch.Generator().manual_seed(1)), states], 2
    )
    assert class_basins(both, labels, token=1).gap[1] > 0.8
    assert abs(class_basins(both, labels, token=0).gap[1]) < 0.1
