"""Capture, tiling, shattering and dilution are recognised on codes made by hand."""

from __future__ import annotations

from collections.abc import Callable

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
    """Restricted R² 1 with few atoms, each on half of the circle."""
    there = on_the_circle(0)
    found = captured(torch.relu(torch.cat([there, -there], dim=1)), n_atoms=4)
    assert found.r2[0] > 0.999
    assert found.support.tolist() == [4, 0, 0]
    # cos weights half a circle: |mean e^{iθ}| = π / 4.
    assert found.spread[0] == pytest.approx(1 - torch.pi / 4, abs=0.03)
    assert found.width[0] == pytest.approx(1, abs=0.1)
    assert found.regime == ("capture", "missed", "missed")


def test_tiles_have_narrow_fields() -> None:
    """Sixteen atoms, each on a sixteenth of the circle; eight of them cannot hold it."""
    found = captured(tiles(16), n_atoms=8)
    assert found.support[0] == 16
    assert found.spread[0] < 0.05
    assert found.r2[0] < 0.9
    assert captured(tiles(16), n_atoms=16).r2[0] > 0.95
    assert found.regime[0] == "tiling"


def test_tiles_with_gaps_are_shattered() -> None:
    """Every second tile is missing, so its own atoms hold half of the circle."""
    found = captured(tiles(16)[:, ::2])
    assert found.regime[0] == "shattering"
    assert found.own_r2[0] == pytest.approx(0.5, abs=0.15)


def test_many_wide_atoms_dilute_a_circle() -> None:
    """Twelve directions, where four would do."""
    angles = torch.arange(12) * torch.pi / 6
    directions = torch.stack([angles.cos(), angles.sin()])
    found = captured(torch.relu(on_the_circle(0) @ directions))
    assert (found.regime[0], found.support[0]) == ("dilution", 12)
    assert found.own_r2[0] > 0.99


@pytest.mark.parametrize("shape", ["sphere", "torus", "disk", "swiss roll", "segment"])
def test_half_axes_capture_any_manifold(shape: str) -> None:
    """Their width is the unit."""
    one = planted_manifolds(2000, shapes=(shape, "circle"), n_active=1, d_in=8, noise=0.0)
    there = (one.x @ one.directions[0].T)[:, : one.n_dimensions[0]] * one.active[:, :1]
    z = torch.relu(torch.cat([there, -there], dim=1))
    found = manifold_capture(SparseCodes.from_dense(z), one, n_atoms=2)
    assert found.regime[0] == "capture"
    assert found.width[0] == pytest.approx(1, abs=0.3)


def test_an_atom_of_everything_belongs_to_nothing() -> None:
    """Constant codes hold no manifold and are none's support."""
    z = torch.ones(3000, 3) + 0.01 * torch.rand(3000, 3, generator=torch.Generator().manual_seed(0))
    found = captured(z, n_atoms=3)
    assert found.support.sum() == 0
    assert abs(found.r2).max() < 0.05
    assert found.regime == ("missed",) * 3


def test_a_segment_is_held_by_one_atom_per_side() -> None:
    """Its width is relative to the whole segment."""
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
    """Nothing but the angle of each row is known, and NaN where it is on no circle."""
    there = on_the_circle(0)
    z = torch.relu(torch.cat([there, -there], dim=1))
    planted, measured = captured(z, n_atoms=4), of_angle(z, periods={"angle": 2 * torch.pi})
    assert measured.regime == ("capture",)
    assert measured.n_dimensions == (2,)
    assert measured.spread[0] == pytest.approx(planted.spread[0])
    assert measured.r2[0] == pytest.approx(planted.r2[0], abs=0.02)
    assert sorted(measured.atoms[0].tolist()) == [0, 1, 2, 3]


def test_an_atom_over_the_seam_is_narrow_where_the_coordinate_goes_round() -> None:
    """December lies beside January, if the period is said."""
    z = torch.relu(ANGLE.cos() - 0.9)[:, None].expand(-1, 4) * ON[:, None]
    assert of_angle(z, periods={"angle": 2 * torch.pi}).spread[0] < 0.05
    assert of_angle(z).spread[0] > 1


def test_order_of_rows_does_not_count() -> None:
    """Rows sorted by their coordinate are halved at random."""
    order = ANGLE.argsort()
    there = on_the_circle(0)[order]
    codes = SparseCodes.from_dense(torch.relu(torch.cat([there, -there], dim=1)))
    angle = torch.where(ON, ANGLE, torch.nan)[order]
    found = manifold_capture(codes, {"angle": angle}, PLANTED.x[order], n_atoms=4)
    assert found.r2[0] > 0.95


def test_where_all_rows_have_a_place_an_atom_must_follow_it() -> None:
    """One that fires evenly does not belong to the coordinate that all rows have."""
    position = torch.arange(3000) % 30
    even = torch.rand(3000, generator=torch.Generator().manual_seed(0))
    z = torch.stack([(position < 10).float(), even], dim=1)
    x = torch.stack([position.float(), even], dim=1)
    found = manifold_capture(SparseCodes.from_dense(z), {"position": position}, x, n_atoms=1)
    assert found.atoms[0].tolist() == [0]


def test_the_table_and_the_figures_show_each_manifold() -> None:
    """Bars of all; receptive fields of one: lines along a circle, dots on a surface."""
    there = on_the_circle(0)
    found = captured(torch.relu(torch.cat([there, -there], dim=1)), n_atoms=4)
    assert found.table["manifold"].tolist() == ["circle 1", "circle 2", "segment"]
    assert len(found.figure().data) == 3
    lines = found.figure("circle 1").data
    assert {line.name for line in lines} == {"atom 0", "atom 1", "atom 2", "atom 3"}
    disk = planted_manifolds(500, shapes=("disk",), n_active=1, noise=0.0)
    halves = torch.cat([disk.theta[:, 0], -disk.theta[:, 0]], dim=1)
    shown = manifold_capture(SparseCodes.from_dense(torch.relu(halves)), disk, n_atoms=4)
    assert sum(len(dots.x) for dots in shown.figure("disk").data) == len(shown.places[0])
    with pytest.raises(ValueError, match="atoms of its own"):
        found.figure("segment")


CODES = SparseCodes.from_dense(torch.ones(3000, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: manifold_capture(SparseCodes.from_dense(torch.ones(4, 3)), PLANTED, n_atoms=2), "3000 rows"),
        (lambda: manifold_capture(CODES, PLANTED), "at most 3, got 8"),
        (lambda: manifold_capture(CODES, {"a": ANGLE}, n_atoms=1), "acts.x"),
        (lambda: manifold_capture(CODES, {"a": ANGLE[:7]}, PLANTED.x, n_atoms=1), "one entry per row"),
        (lambda: manifold_capture(CODES, {"a": ANGLE * 0}, PLANTED.x, n_atoms=1), "two finite values"),
        (
            lambda: manifold_capture(CODES, {"a": ANGLE}, PLANTED.x, periods={"b": 1}, n_atoms=1),
            "a key of periods",
        ),
        (
            lambda: manifold_capture(CODES, {"a": ANGLE}, PLANTED.x, periods={"a": 0}, n_atoms=1),
            "above 0",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(call: Callable[[], object], message: str) -> None:
    """Before any work."""
    with pytest.raises(ValueError, match=message):
        call()


def test_something_else_than_manifolds_is_refused() -> None:
    """With what to pass."""
    with pytest.raises(TypeError, match="dict of coordinates"):
        manifold_capture(CODES, ANGLE, PLANTED.x, n_atoms=1)  # type: ignore[arg-type]
