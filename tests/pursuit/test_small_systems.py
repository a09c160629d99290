"""The system of one input, as plain Python runs it: against numpy and scipy, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from sae_nb.pursuit._reference import gradient_step
from sae_nb.pursuit._small_systems import (
    GRADIENT,
    LEAST_SQUARES,
    NON_NEGATIVE,
    NON_NEGATIVE_GRADIENT,
    refine_small,
    solve_small,
)

THRESHOLD, FLOOR = 1e-9, 1e-12


class System:
    """Slots that are taken one after the other; of S only the lower triangle is there."""

    def __init__(self, atoms: np.ndarray, x: np.ndarray) -> None:
        self.atoms, self.x, n = atoms, x, len(atoms)
        self.S = np.where(np.tri(n, dtype=bool), atoms @ atoms.T, np.nan)
        self.b = atoms @ x
        self.z, self.L, self.work = np.zeros(n), np.zeros((n, n)), np.zeros(n)
        self.passive, self.p = np.zeros(n, np.int64), 0

    def take(self, mode: int, m: int) -> int:
        self.p = solve_small(
            mode, self.S, self.b, self.z, self.L, self.passive, self.p, m, m - 1,
            THRESHOLD, FLOOR, self.work,
        )  # fmt: skip
        return self.p


def unit(n: int, d: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_slots_taken_one_by_one_have_the_least_squares_of_all_so_far() -> None:
    system = System(unit(6, 9, 0), unit(1, 9, 1)[0])
    for m in range(1, 7):
        assert system.take(LEAST_SQUARES, m) == m
        expected = np.linalg.lstsq(system.atoms[:m].T, system.x, rcond=None)[0]
        np.testing.assert_allclose(system.z[:m], expected)


def test_an_atom_that_the_others_make_up_is_refused() -> None:
    atoms = unit(3, 5, 0)
    atoms[2] = (atoms[0] + atoms[1]) / np.linalg.norm(atoms[0] + atoms[1])
    system = System(atoms, unit(1, 5, 1)[0])
    assert [system.take(LEAST_SQUARES, m) for m in (1, 2, 3)] == [1, 2, -1]


def test_what_rounding_left_is_solved_for_and_added() -> None:
    """S = (4 2; 2 3), w = (2 1): S⁻¹ w = (½ 0); a coefficient that would turn negative stays."""
    L = np.array([[2.0, 0.0], [1.0, 2**0.5]])
    z, work = np.array([10.0, 20.0]), np.array([2.0, 1.0])
    refine_small(L, np.array([1, 0]), 2, z, False, work)
    np.testing.assert_allclose(z, [10, 20.5])
    z, work = np.array([10.0, 0.25]), np.array([-2.0, 7.0])  # S⁻¹ w = (−2.5 4)
    refine_small(L, np.array([1, 0]), 2, z, True, work)
    np.testing.assert_allclose(z, [14, 0.25])
    rng = np.random.default_rng(0)
    half = rng.standard_normal((5, 5))
    S, w = half @ half.T + np.eye(5), rng.standard_normal(5)
    z, work = np.zeros(5), w.copy()
    refine_small(np.linalg.cholesky(S), np.arange(5), 5, z, False, work)
    np.testing.assert_allclose(z, np.linalg.solve(S, w))


def test_non_negative_slots_are_non_negative_least_squares() -> None:
    """The atom that fits best enters until none fits; some that entered leave again."""
    left = 0
    for seed in range(30):
        atoms, x = unit(14, 6, seed), unit(1, 6, 100 + seed)[0]
        chosen: list[int] = []
        z, passive, p = np.zeros(14), np.zeros(14, np.int64), 0
        L = np.zeros((14, 14))
        while len(chosen) < 8:
            g = atoms @ (x - z[: len(chosen)] @ atoms[chosen])
            g[chosen] = -1
            if g.max() <= 1e-9:
                break
            chosen.append(int(g.argmax()))
            m, gram = len(chosen), atoms[chosen] @ atoms[chosen].T
            lower = np.where(np.tri(m, dtype=bool), gram, np.nan)
            p = solve_small(
                NON_NEGATIVE, lower, atoms[chosen] @ x, z, L, passive, p, m, m - 1,
                THRESHOLD, FLOOR, np.zeros(14),
            )  # fmt: skip
            np.testing.assert_allclose(z[:m], nnls(atoms[chosen].T, x)[0], atol=1e-10)
            assert sorted(passive[:p]) == np.flatnonzero(z[:m]).tolist()
        left += len(chosen) - p
    assert left > 0


@pytest.mark.parametrize(
    ("z", "x", "expected", "nonnegative"),
    [
        ((1, 0), (-3, -2), (-3, -2), False),
        ((1, 0), (-3, -2), (0, 0), True),  # the second may not fall; the first stops at 0
        ((1, 2), (0.5, 3), (0.5, 3), True),
        (
            (4, 4),
            (-1, 2),
            (0, 4 - 2 * 0.8),
            True,
        ),  # four fifths of the way, where the first is 0
        ((0, 1), (2, -3), (0.5, 0), True),
        ((1, 1), (-0.2, 2), (0, 1 + 1 / 1.2), True),  # a fifth beyond 0 is too far
    ],
)
def test_a_step_along_the_gradient_of_two_orthogonal_atoms(
    z: tuple, x: tuple, expected: tuple, nonnegative: bool
) -> None:
    atoms, start = np.eye(2), np.array(z, float)
    mode = NON_NEGATIVE_GRADIENT if nonnegative else GRADIENT
    moved = start.copy()
    solve_small(mode, atoms, np.array(x, float), moved, None, None, 0, 2, 1, 0.0, 0.0, np.zeros(2))
    np.testing.assert_allclose(moved, expected, atol=1e-12)
    r = torch.tensor(x, dtype=torch.float64) - torch.tensor(z, dtype=torch.float64)
    found = gradient_step(
        r[None], torch.eye(2).double()[None], torch.from_numpy(start)[None], nonnegative=nonnegative
    )
    np.testing.assert_allclose(found[0], expected, atol=1e-12)


def test_the_length_of_a_step_is_that_of_a_search_along_it() -> None:
    """α = ⟨g, g⟩ / ⟨g, S g⟩ with atoms that are not orthogonal; in their kernel there is none."""
    atoms, x, z = unit(4, 7, 0), unit(1, 7, 1)[0], np.array([0.3, -0.1, 0.2, 0.5])
    S, g = atoms @ atoms.T, atoms @ (x - z @ atoms)
    expected = z + g @ g / (g @ S @ g) * g
    lower = np.where(np.tri(4, dtype=bool), S, np.nan)
    moved = z.copy()
    p = solve_small(GRADIENT, lower, atoms @ x, moved, None, None, 2, 4, 3, 0.0, 0.0, np.zeros(4))
    assert p == 2
    np.testing.assert_allclose(moved, expected)
    still = (GRADIENT, np.zeros((1, 1)), np.zeros(1), np.zeros(1), None, None, 0, 1, 0, 0.0, 0.0)
    assert solve_small(*still, np.zeros(1)) == -1
