"""Bounds hold, hand cases are exact, and co-activation is told from chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from sae_nb.codes import SparseCodes
from sae_nb_studies.minkowski import (
    coactivation,
    dictionary_geometry,
    geometry_floors,
    near_grassmannian_frame,
    random_frame,
    welch_bound,
)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 40), d=st.integers(1, 12), seed=st.integers(0, 99))
def test_no_frame_beats_the_welch_bound(n: int, d: int, seed: int) -> None:
    """Random or optimised."""
    found = dictionary_geometry(random_frame(n, d, seed=seed))
    assert found.largest >= welch_bound(n, d) - 1e-5
    moved = near_grassmannian_frame(n, d, n_steps=5, seed=seed)
    assert dictionary_geometry(moved).largest >= welch_bound(n, d) - 1e-5


@pytest.mark.parametrize(("n", "d", "bound"), [(3, 2, 0.5), (4, 3, 1 / 3), (6, 3, 5**-0.5)])
def test_the_best_frames_are_reached(n: int, d: int, bound: float) -> None:
    """Triangle, tetrahedron, the six diagonals of the icosahedron."""
    assert welch_bound(n, d) == pytest.approx(bound)
    best = min(
        dictionary_geometry(near_grassmannian_frame(n, d, seed=seed)).largest for seed in range(3)
    )
    assert best < bound + 0.03


def test_few_atoms_become_orthogonal() -> None:
    """Up to the width."""
    assert dictionary_geometry(near_grassmannian_frame(5, 8)).largest < 1e-5


def test_an_optimised_frame_is_flatter_than_a_random_one() -> None:
    """In the largest cosine by far."""
    floors = geometry_floors(60, 12)
    assert floors["near-Grassmannian"].largest < 0.7 * floors["random"].largest
    assert floors["random"].spread == pytest.approx(12**-0.5, rel=0.1)


def test_hand_cases() -> None:
    """The axes and their opposites in four dimensions."""
    cross = torch.cat([torch.eye(4), -torch.eye(4)])
    found = dictionary_geometry(5 * cross)
    assert (found.largest, found.antipodal_fraction) == (1.0, 1.0)
    assert found.effective_rank == pytest.approx(4)
    assert found.stable_rank == pytest.approx(4)
    assert found.hoyer == pytest.approx(1)
    assert found.alike_fraction == pytest.approx(4 / 28)
    assert found.counts.sum() == 28
    assert found.counts[0] == 4
    half = dictionary_geometry(torch.cat([torch.eye(4), torch.zeros(3, 4)]))
    assert (half.n_atoms, half.largest) == (4, 0.0)


def test_norms_do_not_count() -> None:
    """Only directions are looked at."""
    atoms = torch.randn(15, 6, generator=torch.Generator().manual_seed(0))
    scales = torch.arange(1.0, 16.0)[:, None]
    one, two = dictionary_geometry(atoms), dictionary_geometry(scales * atoms)
    assert one.percentile_99 == pytest.approx(two.percentile_99, abs=1e-5)


def codes_and_atoms(paired: bool) -> tuple[SparseCodes, torch.Tensor]:
    """Twenty atoms in pairs that point alike; the same pairs fire together, or others do."""
    draws = torch.Generator().manual_seed(0)
    base = torch.randn(10, 30, generator=draws)
    atoms = torch.cat([base, base + 0.3 * torch.randn(10, 30, generator=draws)])
    z = (torch.rand(400, 10, generator=draws) < 0.2).float()
    other = z if paired else z[:, torch.arange(10).roll(1)]
    return SparseCodes.from_dense(torch.cat([z, other], dim=1)), atoms


def test_atoms_that_fire_together_and_point_alike_correlate() -> None:
    """Far beyond permuted atoms; if other pairs fire together, not."""
    paired = coactivation(*codes_and_atoms(paired=True))
    assert paired.correlation > 0.6
    assert paired.correlation > paired.floor + 5 * paired.floor_sd
    other = coactivation(*codes_and_atoms(paired=False))
    assert other.correlation < other.floor + 3 * other.floor_sd


def test_silent_atoms_are_left_out() -> None:
    """Their number is told, and frequencies and energies are those of the codes."""
    codes, atoms = codes_and_atoms(paired=True)
    z = codes.to_dense()
    z[:, 3] = 0
    found = coactivation(SparseCodes.from_dense(2 * z), atoms)
    assert found.n_used == 19
    assert found.frequency[3] == found.energy[3] == 0
    assert found.energy[4] == pytest.approx(4)
    assert np.all(np.diff(found.eigenvalues) <= 1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dictionary_geometry(torch.zeros(4, 3)), "two atoms with a direction, got 0"),
        (
            lambda: coactivation(SparseCodes.from_dense(torch.ones(4, 2)), torch.eye(3)),
            "of 3 atoms",
        ),
        (
            lambda: coactivation(SparseCodes.from_dense(torch.ones(4, 2)), torch.eye(2)),
            "three atoms or more, got 2",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call: object, message: str) -> None:
    """Before any work."""
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
