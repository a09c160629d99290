"""Promises of verified attribution: bounds that no change exceeds, and that are exact where nothing bends."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sae_nb_studies.vision import attacked, verified_attribution

RADIUS = 0.2


def images(n: int = 2, side: int = 4, channels: int = 1) -> Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0))


def convolutional(channels: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Conv2d(4, 4, 3, stride=2, padding=1, padding_mode="circular"),
        nn.ReLU(),
        nn.AvgPool2d(1),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(16, 6),
        nn.ReLU(),
        nn.Linear(6, 3),
    )
    first: Any = network[0]
    norm = first[1]
    norm.running_mean, norm.running_var = 0.2 * torch.randn(4), 0.5 + torch.rand(4)
    norm.weight.data = torch.randn(4)
    return network.eval().double().float()


def linear() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 3))


def at_corners(network: nn.Module, x: Tensor, free: Tensor, answer: int) -> float:
    places = free.flatten().nonzero()[:, 0].tolist()
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=len(places))))
    corners = x.flatten().repeat(len(signs), 1)
    corners[:, places] += RADIUS * signs
    with torch.no_grad():
        logits = network(corners.view(-1, *x.shape))
    others = [i for i in range(logits.shape[1]) if i != answer]
    return float((logits[:, others].amax(dim=1) - logits[:, answer]).max())


@pytest.mark.parametrize("bounds", ["interval", "crown-ibp", "crown"])
def test_a_linear_classifier_is_as_brute_force_says(bounds: str) -> None:
    """Every patch alone, every patch held, and all pixels: equal to trying all corners."""
    network, x = linear(), images(1)
    found = verified_attribution(
        network,
        x,
        radius=RADIUS,
        grid=(2, 2),
        limits=None,
        bounds=bounds,  # type: ignore[arg-type]
    )
    answer = int(found.outcomes[0])
    free = torch.zeros(4, 1, 4, 4)
    for patch, (row, column) in enumerate(itertools.product((0, 2), repeat=2)):
        free[patch, 0, row : row + 2, column : column + 2] = 1
    alone = [at_corners(network, x[0], one, answer) for one in free]
    held = [at_corners(network, x[0], 1 - one, answer) for one in free]
    every = at_corners(network, x[0], torch.ones(1, 4, 4), answer)
    tolerance = 1e-4 if bounds != "interval" else 1.0  # ends of two logits are not reached together
    for own, true in zip(found.alone.flatten().tolist(), alone, strict=True):
        assert true - 1e-4 <= own <= true + tolerance
    if bounds != "interval":
        assert float(found.overlap[0]) == pytest.approx(every, abs=1e-4)
        assert found.maps.flatten().tolist() == pytest.approx(
            [every - one for one in held], abs=1e-4
        )


def test_where_no_unit_bends_a_network_is_exact() -> None:
    network, x = convolutional(), images(3)
    found = verified_attribution(network, x, radius=1e-4, grid=(2, 2), limits=None)
    reached = attacked(network, x, radius=1e-4, grid=(2, 2), limits=None)
    assert torch.allclose(found.alone, reached, atol=2e-6)


@pytest.mark.parametrize("bounds", ["interval", "crown-ibp", "crown"])
@pytest.mark.parametrize("channels", [1, 3])
def test_no_change_exceeds_a_bound(bounds: str, channels: int) -> None:
    """Attacks, corners of a fine grid of one patch, and random changes stay below, within the limits."""
    network, x = convolutional(channels), images(2, channels=channels)
    found = verified_attribution(
        network,
        x,
        radius=RADIUS,
        grid=(2, 2),
        bounds=bounds,  # type: ignore[arg-type]
    )
    for tried in (
        attacked(network, x, radius=RADIUS, grid=(2, 2)),
        attacked(network, x, radius=RADIUS, grid=(2, 2), n_samples=200),
    ):
        assert (tried <= found.alone + 1e-5).all()
    whole = attacked(network, x, radius=RADIUS, grid=(1, 1)).flatten()
    assert (whole <= found.overlap + 1e-5).all()
    assert (found.alone <= found.overlap[:, None, None] + 1e-5).all()


def test_linear_bounds_are_tighter_than_intervals() -> None:
    network, x = convolutional(), images(4)
    by = {
        bounds: verified_attribution(network, x, radius=RADIUS, grid=(2, 2), bounds=bounds).overlap
        for bounds in ("interval", "crown-ibp", "crown")
    }
    assert (by["crown"] <= by["crown-ibp"] + 1e-5).all()
    assert by["crown-ibp"].mean() < by["interval"].mean()
    wider = verified_attribution(network, x, radius=2 * RADIUS, grid=(2, 2)).overlap
    assert (wider >= by["crown"]).all()


def test_a_patch_that_nothing_reads_is_safe_and_unimportant() -> None:
    network: Any = linear()
    x = images(1)
    weight = network[2].weight.data.view(3, 2, 4, 4)
    weight[..., :2] = 0
    network[0].weight.data[..., [0, 2]] = 0  # no pixel reads across
    found = verified_attribution(network, x, radius=RADIUS, grid=(1, 2))
    assert abs(float(found.maps[0, 0, 0])) < 1e-5
    assert bool(found.safe[0, 0, 0])
    assert float(found.maps[0, 0, 1]) > 0.01
