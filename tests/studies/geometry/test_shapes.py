"""Holes of point sets are those of their spaces; planted shapes are found among decoys, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb_studies.geometry import CoactivationShapes, coactivation_shapes
from sae_nb_studies.geometry._holes import holes
from sae_nb_studies.reproductions.experiments.coactivation_shapes import CLOSED, plant

OCTAHEDRON = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])


def lasting(points: np.ndarray, at_most: float) -> list[tuple[int, float, float]]:
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    return [
        (one.dimension, one.birth, one.death)
        for one in holes(distance, at_most)
        if one.lasts > 1.05
    ]


def test_a_square_has_one_loop_until_its_diagonal() -> None:
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    assert lasting(square, 2.0) == [(1, 1.0, pytest.approx(2**0.5))]
    assert lasting(square, 1.2) == [(1, 1.0, 1.2)]


def test_an_octahedron_has_one_void_until_its_axes() -> None:
    found = lasting(OCTAHEDRON.astype(float), 2.5)
    assert found == [(2, pytest.approx(2**0.5), pytest.approx(2.0))]


def test_two_squares_have_two_loops_and_a_line_none() -> None:
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    assert [one[0] for one in lasting(np.concatenate([square, square + 9]), 3.0)] == [1, 1]
    assert lasting(np.arange(8.0)[:, None] * [[1, 0.5]], 9.0) == []


@pytest.mark.slow
def test_planted_shapes_are_found_and_decoys_are_not(tmp_path) -> None:
    planted = plant(3, 6000)
    found = coactivation_shapes(planted.codes)
    closed = [
        (frozenset(group.tolist()), shape)
        for group, shape in zip(found.groups, found.shape, strict=True)
        if shape in CLOSED
    ]
    wanted = {(frozenset(atoms), kind) for kind, atoms in planted.groups if kind in CLOSED}
    assert len(wanted & set(closed)) >= 6
    assert len(set(closed) - wanted) <= 1
    found.save(tmp_path / "shapes")
    again = CoactivationShapes.load(tmp_path / "shapes")
    assert again.shape == found.shape
    assert again.table.equals(found.table)
    torus = found.shape.index("torus")
    assert found.points[torus].shape == (64, 4)
    assert len(found.figure(torus).data[0].x) == 64


@pytest.mark.parametrize("kind", ["circle", "chain", "clique"])
def test_a_group_that_is_given_is_named(kind: str) -> None:
    planted = plant(5, 4000)
    group = next(sorted(atoms) for k, atoms in planted.groups if k == kind)
    found = coactivation_shapes(planted.codes, [group])
    assert found.shape == ("none" if kind == "clique" else kind,)
    shuffled = np.random.default_rng(0).permuted(planted.codes.to_dense().numpy(), axis=0)
    assert coactivation_shapes(
        SparseCodes.from_dense(torch.from_numpy(shuffled)), [group]
    ).shape == ("none",)


def test_a_group_of_too_few_or_twice_the_same_is_refused() -> None:
    codes = plant(5, 200).codes
    for group in ([0, 1, 2], [0, 1, 2, 3, 4, 4]):
        with pytest.raises(ValueError, match="6 to 96 atoms"):
            coactivation_shapes(codes, [group])
    assert coactivation_shapes(codes, []).shape == ()
