"""The compiled loops of the CPU, one by one as plain Python runs them, against numpy; and at sizes that pass
every block, strip and remainder, against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sae_nb.pursuit import (
    _cpu as loops,
    _pursuits as pursuits,
    gradient_pursuit,
    matching_pursuit,
    orthogonal_matching_pursuit,
)
from sae_nb.pursuit._cpu import BLOCK, FAR
from sae_nb.pursuit._mirroring import mirror
from sae_nb.pursuit._planning import Plan
from tests.pursuit.conftest import draw_dictionary, draw_inputs


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loop as Python runs it: what only loops call cannot be called otherwise."""
    for name, loop in vars(loops).copy().items():
        if hasattr(loop, "py_func"):
            monkeypatch.setattr(loops, name, loop.py_func)
    monkeypatch.setattr(loops, "larger", max)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def tops(c: np.ndarray, signed: bool) -> list[float]:
    scores = np.abs(c) if signed else np.maximum(c, 0)
    return [float(scores[at : at + BLOCK].max()) for at in range(0, len(c), BLOCK)]


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("signed", [True, False])
def test_maxima_are_those_of_blocks(signed: bool) -> None:
    """Three blocks, the last one short; one of negative numbers alone; blocks not asked for stay."""
    c, maxima = numbers(300), np.full(3, 9.0)
    c[:BLOCK] = -np.abs(c[:BLOCK])
    loops.find_maxima(c, 1, 2, signed, maxima)
    assert maxima.tolist() == [9, tops(c, signed)[1], 9]
    loops.find_maxima(c, 0, 3, signed, maxima)
    assert maxima.tolist() == tops(c, signed)
    row, a = numbers(300, seed=1), 0.7
    expected = c - a * row
    loops.update(c, a, row, signed, maxima)
    np.testing.assert_allclose(c, expected)
    np.testing.assert_allclose(maxima, tops(expected, signed))


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("m", [0, 1, 2, 7, 8, 11])
@pytest.mark.parametrize("signed", [True, False])
def test_correlations_of_a_code_are_combined_by_eight_two_and_one(m: int, signed: bool) -> None:
    """1100 atoms are a strip of eight blocks, and a rest."""
    n = 1100
    gram, start, z = numbers(n, n), numbers(n, seed=1), numbers(12, seed=2)
    atoms = np.arange(12) * 91
    c, maxima = np.zeros(n), np.zeros(9)
    loops.combine(start, z, atoms, m, gram, signed, c, maxima)
    expected = start - z[:m] @ gram[atoms[:m]]
    np.testing.assert_allclose(c, expected, atol=1e-12)
    np.testing.assert_allclose(maxima, tops(expected, signed), atol=1e-12)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("m", [0, 2, 3, 4])
def test_atoms_that_were_chosen_are_left_out(m: int) -> None:
    c, atoms = numbers(300), np.array([299, 5, 130, 128])
    c[atoms] = [9, -8, 7, -6]
    expected, maxima = c.copy(), np.array(tops(c, True))
    expected[atoms[:m]] = 0
    loops.exclude(c, atoms, m, True, maxima)
    assert c.tolist() == expected.tolist()
    assert maxima.tolist() == tops(expected, True)


@pytest.mark.usefixtures("plain")
def test_the_best_atom_is_the_first_of_the_largest_above_the_floor() -> None:
    c = np.zeros(300)
    c[[7, 140, 290]] = [1.0, -3.0, 3.0]
    maxima = np.array(tops(c, True))
    assert loops.best(c, 2.5, True, maxima) == 140
    assert loops.best(c, 3.0, True, maxima) == -1
    maxima = np.array(tops(c, False))
    assert loops.block_of_best(maxima) == 2
    assert loops.best(c, 2.5, False, maxima) == 290
    c[140] = 3.0
    assert loops.best(c, 2.5, False, np.array(tops(c, False))) == 140
    c[128] = 3.0
    assert loops.best(c, 2.5, False, np.array(tops(c, False))) == 128


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("signed", [True, False])
def test_the_choice_among_near_ones_is_by_their_products(signed: bool) -> None:
    """c says only who is looked at; of equal products the lower atom; too many give up."""
    dictionary, left = np.zeros((300, 2)), np.array([2.0, 1.0])
    dictionary[[10, 20, 200, 299], 0] = [1.0, 1.5, -2.0, 1.5]
    c = np.zeros(300)
    c[[10, 20, 200, 299]] = [0.9, 1.0, -1.0, 1.0]
    maxima = np.array(tops(c, signed))

    def decide(limit: float, most: int = 9) -> tuple[int, float]:
        return loops.decide(c, left, dictionary, limit, most, signed, maxima)

    assert decide(0.9) == ((200, -4.0) if signed else (20, 3.0))
    assert decide(1.0) == ((200, -4.0) if signed else (20, 3.0))
    assert decide(0.95, 3 if signed else 2)[0] != FAR
    assert decide(0.95, 2 if signed else 1)[0] == FAR
    assert decide(1.1) == (-1, 0.0)
    c[127] = 2.0
    maxima[0] = 2.0
    assert decide(1.5) == (-1, 0.0)  # its product is 0
    for place in (0, 127, 128):
        c[:], dictionary[:] = 0, 0
        c[place], dictionary[place] = 1.0, [0.5, 0.25]
        maxima[:] = tops(c, signed)
        assert decide(0.5) == (place, 1.25)


