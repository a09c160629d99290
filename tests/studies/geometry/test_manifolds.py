"""Capture, tiling, shattering and dilution are recognised on codes made by hand."""

from __future__ import annotations

import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb_studies.data import planted_manifolds
from sae_nb_studies.geometry import ManifoldCapture, manifold_capture

PLANTED = planted_manifolds(
    3000, shapes=("circle", "circle", "segment"), n_active=1, d_in=8, noise=0.0
)
ANGLE = PLANTED.theta[:, 0, 0]
ON = PLANTED.active[:, 0]


def on_the_circle(i: int) -> torch.Tensor:
    return PLANTED.x @ PLANTED.directions[i].T * PLANTED.active[:, i : i + 1]


def tiles(n: int) -> torch.Tensor:
    tile = (ANGLE / (2 * torch.pi) * n).long().clamp(0, n - 1)
    return (torch.nn.functional.one_hot(tile, n) * ON[:, None]).float()


def captured(z: torch.Tensor, n_atoms: int = 2) -> ManifoldCapture:
    return manifold_capture(SparseCodes.from_dense(z), PLANTED, n_atoms=n_atoms)


def test_four_half_axes_capture_a_circle() -> None:
    there = on_the_circle(0)
    found = captured(torch.relu(torch.cat([there, -there], dim=1)), n_atoms=4)
    assert found.r2[0] > 0.999
    assert found.support.tolist() == [4, 0, 0]
    # cos weights half a circle: |mean e^{iθ}| = π / 4.
    assert found.spread[0] == pytest.approx(1 - torch.pi / 4, abs=0.03)
    assert found.width[0] == pytest.approx(1, abs=0.1)
    assert found.regime == ("capture", "missed", "missed")


def test_tiles_have_narrow_fields() -> None:
    found = captured(tiles(16), n_atoms=8)
    assert found.support[0] == 16
    assert found.spread[0] < 0.05
    assert found.r2[0] < 0.9
    assert captured(tiles(16), n_atoms=16).r2[0] > 0.95
    assert found.regime[0] == "tiling"


def test_tiles_with_gaps_are_shattered() -> None:
    found = captured(tiles(16)[:, ::2])
    assert found.regime[0] == "shattering"
    assert found.own_r2[0] == pytest.approx(0.5, abs=0.15)


def test_many_wide_atoms_dilute_a_circle() -> None:
    angles = torch.arange(12) * torch.pi / 6
    directions = torch.stack([angles.cos(), angles.sin()])
    found = captured(torch.relu(on_the_circle(0) @ directions))
    assert (found.regime[0], found.support[0]) == ("dilution", 12)
    assert found.own_r2[0] > 0.99


def test_an_atom_of_everything_belongs_to_nothing() -> None:
    z = torch.ones(3000, 3) + 0.01 * torch.rand(3000, 3, generator=torch.Generator().manual_seed(0))
    found = captured(z, n_atoms=3)
    assert found.support.sum() == 0
    assert abs(found.r2).max() < 0.05
    assert found.regime == ("missed",) * 3


def test_a_segment_is_held_by_one_atom_per_side() -> None:
    place = PLANTED.theta[:, 2, :1]
    found = captured(torch.relu(torch.cat([place, -place], dim=1)))
    assert found.r2[2] > 0.999
    assert found.spread[2] < 0.3
    assert found.regime[2] == "capture"


def test_places_of_other_rows_are_the_floor_and_components_the_control() -> None:
    """Shuffled places are held by nothing; two components of two circles hold no circle alone."""
    there = on_the_circle(0)
    found = captured(torch.relu(torch.cat([there, -there], dim=1)), n_atoms=2)
    assert abs(found.floor[0]) < 0.02
    wide = captured(torch.relu(torch.cat([there, -there], dim=1)), n_atoms=4)
    assert wide.components[0] < wide.r2[0]


def of_angle(z: torch.Tensor, **more: object) -> ManifoldCapture:
    angle = torch.where(ON, ANGLE, torch.nan)
    codes = SparseCodes.from_dense(z)
    return manifold_capture(codes, {"angle": angle}, PLANTED.x, n_atoms=4, **more)  # type: ignore[arg-type]


def test_a_coordinate_per_row_finds_what_the_truth_says() -> None:
    there = on_the_circle(0)
    z = torch.relu(torch.cat([there, -there], dim=1))
    planted, measured = captured(z, n_atoms=4), of_angle(z, periods={"angle": 2 * torch.pi})
    assert measured.regime == ("capture",)
    assert measured.n_dimensions == (2,)
    assert measured.spread[0] == pytest.approx(planted.spread[0])
    assert measured.r2[0] == pytest.approx(planted.r2[0], abs=0.02)
    assert sorted(measured.atoms[0].tolist()) == [0, 1, 2, 3]


def test_an_atom_over_the_seam_is_narrow_where_the_coordinate_goes_round() -> None:
    z = torch.relu(ANGLE.cos() - 0.9)[:, None].expand(-1, 4) * ON[:, None]
    assert of_angle(z, periods={"angle": 2 * torch.pi}).spread[0] < 0.05
    assert of_angle(z).spread[0] > 1


def test_where_all_rows_have_a_place_an_atom_must_follow_it() -> None:
    position = torch.arange(3000) % 30
    even = torch.rand(3000, generator=torch.Generator().manual_seed(0))
    z = torch.stack([(position < 10).float(), even], dim=1)
    x = torch.stack([position.float(), even], dim=1)
    found = manifold_capture(SparseCodes.from_dense(z), {"position": position}, x, n_atoms=1)
    assert found.atoms[0].tolist() == [0]
