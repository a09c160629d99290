"""Circles and a segment that were planted are found by which atoms fire, and nothing where nothing is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes
from sae_nb.geometry import FoundShapes, find_shapes
from sae_nb.geometry._found_shapes import _beyond, _followed, _half, _in_order, _permuted, _steps
from sae_nb.geometry._shape_fits import Fit, _by_atom, _least_arc, fits_of, span_of

N, AROUND = 6000, 6


class ByHand:
    """An SAE of two circles in planes of their own and a segment: an atom fires where a row lies near it."""

    hook_point = model_name = None

    def __init__(self, more: torch.Tensor | None = None) -> None:
        at = torch.arange(AROUND) * 2 * torch.pi / AROUND
        ring = torch.stack([at.cos(), at.sin()], dim=1)
        atoms = torch.zeros(2 * AROUND + 2, 5)
        atoms[:AROUND, :2] = atoms[AROUND : 2 * AROUND, 2:4] = ring
        atoms[-2:, 4] = torch.tensor([1.0, -1.0])
        self.dictionary = atoms if more is None else torch.cat([atoms, more])
        self.n_atoms, self.d_in = self.dictionary.shape

    def encode(self, x: Any) -> SparseCodes:
        x = getattr(x, "x", x)
        near = x @ self.dictionary.T
        near[:, : 2 * AROUND] -= 0.45
        return SparseCodes.from_dense(near.clamp_min(0))


def planted(seed: int = 0) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    """Rows with the first circle in a third, the second in another, the segment in a sixth; and where each lies."""
    rng = np.random.default_rng(seed)
    turn, which = rng.random((N, 2)), rng.random(N)
    here = np.stack([which < 1 / 3, (which > 1 / 3) & (which < 2 / 3), which > 5 / 6], axis=1)
    angle = 2 * np.pi * turn[:, 0]
    x = np.zeros((N, 5))
    for i in range(2):
        x[:, 2 * i] = np.cos(angle) * here[:, i]
        x[:, 2 * i + 1] = np.sin(angle) * here[:, i]
    x[:, 4] = (2 * turn[:, 1] - 1) * here[:, 2]
    known = {
        "turn": np.where(here[:, 0], turn[:, 0], np.nan),
        "along": np.where(here[:, 2], turn[:, 1], np.nan),
        "noise": rng.random(N),
    }
    return torch.from_numpy(x).float(), known


@pytest.fixture(scope="module")
def found() -> FoundShapes:
    x, known = planted()
    return find_shapes(ByHand(), x, coordinates=known, periods={"turn": 1.0})


@pytest.mark.slow
def test_groups_kinds_and_coordinates_are_those_planted(found: FoundShapes) -> None:
    assert [sorted(one.tolist()) for one in found.groups] == [
        list(range(6)), list(range(6, 12)), [12, 13],
    ]  # fmt: skip
    assert found.kind == ("ring", "ring", "line")
    assert found.n_axes.tolist() == [2, 2, 1]
    assert (found.fit > 0.95).all()
    assert (1 - found.fit < (1 - found.control) / 2).all()
    assert found.coordinate == ("turn", "", "along")
    assert found.order_r2[0] > 0.95 > 0.5 > found.order_shuffled[0]
    assert np.isnan(found.order_r2[1])
    assert found.n_permuted == 0
    assert found.n_known == 14
    assert found.headline == (
        "3 groups of 14 atoms that fire often enough: 2 ring, 1 line; 0 groups where each atom's firings are "
        "permuted"
    )
    assert found.table["dimension"].tolist() == [1, 1, 1]
    assert found.of_atoms == 6 * ["ring 0"] + 6 * ["ring 1"] + 2 * ["line 2"]


@pytest.mark.slow
def test_atoms_of_a_ring_are_in_their_order_and_places_follow_the_angle(found: FoundShapes) -> None:
    steps = np.diff([*found.groups[0], found.groups[0][0]]) % AROUND
    assert set(steps.tolist()) in ({1}, {AROUND - 1})
    _, known = planted()
    place = found.place(0)
    there = ~np.isnan(place)
    np.testing.assert_array_equal(there, ~np.isnan(known["turn"]))
    turns = [
        np.abs(np.mean(np.exp(2j * np.pi * (place - way * known["turn"])[there])))
        for way in (1, -1)
    ]
    assert max(turns) > 0.99


@pytest.mark.slow
def test_a_ring_is_walked_along_its_states(found: FoundShapes) -> None:
    x, _ = planted()
    walked = found.curve(0, Activations.from_tensor(x, hook_point="resid_post.3"))
    assert walked.closed
    assert walked.hook_point == "resid_post.3"
    assert walked.order[0] == 1
    np.testing.assert_allclose(walked.at(0.25)[:2].norm(), 1, atol=0.02)
    assert walked.at([0.0, 0.3])[:, 2:].abs().max() < 1e-5
    assert not found.curve(2, x).closed
    with pytest.raises(ValueError, match="6000 rows"):
        found.curve(0, x[:10])
    with pytest.raises(ValueError, match="between 0 and 2"):
        found.place(3)


@pytest.mark.slow
def test_it_is_saved_whole(found: FoundShapes, tmp_path) -> None:
    found.save(tmp_path / "shapes")
    again = FoundShapes.load(tmp_path / "shapes")
    assert again.table.equals(found.table)
    np.testing.assert_array_equal(again.place(1), found.place(1))


@pytest.mark.slow
def test_two_halves_of_a_seed_are_the_same_and_samples_stay_whole(found: FoundShapes) -> None:
    x, known = planted()
    again = find_shapes(ByHand(), x, coordinates=known, periods={"turn": 1.0})
    assert again.table.equals(found.table)
    one = Activations.from_tensor(x, sample=torch.zeros(N, dtype=torch.long))
    with pytest.raises(ValueError, match="0 such atoms in 0 of 6000 rows"):
        find_shapes(ByHand(), one)


def test_an_atom_that_is_there_twice_counts_once() -> None:
    sae = ByHand(more=ByHand().dictionary[:1])
    found = find_shapes(sae, planted()[0])
    assert found.kind == ("ring", "ring", "line")
    assert sorted(len(one) for one in found.groups) == [2, 6, 6]
    pair = find_shapes(sae, planted()[0], groups=[[0, 14]])
    assert pair.groups == ()


def test_a_group_given_is_named_as_it_is() -> None:
    found = find_shapes(ByHand(), planted()[0], groups=[[0, 6, 12], np.arange(6)])
    assert found.kind == ("none", "ring")
    assert found.of_atoms == ["ring 1"] * 6 + [""] * 8


# -------------------------------------------------------------------------------------------------
# What cannot be answered.


def test_a_dense_code_is_refused() -> None:
    sae = sn.ReLU(8, 64, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="a quarter of its atoms in a row, got 3. of 64"):
        find_shapes(sae, torch.randn(500, 8, generator=torch.Generator().manual_seed(1)))


def test_atoms_that_fire_everywhere_are_no_group() -> None:
    rows = torch.randn(500, 4, generator=torch.Generator().manual_seed(1)) + 5
    sae = sn.TopK(4, 10, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="fire in more than half"):
        find_shapes(sae, torch.ones_like(rows) + 0.01 * rows)


def test_ten_atoms_are_enough_to_look_at() -> None:
    sae = sn.TopK(4, 10, 2, generator=torch.Generator().manual_seed(0))
    rows = torch.randn(2000, 4, generator=torch.Generator().manual_seed(1))
    assert find_shapes(sae, rows).n_known <= 10


def test_few_rows_are_said() -> None:
    sae = sn.TopK(8, 256, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="in 150 of 300 rows"):
        find_shapes(sae, torch.randn(300, 8, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("group", [[3], [1, 1], list(range(70))])
def test_a_group_of_one_or_of_all_is_refused(group: list[int]) -> None:
    sae = sn.TopK(4, 70, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=f"2 to 64 atoms each, none twice, got {len(group)}"):
        find_shapes(sae, torch.randn(100, 4), groups=[group])


def test_a_coordinate_is_one_number_a_row() -> None:
    with pytest.raises(ValueError, match=r"coordinates\['month'\].*6000"):
        find_shapes(ByHand(), planted()[0], coordinates={"month": [1.0, 2.0]})
    with pytest.raises(ValueError, match="above 0, got 0"):
        find_shapes(ByHand(), planted()[0], coordinates={"month": np.ones(N)}, periods={"month": 0})


# -------------------------------------------------------------------------------------------------
# Fits of points.


def drawn(kind: str, n: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    u, r = 2 * np.pi * rng.random(n), np.sqrt(rng.random(n))
    z = rng.standard_normal((n, 3))
    return {
        "ring": np.stack([np.cos(u), np.sin(u), 0 * u], axis=1),
        "arc": np.stack([np.cos(u / 2), np.sin(u / 2), 0 * u], axis=1),
        "disk": np.stack([r * np.cos(u), r * np.sin(u), 0 * u], axis=1),
        "sphere": z / np.linalg.norm(z, axis=1, keepdims=True),
        "ball": z,
        "blob": 5 + 0.1 * z,
    }[kind]


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        ("ring", {"ring", "sheet"}),
        ("arc", {"line", "sheet"}),
        ("disk", {"sheet"}),
        ("sphere", {"sheet"}),
        ("ball", set()),
        ("blob", {"cluster"}),
    ],
)
def test_each_shape_is_what_it_is(kind: str, held: set[str]) -> None:
    """The strongest of 26 atoms on a grid of directions says where a row lies."""
    y = drawn(kind)
    grid = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3)
    grid = grid[np.abs(grid).sum(axis=1) > 0] / np.linalg.norm(grid[np.abs(grid).sum(axis=1) > 0], axis=1)[:, None]  # fmt: skip
    strongest = ((y - y.mean(axis=0)) @ grid.T).argmax(axis=1)
    fits = fits_of(y[:2000], y[2000:], strongest[2000:])
    assert {name for name, fit in fits.items() if fit.holds} == held
    same = fits_of(y[:2000], y[2000:], np.zeros(2000, int))
    assert {name for name, fit in same.items() if fit.holds} <= {"cluster"}


def test_of_a_disk_a_ring_explains_eight_ninths() -> None:
    """Var r = 1/18 is left of E r² = 1/2; of a ring nothing is, of a line half."""
    disk, ring = (
        fits_of(y[:2000], y[2000:], np.zeros(2000, int)) for y in map(drawn, ("disk", "ring"))
    )
    np.testing.assert_allclose(disk["ring"].r2, 8 / 9, atol=0.01)
    np.testing.assert_allclose(ring["ring"].r2, 1, atol=1e-6)
    np.testing.assert_allclose(ring["line"].r2, 0.5, atol=0.05)
    np.testing.assert_allclose(disk["cluster"].r2, 0, atol=0.01)


def test_axes_and_places_are_counted() -> None:
    """Variances 8, 1 and 1: one axis holds .8, two hold .9."""
    y = np.kron(np.diag(np.sqrt([8.0, 1.0, 1.0])), [[1.0], [-1.0]])
    assert span_of(y)[0] == 2
    place = np.array([[0.0], [2.0], [10.0], [12.0]])
    np.testing.assert_allclose(_by_atom(place, np.array([5, 5, 7, 7])), 1 - 4 / 104)
    assert _by_atom(np.zeros((3, 1)), np.arange(3)) == 0
    np.testing.assert_allclose(_least_arc(np.array([0.0, 0.5, 1.0, 1.5]) * np.pi), 0.25)
    assert _least_arc(np.array([0.0, 0.1, 0.2])) == 0


def test_values_are_rounded_to_steps() -> None:
    """Eight values in four steps have the means of their quarters; of a period of 4 four parts begin at 0."""
    values = np.array([7.0, 0, 1, 2, 3, 4, 5, 16])
    np.testing.assert_allclose(_steps(values, None, 4), [11.5, 0.5, 0.5, 2.5, 2.5, 4.5, 4.5, 11.5])
    around = np.array([0.0, 0.5, 1.7, 3.9, 5.0, 6.2])
    np.testing.assert_allclose(_steps(around, 4.0, 4), [0, 0, 1, 3, 1, 2])
    np.testing.assert_array_equal(_steps(around, 4.0, 6), around)


def test_half_of_the_samples_are_fitted_and_stay_whole() -> None:
    sample = np.array([4, 4, 7, 7, 9, 9, 11, 11, 12, 12])
    first = _half(sample, np.random.default_rng(0))
    assert first.sum() == 4  # two of five
    assert (first[::2] == first[1::2]).all()


def test_atoms_of_a_permuted_code_fire_as_often() -> None:
    dense = (torch.arange(50)[:, None] < torch.tensor([3, 0, 20, 50])).float()
    permuted = _permuted(SparseCodes.from_dense(dense), np.random.default_rng(0)).to_dense()
    assert (permuted > 0).sum(dim=0).tolist() == [3, 0, 20, 50]
    assert not torch.equal(permuted, dense)


def test_a_shape_leaves_less_than_half_of_what_a_random_group_leaves() -> None:
    assert _beyond(0.875, 0.5)
    assert not _beyond(0.75, 0.5)  # just half
    assert not _beyond(0.7, 0.5)
    assert _beyond(0.1, np.nan)


def test_atoms_lie_where_they_are_strongest() -> None:
    """Around a ring over its end, along a line by the mean; one that is nowhere strongest is last."""
    strongest = np.array([0, 0, 2, 2, 3])
    group = np.array([10, 11, 12, 13])
    ring = Fit("ring", 1.0, np.array([0.9, 0.96, 0.95, 0.15, 0.5]), True)
    assert _in_order(group, ring, strongest).tolist() == [12, 13, 10, 11]
    line = Fit("line", 1.0, np.array([0.9, 0.96, -3.0, 9.0, 0.5]), True)
    assert _in_order(group, line, strongest).tolist() == [13, 10, 12, 11]
    assert _in_order(group, line._replace(kind="sheet"), strongest).tolist() == group.tolist()


def test_a_ring_with_a_gap_or_a_filled_middle_holds_not() -> None:
    """An arc of .7 of the way round leaves a quarter empty; one of 13 rows near the centre is too many, of 33 not."""
    turn = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    sector = (turn // (np.pi / 4)).astype(int)

    def holds(y: np.ndarray, strongest: np.ndarray) -> bool:
        return fits_of(y[::2], y[1::2], strongest[1::2])["ring"].holds

    def filled(every: int) -> np.ndarray:
        y = ring.copy()
        y[::every] *= 0.2
        return y

    assert holds(ring, sector)
    assert not holds(ring[:1400], sector[:1400])
    assert holds(filled(33), sector)
    assert not holds(filled(13), sector)


def test_places_by_hand() -> None:
    """Of a row in which no atom of the group fires nothing is known."""
    one = np.ones(1)
    found = FoundShapes(
        groups=(np.array([1, 2]),), kind=("line",), n_axes=one, fit=one, control=one, coordinate=("",),
        order_r2=one, order_shuffled=one, n_fired=one, rows=(np.array([1, 3]),),
        places=(np.array([0.5, -1.0]),), n_rows=4, n_atoms=3, n_known=2, n_permuted=0,
    )  # fmt: skip
    np.testing.assert_array_equal(found.place(0), [np.nan, 0.5, np.nan, -1.0])
    for group in (-1, 1):
        with pytest.raises(ValueError, match="between 0 and 0"):
            found.place(group)


def test_a_group_that_fires_in_the_fitted_half_alone_is_left_out() -> None:
    x = planted()[0][:800]
    given = {"groups": [[12, 13]], "n_random": 1}
    assert len(find_shapes(ByHand(), x, **given).groups) == 1
    x[:, 4] *= torch.from_numpy(_half(np.arange(800), np.random.default_rng(0)))
    assert find_shapes(ByHand(), x, **given).groups == ()


def test_a_coordinate_begins_again_after_its_period() -> None:
    """Five rounds of 24 values around a circle, a row each: followed by the period, not by the rounds."""
    values = np.arange(120.0)
    turn = 2 * np.pi * values / 24
    y = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    name, r2, shuffled = _followed(y, np.arange(len(y)), {"hour": (values, 24.0)})
    assert name == "hour"
    assert r2 > 0.9 > shuffled
