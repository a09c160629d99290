"""The system of one input, as plain Python runs it: against numpy and scipy, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from sae_nb.pursuit import _refitting as refitting
from sae_nb.pursuit._problem import Problem
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


def test_a_slot_that_those_in_use_almost_make_up_stays_out() -> None:
    """Slot 0 at 37° of slot 1 would lower what is left, but is 0.36 of a new direction where ½ is asked for."""
    S, b = np.array([[1.0, np.nan], [0.8, 1.0]]), np.array([1.4, 1.0])
    z, passive = np.zeros(2), np.zeros(2, np.int64)
    system = (S, b, z, np.zeros((2, 2)), passive, 0, 2, 1, 0.5, 0.0, np.zeros(2))
    assert solve_small(NON_NEGATIVE, *system) == 1
    assert (z.tolist(), passive[0]) == ([0, 1], 1)


def test_a_slot_that_would_enter_with_a_negative_sign_stays_out() -> None:
    """Of S = (1 .8; .8 1) and b = (1 .7) the second would be (.7 − .8) / .36; the first stays as it is."""
    S, z, L = np.array([[1.0, np.nan], [0.8, 1.0]]), np.array([1.0, 0.0]), np.eye(2)
    passive = np.zeros(2, np.int64)
    system = (S, np.array([1.0, 0.7]), z, L, passive, 1, 2, 1, THRESHOLD, FLOOR, np.zeros(2))
    assert solve_small(NON_NEGATIVE, *system) == 1
    assert (z.tolist(), passive[0]) == ([1, 0], 0)


def test_the_first_to_reach_zero_leaves_and_the_others_stay_in_line() -> None:
    """On the way from (1 1 0) to (−1 −.1 2) slot 0 is at zero half-way, slot 1 after ten elevenths: 0 leaves.

    Of the others S = (1 .6; .6 1) and b = (1.1 1.34): z = (.296 .68) / .64.
    """
    S = np.array([[1.0, 0, 0.6], [0, 1, 0.6], [0.6, 0.6, 1]])
    b, z, passive = S @ [-1, -0.1, 2], np.array([1.0, 1, 0]), np.array([0, 1, 0])
    system = (np.where(np.tri(3, dtype=bool), S, np.nan), b, z, np.eye(3), passive, 2, 3, 2)
    assert solve_small(NON_NEGATIVE, *system, THRESHOLD, FLOOR, np.zeros(3)) == 2
    np.testing.assert_allclose(z, [0, 0.4625, 1.0625])
    assert passive[:2].tolist() == [1, 2]


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
        ((0.1, 1), (-0.5, 2), (0, 1 + 1 / 6), True),
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


@pytest.mark.parametrize(
    "algorithm", ["orthogonal_matching_pursuit", "gradient_pursuit"], ids=["solved", "stepped"]
)
@pytest.mark.parametrize("nonnegative", [True, False])
def test_rows_that_take_atoms_of_their_own_are_refitted(
    monkeypatch: pytest.MonkeyPatch, algorithm: Any, nonnegative: bool
) -> None:
    """Three inputs with two, one and no atoms, a pair at a time; the same atom again is refused."""
    monkeypatch.setattr(refitting, "AT_ONCE", 1)
    monkeypatch.setattr(refitting, "solve_small", solve_small)
    monkeypatch.setattr(refitting, "enter_slots", refitting.enter_slots.py_func)
    x, atoms = torch.from_numpy(unit(3, 6, 0)), torch.from_numpy(unit(3, 6, 1))
    atoms *= (atoms * x[[0, 1, 0]]).sum(dim=1, keepdim=True).sign()  # all fit their input
    problem = Problem(x=x, dictionary=atoms, k=2, algorithm=algorithm, nonnegative=nonnegative)
    fit = refitting.Refitting(problem)
    assert fit.take(torch.tensor([0, 1]), atoms[:2]).tolist() == [True, True]
    assert fit.take(torch.tensor([0]), atoms[2:]).tolist() == [True]
    assert fit.sizes.tolist() == [2, 1, 0]
    z = np.zeros((3, 2))
    z[:2, 0] = (x * atoms).sum(dim=1)[:2]
    own, left = atoms[[0, 2]].numpy(), x[0].numpy() - z[0] @ atoms[[0, 2]].numpy()
    if algorithm == "gradient_pursuit":
        g = own @ left * ((own @ left > 0) | (z[0] > 0) | (not nonnegative))
        z[0] = z[0] + g @ g / np.square(g @ own).sum() * g
    elif nonnegative:
        z[0] = nnls(own.T, x[0].numpy())[0]
    else:
        z[0] = np.linalg.lstsq(own.T, x[0].numpy(), rcond=None)[0]
    np.testing.assert_allclose(fit.coefficients, z, atol=1e-12)
    np.testing.assert_allclose(fit.residual[0], x[0].numpy() - z[0] @ own, atol=1e-12)
    np.testing.assert_allclose(fit.residual[1], (x[1] - z[1, 0] * atoms[1]).numpy(), atol=1e-12)
    assert torch.equal(fit.residual[2], x[2])
    if algorithm == "orthogonal_matching_pursuit":
        assert fit.take(torch.tensor([1, 2]), atoms[[1, 1]]).tolist()[0] is False
