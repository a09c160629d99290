"""Promises of UnfoldedGroups: orbits are powers, held actions stay, norms, and what free filters lack."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import UnfoldedGroups


@pytest.fixture(scope="module")
def images() -> Tensor:
    return 2 * torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_an_orbit_is_powers_of_its_action(images: Tensor) -> None:
    model = UnfoldedGroups(2, 3, 3, size=3.0).fit(images, steps=3)
    for k in range(2):
        moved = model.network.base[-1, k]  # type: ignore[index, union-attr]
        for g in range(3):
            assert torch.allclose(model.orbits()[k, g], moved / moved.norm(), atol=1e-5)
            moved = model.actions()[k] @ moved
    assert model.actions().flatten(1).norm(dim=1).tolist() == pytest.approx([3, 3])
    assert model.orbits().shape == (2, 3, 9)
    assert len(model.figure(0).data) == 1


def test_held_actions_stay_as_drawn_and_learned_ones_move(images: Tensor) -> None:
    kept = {"batch_size": 8, "learning_rate": 0.05}
    for filters, moves in (("held actions", False), ("orbits", True)):
        settings = UnfoldedGroups(2, 2, 3, filters=filters, size=3.0)  # type: ignore[arg-type]
        short, long = (settings.fit(images, steps=n, **kept).actions() for n in (1, 6))  # type: ignore[arg-type]
        assert torch.allclose(short, long, atol=1e-5) is not moves


def test_learning_puts_images_together(images: Tensor) -> None:
    settings = UnfoldedGroups(2, 2, 3, step=0.3, size=3.0)
    begun, learned = (
        settings.fit(images, steps=n, batch_size=20).explained(images) for n in (1, 60)
    )
    assert learned > begun + 0.1


def test_a_closed_orbit_has_cosine_one(images: Tensor) -> None:
    model = UnfoldedGroups(1, 4, 3, size=3.0).fit(images, steps=1)
    turn = torch.eye(9).reshape(9, 3, 3).rot90(1, (1, 2)).flatten(1).T
    with torch.no_grad():
        model.network.action[-1, 0] = turn  # type: ignore[index, operator]
    assert model.closing().tolist() == pytest.approx([1])
