"""A ring of co-activation is found where one was planted, gives its coordinate, and is refused elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb.geometry import Ring, coactivation_ring, curve
from sae_nb.geometry._ring import _checked_group, _closed, _lift, tied_groups

M, N, OTHERS = 12, 1500, 40


def planted(kind: str, seed: int) -> tuple[SparseCodes, np.ndarray, np.ndarray]:
    """Codes of 12 atoms, among 40 that fire by themselves; the angle of each row, and which atoms they are."""
    rng = np.random.default_rng(seed)
    u, at = rng.random(N), (np.arange(M) + 0.3 * rng.random(M)) / M
    z = {
        "ring": np.cos(2 * np.pi * (u[:, None] - at)) - np.cos(2 * np.pi * 1.3 / M),
        "chain": 1.3 / M - np.abs(u[:, None] - at),
        "clique": (rng.random((N, 1)) < 0.3) * (rng.random((N, M)) - 0.3),
        "independent": rng.random((N, M)) - 0.75,
    }[kind]
    alone = np.where(rng.random((N, OTHERS)) < 0.1, rng.random((N, OTHERS)), 0)
    places = rng.permutation(M + OTHERS)
    x = np.zeros((N, M + OTHERS))
    x[:, places] = np.concatenate([np.maximum(z, 0), alone], axis=1)
    return SparseCodes.from_dense(torch.from_numpy(x)), u, places[:M]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("known", [True, False])
def test_a_planted_ring_is_found_in_its_order_and_foretells_the_angle(
    seed: int, known: bool
) -> None:
    codes, u, atoms = planted("ring", seed)
    ring = coactivation_ring(codes, atoms if known else None, seed=seed)
    where = [atoms.tolist().index(atom) for atom in ring.atoms]
    steps = np.diff([*where, where[0]]) % M
    assert set(steps.tolist()) in ({1}, {M - 1})
    assert ring.closure > 2 > ring.closure_shuffled
    found = ring.coordinate(codes)
    right = ~np.isnan(found)
    assert right.mean() > 0.95
    turns = [np.abs(np.mean(np.exp(2j * np.pi * (found - way * u))[right])) for way in (1, -1)]
    assert max(turns) > 0.98


def test_lift_counts_half_a_row_more_together() -> None:
    """Of four rows the first fires in two, the second in three, once together; the third never."""
    fires = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0]], bool)
    np.testing.assert_allclose(
        _lift(fires), [[2.5 * 4 / 4, 1.5 * 4 / 6, 2], [1, 3.5 * 4 / 9, 2], [2, 2, 2]]
    )


def test_atoms_tied_by_partners_are_a_group() -> None:
    """Twelve atoms of a ring, all that there are; five are too few to be one."""
    codes, _, atoms = planted("ring", 0)
    alone = SparseCodes.from_dense(codes.to_dense()[:, atoms])
    first = np.arange(N) % 2 == 0
    assert [one.tolist() for one in tied_groups(alone, first)] == [list(range(M))]
    few = SparseCodes.from_dense(codes.to_dense()[:, atoms[:5]])
    assert tied_groups(few, first) == []
    assert tied_groups(alone, first, at_most=M - 1) == []


def test_atoms_that_meet_as_often_as_by_chance_are_tied_to_none() -> None:
    """Six atoms in every way to fire, each way twice: every pair in a quarter of the rows."""
    ways = (np.arange(64)[:, None] >> np.arange(6)) % 2
    codes = SparseCodes.from_dense(torch.from_numpy(np.repeat(ways, 2, axis=0)).float())
    assert tied_groups(codes, np.ones(128, dtype=bool)) == []


@pytest.mark.parametrize("together", [12, 13])
def test_tied_is_what_meets_four_standard_deviations_oftener(together: int) -> None:
    """Each atom in 20 of 100 rows: by chance 4 of them are shared, give or take 2, so 12 are just too few."""
    x = torch.zeros(100, 6)
    x[:together] = 1
    for atom in range(6):
        x[together + 8 * atom :][: 20 - together, atom] = 1
    groups = tied_groups(SparseCodes.from_dense(x), np.ones(100, dtype=bool), n_partners=5)
    assert [one.tolist() for one in groups] == ([list(range(6))] if together == 13 else [])


def test_places_are_angles_of_eigenvectors_of_the_walk_among_atoms() -> None:
    """Second and third of P = A / Σ_j A_ij, each of length one where an atom counts as often as it fires."""
    codes, _, atoms = planted("ring", 0)
    fires = codes.to_dense().numpy()[:, atoms] != 0
    first = np.arange(N) < N // 2
    x = fires[first].astype(float)
    together = x.T @ x
    values, vectors = np.linalg.eig(together / together.sum(axis=1, keepdims=True))
    second, third = vectors[:, np.argsort(-values.real)[1:3]].real.T
    for v in (second, third):
        v /= np.sqrt((v**2 * together.sum(axis=1)).sum())
    places, *_ = _closed(fires, first)
    angles = [np.arctan2(a * third, b * second) / (2 * np.pi) % 1 for a in (1, -1) for b in (1, -1)]
    assert min(np.abs((places - one + 0.5) % 1 - 0.5).max() for one in angles) < 1e-6


def test_a_ring_is_closed_by_its_weakest_neighbours_against_atoms_a_quarter_round_away() -> None:
    codes, _, atoms = planted("ring", 1)
    fires = codes.to_dense().numpy()[:, atoms] != 0
    first = np.arange(N) % 2 == 0
    places, closure, beside, across = _closed(fires, first)
    order = np.argsort(places)
    lift = _lift(fires[~first])[order][:, order]
    far = [lift[a, b] for a in range(M) for b in range(M) if 3 <= (a - b) % M <= 9]
    assert across == pytest.approx(np.median(far))
    assert beside == pytest.approx([lift[a, (a + 1) % M] for a in range(M)])
    assert closure == pytest.approx(min(beside) / max(np.median(far), 1))


@pytest.mark.parametrize("n", [9, 10])
@pytest.mark.parametrize("half", [0, 1])
def test_an_atom_of_a_ring_fires_on_ten_rows_of_each_half(
    n: int, half: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, _, atoms = planted("ring", 0)
    z, seen = codes.to_dense(), []
    which = np.random.default_rng(0).permutation(N) < N // 2
    rows = np.flatnonzero((z[:, atoms[0]].numpy() != 0) & (which == bool(half)))
    z[rows[n:], atoms[0]] = 0

    def closed(fires: np.ndarray, first: np.ndarray) -> Any:
        seen.append(fires.shape[1])
        return np.zeros(fires.shape[1]), 0.0, np.zeros(1), 1.0

    monkeypatch.setattr("sae_nb.geometry._ring._closed", closed)
    with pytest.raises(ValueError, match="closes a ring"):
        coactivation_ring(SparseCodes.from_dense(z), atoms=atoms.tolist(), seed=0)
    assert set(seen) == {M if n == 10 else M - 1}


def test_atoms_of_the_control_fire_as_often_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []

    def closed(fires: np.ndarray, first: np.ndarray) -> Any:
        counts.append(fires.sum(axis=0).tolist())
        return _closed(fires, first)

    monkeypatch.setattr("sae_nb.geometry._ring._closed", closed)
    codes, _, atoms = planted("ring", 0)
    coactivation_ring(codes, atoms, n_shuffled=3)
    wanted = (codes.to_dense()[:, torch.from_numpy(atoms)] != 0).sum(dim=0).tolist()
    assert counts == [wanted] * 4


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["chain", "clique", "independent"])
def test_where_there_is_no_ring_none_is_proposed(kind: str, seed: int) -> None:
    codes, _, atoms = planted(kind, seed)
    for group in (atoms, None):
        with pytest.raises(ValueError, match="`codes` must have"):
            coactivation_ring(codes, group, seed=seed)


@pytest.mark.parametrize("closure", [1.49, 1.5])
def test_a_ring_closes_one_and_a_half_times_as_tightly_as_chance(
    closure: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, _, atoms = planted("ring", 0)
    loose = (np.arange(M) / M, closure, np.ones(M), 1.0)
    monkeypatch.setattr("sae_nb.geometry._ring._closed", lambda fires, first: loose)
    if closure < 1.5:
        with pytest.raises(ValueError, match="1.5 is asked for"):
            coactivation_ring(codes, atoms)
    else:
        assert coactivation_ring(codes, atoms).closure == closure


def test_its_coordinate_gives_a_closed_curve(tmp_path) -> None:
    """Rows on a circle in 24 dimensions, of which only the codes are known to the ring."""
    codes, u, _ = planted("ring", 0)
    ring = coactivation_ring(codes)
    ring.save(tmp_path / "ring")
    found = Ring.load(tmp_path / "ring").coordinate(codes)
    kept = np.flatnonzero(~np.isnan(found))
    rng = np.random.default_rng(1)
    plane = np.linalg.qr(rng.standard_normal((24, 2)))[0]
    x = np.stack([np.cos(2 * np.pi * u), np.sin(2 * np.pi * u)], axis=1) @ plane.T
    x = torch.from_numpy(x + 0.1 * rng.standard_normal(x.shape)).float()
    c = curve(x[kept], found[kept], closed=True, period=1.0)
    assert c.r2 > 0.95 > c.r2_shuffled
    assert 1 in c.order


def test_a_ring_is_of_six_to_sixty_four_atoms() -> None:
    codes = SparseCodes.from_dense(torch.ones(2, 70))
    for n in (6, 64):
        assert _checked_group(codes, range(n)).tolist() == [*range(n)]
    for wrong in (range(5), range(65), [0, 1, 2, 3, 4, 5, 5]):
        with pytest.raises(ValueError, match="must be 6 to 64 atoms, each once"):
            _checked_group(codes, wrong)