@pytest.mark.usefixtures("plain")
def test_small_loops_by_hand() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([4.0, -1.0, 2.0])
    assert loops.dot(a, b) == 8
    assert loops.precise_dot(a.astype(np.float32), b) == 8
    assert loops.subtract(a, 2.0, b) == 7**2 + 4**2 + 1
    assert a.tolist() == [-7, 4, -1]
    c = np.zeros(2)
    loops.correlate(np.array([1.0, 2.0]), np.array([[1.0, 1.0], [3.0, -1.0]]), c)
    assert c.tolist() == [3, 1]
    chosen = np.array([5, 3, 9])
    assert [loops.place_of(atom, chosen, 2) for atom in (5, 3, 9)] == [0, 1, 2]
    r, d = np.zeros(2), np.array([[9.0, 9.0], [1.0, 0.0], [0.0, 2.0]])
    assert loops.leftover(np.array([3.0, 4.0]), np.array([2.0, 1.0, 9.0]), [1, 2, 0], 2, d, r) == 5
    assert r.tolist() == [1, 2]
    assert loops.leftover(np.array([3.0, 4.0]), np.zeros(3), [1, 2, 0], 2, d, r) == 25
    r, rho, term = np.array([1.0, 2.0]), np.array([3.0, 5.0]), np.zeros(2)
    loops.step_back(r, rho, np.array([1.0, -1.0]), 2.0, 0.5, term)
    assert (r.tolist(), term.tolist(), rho.tolist()) == ([3, 0], [-4.5, -10], [3.5, 4.5])


