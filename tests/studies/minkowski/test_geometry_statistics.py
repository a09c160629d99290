"""Bounds hold, hand cases are exact, and co-activation is told from chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb_studies.minkowski import (
    coactivation,
    dictionary_geometry,
    geometry_floors,
    near_grassmannian_frame,
    welch_bound,
)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "d", "bound"), [(3, 2, 0.5), (4, 3, 1 / 3), (6, 3, 5**-0.5)])
def test_the_best_frames_are_reached(n: int, d: int, bound: float) -> None:
    assert welch_bound(n, d) == pytest.approx(bound)
    best = min(
        dictionary_geometry(near_grassmannian_frame(n, d, seed=seed)).largest for seed in range(3)
    )
    assert best < bound + 0.03


@pytest.mark.slow
def test_an_optimised_frame_is_flatter_than_a_random_one() -> None:
    floors = geometry_floors(60, 12)
    assert floors["near-Grassmannian"].largest < 0.7 * floors["random"].largest
    assert floors["random"].spread == pytest.approx(12**-0.5, rel=0.1)


def test_hand_cases() -> None:
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


def codes_and_atoms(paired: bool) -> tuple[SparseCodes, torch.Tensor]:
    """Twenty atoms in pairs that point alike; the same pairs fire together, or others do."""
    draws = torch.Generator().manual_seed(0)
    base = torch.randn(10, 30, generator=draws)
    atoms = torch.cat([base, base + 0.3 * torch.randn(10, 30, generator=draws)])
    z = (torch.rand(400, 10, generator=draws) < 0.2).float()
    other = z if paired else z[:, torch.arange(10).roll(1)]
    return SparseCodes.from_dense(torch.cat([z, other], dim=1)), atoms


def test_atoms_that_fire_together_and_point_alike_correlate() -> None:
    paired = coactivation(*codes_and_atoms(paired=True))
    assert paired.correlation > 0.6
    assert paired.correlation > paired.floor + 5 * paired.floor_sd
    other = coactivation(*codes_and_atoms(paired=False))
    assert other.correlation < other.floor + 3 * other.floor_sd


def test_silent_atoms_are_left_out() -> None:
    codes, atoms = codes_and_atoms(paired=True)
    z = codes.to_dense()
    z[:, 3] = 0
    found = coactivation(SparseCodes.from_dense(2 * z), atoms)
    assert found.n_used == 19
    assert found.frequency[3] == found.energy[3] == 0
    assert found.energy[4] == pytest.approx(4)
    assert np.all(np.diff(found.eigenvalues) <= 1e-9)
