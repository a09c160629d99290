"""Promises of 1-Lipschitz networks: orthonormal weights, no output faster than its input, radii that hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.models import LipschitzNetwork, train_lipschitz
from sae_nb_studies.reproductions.experiments.lipschitz_saliency import _attacked

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained() -> tuple[LipschitzNetwork, Tensor, Tensor]:
    known, held = sn.data.digits("train"), sn.data.digits("test")
    network = train_lipschitz(known.images, known.digit, hidden=(64, 64), steps=200)
    return network, held.images[:100].float(), held.digit[:100]


def test_weights_are_orthonormal_after_training(
    trained: tuple[LipschitzNetwork, Tensor, Tensor],
) -> None:
    for part in trained[0].layers:
        if isinstance(part, torch.nn.Linear):
            weight = part.weight if part.weight.shape[0] <= part.weight.shape[1] else part.weight.T
            torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)), atol=1e-5, rtol=0)


def test_outcomes_never_move_farther_than_images(
    trained: tuple[LipschitzNetwork, Tensor, Tensor],
) -> None:
    network, x, digit = trained
    assert (network(x).argmax(dim=1) == digit).double().mean() > 0.8
    other = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) * 0.3
    moved = (network(x) - network(other)).norm(dim=1)
    assert (moved <= (x - other).flatten(1).norm(dim=1) + 1e-5).all()


def test_no_attack_within_the_radius_succeeds_and_one_beyond_does(
    trained: tuple[LipschitzNetwork, Tensor, Tensor],
) -> None:
    network, x, _ = trained
    radius = network.radius(x)
    assert _attacked(network, x[:, None], radius) == 0
    assert _attacked(network, x[:, None], 4 * radius) > 0.5