@pytest.mark.usefixtures("plain")
def test_gram_rows_are_applied_to_the_inputs_that_just_chose_them() -> None:
    """Three inputs: one chose at this step an atom that is here, one an atom that is not, one had stopped."""
    c, rows = np.ones((3, 2)), np.array([[9.0, 9.0], [1.0, 2.0]])
    slot_of, atoms = np.array([-1, 1, 0]), np.array([[2, 1], [0, 0], [2, 1]])
    places, amounts = np.array([[0, 1], [0, 0], [0, 1]]), np.array([[5.0, 2.0]] * 3)
    steps = np.array([2, 2, 1])
    loops.apply_rows(0, 3, c, rows, slot_of, atoms, places, amounts, 1, steps)
    assert c.tolist() == [[-1, -3], [1, 1], [1, 1]]
    loops.apply_rows(2, 3, c, rows, slot_of, atoms, places, amounts, 0, steps)
    assert c.tolist() == [[-1, -3], [1, 1], [-44, -44]]


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("strategy", ["gram", "rows", "direct"])
@pytest.mark.parametrize(
    "algorithm", [matching_pursuit, orthogonal_matching_pursuit, gradient_pursuit]
)
def test_whole_pursuits_by_plain_loops(
    algorithm: Any, strategy: Any, nonnegative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of four among 11 atoms, tiles of two rows; a row of nothing, one along an atom, and others."""
    if strategy == "rows" and algorithm is not matching_pursuit:
        pytest.skip("what refits keeps no such rows")
    plan = Plan(strategy, 2, {"gram": 11, "rows": 2, "direct": 0}[strategy], {}, seconds=0.0)
    monkeypatch.setattr(pursuits, "make_plan", lambda *_: plan)
    monkeypatch.setattr(loops, "BLOCK", 4)
    monkeypatch.setattr(loops, "MOST", 2)
    dictionary = draw_dictionary(11, 5)
    x = torch.cat([draw_inputs(3, 5), 3 * dictionary[4:5], torch.zeros(1, 5).double()])
    ways: list[dict[str, Any]] = [
        {"tolerance": 0.9},
        {"relative_tolerance": 0.4, "trace": True},
        {},
    ]
    if algorithm is not orthogonal_matching_pursuit:
        ways += [{"reselect": False}]
    if algorithm is matching_pursuit:
        ways += [{"reselect": "stop", "refresh_every": 2}]
    for way in ways:
        found, expected = (
            algorithm(x, dictionary, 4, nonnegative=nonnegative, backend=backend, **way)
            for backend in ("cpu", "reference")
        )
        if "trace" in way:
            (found, trace), (expected, steps) = found, expected
            assert torch.equal(trace.atoms, steps.atoms)
            assert torch.allclose(trace.residual_norms, steps.residual_norms, atol=1e-9)
            assert torch.allclose(trace.coefficients, steps.coefficients, atol=1e-9)
        assert torch.allclose(found.to_dense(), expected.to_dense(), atol=1e-9)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("strategy", ["gram", "direct"])
def test_where_many_atoms_are_alike_the_first_is_taken(
    strategy: Any, nonnegative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four copies of each of three atoms, a block each, of which two at most are compared one by one."""
    plan = Plan(strategy, 2, 12 * (strategy == "gram"), {}, seconds=0.0)
    monkeypatch.setattr(pursuits, "make_plan", lambda *_: plan)
    monkeypatch.setattr(loops, "BLOCK", 4)
    monkeypatch.setattr(loops, "MOST", 2)
    atoms = draw_dictionary(3, 5)
    shares = torch.tensor([[1.0, 3, 0.7], [2, 0.5, 1], [0.3, 1, 2]]).double()
    alone = matching_pursuit(shares @ atoms, atoms, 3, nonnegative=nonnegative, backend="reference")
    few = matching_pursuit(
        shares @ atoms, atoms.repeat_interleave(4, dim=0), 3, nonnegative=nonnegative, backend="cpu"
    )
    assert torch.allclose(few.to_dense()[:, [0, 4, 8]], alone.to_dense(), atol=1e-9)
    assert few.l0.tolist() == alone.l0.tolist()


@pytest.mark.parametrize("n", [1, 64, 150])
def test_a_matrix_is_mirrored_at_its_diagonal(n: int) -> None:
    whole = numbers(n, n)
    whole += whole.T
    upper = np.triu(whole)
    mirror.py_func(0, -(-n // 64), upper)
    assert (upper == whole).all()


@pytest.mark.parametrize(
    "way",
    [
        {},
        {"tolerance": 1.5},
        {"trace": True},
        {"reselect": False},
        {"reselect": True},
        {"memory_cap": 320_000},
        {"memory_cap": 320_000, "tolerance": 1.5},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "algorithm", [matching_pursuit, orthogonal_matching_pursuit, gradient_pursuit]
)
def test_eleven_steps_among_1100_atoms_are_those_of_the_definition(
    algorithm: Any, nonnegative: bool, way: dict[str, Any]
) -> None:
    if algorithm is orthogonal_matching_pursuit and "reselect" in way:
        pytest.skip("solves for all atoms chosen")
    x, dictionary = 2 * draw_inputs(7, 16), draw_dictionary(1100, 16)
    options = {"nonnegative": nonnegative, **way}
    ours = algorithm(x, dictionary, 11, backend="cpu", **options)
    expected = algorithm(x, dictionary, 11, backend="reference", **options)
    if "trace" in way:
        ours, trace = ours
        expected, steps = expected
        assert torch.equal(trace.atoms, steps.atoms)
        assert torch.allclose(trace.residual_norms, steps.residual_norms, atol=1e-9)
        assert torch.allclose(trace.coefficients, steps.coefficients, atol=1e-9)
    assert torch.allclose(ours.to_dense(), expected.to_dense(), atol=1e-9)


def test_coefficients_in_fp32_are_refined_to_what_fp32_can_say() -> None:
    """Atoms that lie close together: without the last step the error would be forty millionths."""
    plain = draw_dictionary(1, 30) + 0.02 * draw_inputs(12, 30)
    dictionary = torch.nn.functional.normalize(plain, dim=1).float()
    x = (draw_inputs(20, 12, seed=3).abs() @ dictionary.double()).float()
    for nonnegative in (True, False):
        exact, ours = (
            orthogonal_matching_pursuit(part, atoms, 8, nonnegative=nonnegative).to_dense().double()
            for part, atoms in ((x.double(), dictionary.double()), (x, dictionary))
        )
        same = ((exact != 0) == (ours != 0)).all(dim=1)
        assert int(same.sum()) > 5
        off = (exact - ours)[same].norm(dim=1) / exact[same].norm(dim=1)
        assert off.max() < 5e-6
