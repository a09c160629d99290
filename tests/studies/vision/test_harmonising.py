"""Harmonisation: agreement as counted by hand, and gradients that move to a planted mask in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sae_nb_studies.vision import harmonise, map_agreement

N, SIZE = 96, 8
DRAWS = torch.Generator().manual_seed(0)
LABELS = torch.randint(2, (N,), generator=DRAWS)
MASKS = torch.zeros(N, SIZE, SIZE)
MASKS[:, :4, :4] = 1
IMAGES = (
    torch.randn(N, 1, SIZE, SIZE, generator=DRAWS) + 0.8 * (2.0 * LABELS - 1)[:, None, None, None]
)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 16), nn.Tanh(), nn.Linear(16, 2))


def test_agreement_is_the_share_of_pairs_of_pixels_in_order() -> None:
    """A linear model's gradient is its weights: all of the mask's above others, or half of them."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 2))
    weight = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    for lift, expected in ((2.0, 1.0), (-2.0, 0.0)):
        lifted = (
            (weight + lift * MASKS[0]).abs() if lift > 0 else weight * (1 - MASKS[0]) + weight / 1e3
        )
        with torch.no_grad():
            model[1].weight.copy_(lifted.flatten().expand(2, -1))
        found = map_agreement(model, IMAGES[:3], LABELS[:3], MASKS[:3])
        np.testing.assert_allclose(found.maps[0], lifted.numpy(), rtol=1e-5)
        assert found.value == pytest.approx(expected, abs=0.05)
    assert f"probability {found.value:.3f}" in str(found)
    assert len(found.plot(2).data) == 2


@pytest.mark.slow
def test_gradients_move_to_the_mask_and_not_without_maps() -> None:
    begun = network()
    before = [p.clone() for p in begun.parameters()]
    plain, trained = (
        harmonise(begun, IMAGES, LABELS, MASKS, weight=weight, steps=60, learning_rate=1e-2)
        for weight in (0.0, 2.0)
    )
    assert all(torch.equal(a, b) for a, b in zip(before, begun.parameters(), strict=True))
    without, with_masks = (map_agreement(m, IMAGES, LABELS, MASKS) for m in (plain, trained))
    assert with_masks.value > without.value + 0.2
    assert with_masks.accuracy > 0.9
