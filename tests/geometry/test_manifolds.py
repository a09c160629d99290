"""Capture, tiling and dilution are told apart on codes made by hand."""

from __future__ import annotations

import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb.data import planted_manifolds
from sae_nb.geometry import manifold_capture

PLANTED = planted_manifolds(3000, n_circles=2, n_segments=1, n_active=1, d_in=8, noise=0.0)


def on_the_circle(i: int) -> torch.Tensor:
    return PLANTED.x @ PLANTED.directions[i].T * PLANTED.active[:, i : i + 1]


def test_parts_sum_to_the_rows() -> None:
    """And lie in the subspace of their manifold, on the unit circle or in the segment."""
    assert torch.allclose(sum(PLANTED.part(i) for i in range(3)), PLANTED.x, atol=1e-5)  # type: ignore[arg-type]
    norms = PLANTED.part(0)[PLANTED.active[:, 0]].norm(dim=1)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-5)
    assert float(PLANTED.part(2).norm(dim=1).max()) <= 1 + 1e-5


def test_two_draws_share_their_subspaces() -> None:
    """Rows differ."""
    one, two = (planted_manifolds(20, draw=draw) for draw in (0, 1))
    assert torch.equal(one.directions, two.directions)
    assert not torch.equal(one.x, two.x)


def test_four_half_axes_capture_a_circle() -> None:
    """Restricted R² 1 with few atoms, each on half of the circle."""
    there = on_the_circle(0)
    z = torch.relu(torch.cat([there, -there], dim=1))
    found = manifold_capture(SparseCodes.from_dense(z), PLANTED, n_atoms=4)
    assert found.r2[0] > 0.999
    assert found.support.tolist() == [4, 0, 0]
    # cos weights half a circle: |mean e^{iθ}| = π / 4.
    assert found.spread[0] == pytest.approx(1 - torch.pi / 4, abs=0.03)


def test_tiles_have_narrow_fields() -> None:
    """Sixteen atoms, each on a sixteenth of the circle; eight of them cannot hold it."""
    tile = (PLANTED.theta[:, 0] / (2 * torch.pi) * 16).long().clamp(0, 15)
    z = torch.nn.functional.one_hot(tile, 16) * PLANTED.active[:, :1]
    found = manifold_capture(SparseCodes.from_dense(z.float()), PLANTED, n_atoms=8)
    assert found.support[0] == 16
    assert found.spread[0] < 0.05
    assert found.r2[0] < 0.9
    every = manifold_capture(SparseCodes.from_dense(z.float()), PLANTED, n_atoms=16)
    assert every.r2[0] > 0.95


def test_an_atom_of_everything_belongs_to_nothing() -> None:
    """Constant codes hold no manifold and are none's support."""
    z = torch.ones(3000, 3) + 0.01 * torch.rand(3000, 3, generator=torch.Generator().manual_seed(0))
    found = manifold_capture(SparseCodes.from_dense(z), PLANTED, n_atoms=3)
    assert found.support.sum() == 0
    assert abs(found.r2).max() < 0.05


def test_a_segment_is_held_by_one_atom_per_side() -> None:
    """Its width is relative to the whole segment."""
    place = PLANTED.theta[:, 2:3]
    z = torch.relu(torch.cat([place, -place], dim=1))
    found = manifold_capture(SparseCodes.from_dense(z), PLANTED, n_atoms=2)
    assert found.r2[2] > 0.999
    assert found.spread[2] < 0.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: planted_manifolds(5, n_active=13), "at most the 12 manifolds"),
        (lambda: planted_manifolds(5, noise=-1), "at least 0"),
        (
            lambda: manifold_capture(SparseCodes.from_dense(torch.ones(4, 3)), PLANTED),
            "3000 rows",
        ),
        (
            lambda: manifold_capture(SparseCodes.from_dense(torch.ones(3000, 3)), PLANTED),
            "at most 3, got 8",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call: object, message: str) -> None:
    """Before any work."""
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
