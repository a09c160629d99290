"""PursuitSteps: what is recorded is what the kernels did, and the rest follows from it exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.architectures import PursuitSteps, sparse_code, summarise_pursuit, summarise_trace

DATA = sn.data.planted_dictionary(48, 24, 6, 4, coherence=0.3, noise=0.02, seed=1)
SIGNED = sn.data.planted_dictionary(48, 24, 6, 4, coherence=0.3, nonnegative=False, seed=2)
K = 7


def record(algorithm: str, **given: Any) -> PursuitSteps:
    return summarise_pursuit(DATA.x, DATA.dictionary, algorithm, **({"row": 2, "k": K} | given))


def dense(steps: PursuitSteps, step: int) -> np.ndarray:
    return steps.dense_code_at(step, np.arange(steps.n_atoms))


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("algorithm", list(PursuitSteps.GREEDY))
def test_last_code_is_the_kernels_own(algorithm: str, nonnegative: bool) -> None:
    """The code at the last step equals what the public function returns, up to rounding."""
    run = getattr(sn, PursuitSteps.GREEDY[algorithm])
    codes, trace = run(DATA.x[2:3], DATA.dictionary, K, nonnegative=nonnegative, trace=True)
    steps = record(algorithm, nonnegative=nonnegative)
    np.testing.assert_allclose(dense(steps, K), codes.to_dense()[0], rtol=1e-5, atol=1e-6)
    n = steps.n_steps
    np.testing.assert_allclose(steps.residual_norms, trace.residual_norms[0, : n + 1], rtol=1e-5)
    np.testing.assert_array_equal(steps.chosen, trace.atoms[0, :n])
    assert n == int(trace.n_steps[0]) > 2


@pytest.mark.parametrize("algorithm", ["ista", "fista", "admm"])
def test_last_code_is_the_solvers_own(algorithm: str) -> None:
    """ISTA and FISTA are `sparse_code` with the recorded penalty, step for step."""
    steps = record(algorithm, n_steps=20)
    codes, trace = sparse_code(
        DATA.x[2:3], DATA.dictionary, weight=steps.penalty, solver=algorithm, n_steps=20, trace=True
    )
    np.testing.assert_array_equal(dense(steps, 20), codes.to_dense()[0])
    np.testing.assert_array_equal(dense(steps, 9), trace.codes_at(9).to_dense()[0])
    np.testing.assert_array_equal(steps.residual_norms, trace.residual_norms[0])
    assert steps.n_steps == 20


@pytest.mark.parametrize("algorithm", PursuitSteps.ALGORITHMS)
def test_residuals_and_correlations_follow_from_the_codes(algorithm: str) -> None:
    """At every step x_hat = z D, ‖x − x_hat‖ is the kernel's norm, and c = (x − x_hat) Dᵀ."""
    steps = record(algorithm)
    dictionary = DATA.dictionary.double().numpy()
    for t in range(steps.n_steps + 1):
        residual = steps.x - dense(steps, t).astype(np.float64) @ dictionary
        np.testing.assert_allclose(steps.residual_at(t), residual, atol=1e-6)
        assert np.linalg.norm(residual) == pytest.approx(steps.residual_norms[t], abs=1e-5)
        np.testing.assert_allclose(steps.correlations_at(t), residual @ dictionary.T, atol=1e-5)


@pytest.mark.parametrize("algorithm", list(PursuitSteps.GREEDY))
def test_next_atom_is_the_one_that_is_taken(algorithm: str) -> None:
    """The atom that is ringed at a step is the one whose correlation is largest, and it is taken."""
    steps = record(algorithm)
    for t in range(steps.n_steps):
        ringed = steps.next_atom(t)
        assert ringed == steps.chosen[t]
        free = np.ones(steps.n_atoms, bool)
        if algorithm == "omp":
            free[steps.chosen[:t]] = False
        assert steps.correlations[t, ringed] == pytest.approx(
            steps.correlations[t, free].max(), abs=1e-5
        )


@pytest.mark.slow
def test_solvers_end_at_the_penalty() -> None:
    """FISTA's limit: every atom of the code correlates by λ, no other by more."""
    steps = record("fista", n_steps=400)
    used, _values = steps.code_at(400)
    np.testing.assert_allclose(steps.correlations[400, used], steps.penalty, atol=1e-3)
    assert steps.correlations[400].max() <= steps.penalty + 1e-3
    start = float((DATA.x[2] @ DATA.dictionary.T).max())
    assert steps.penalty == pytest.approx(0.1 * start)


def test_conjugate_gradients_end_at_the_ridge() -> None:
    """The last code solves (DDᵀ + λ)z = Dx, λ the share itself, after at most as many steps as atoms."""
    steps = record("cg", penalty_share=0.3, n_steps=400)
    dictionary, x = DATA.dictionary.double(), DATA.x[2].double()
    ridge = dictionary @ dictionary.T + 0.3 * torch.eye(len(dictionary))
    expected = torch.linalg.solve(ridge, dictionary @ x)
    shown = steps.dense_code_at(steps.n_steps, np.arange(len(dictionary)))
    np.testing.assert_allclose(shown, expected, atol=1e-5)
    assert steps.n_steps <= len(dictionary)
    assert (steps.nonnegative, steps.penalty, steps.greedy) == (False, None, False)


@pytest.mark.parametrize("solver", ["ista", "fista", "admm", "cg"])
def test_a_trace_is_read_as_it_was_made(solver: Any) -> None:
    """Codes, residuals and objective of every step of the row asked for, whatever the solver."""
    prox: Any = "ridge" if solver == "cg" else "soft"
    settings: dict[str, Any] = {"prox": prox, "weight": 0.2, "solver": solver, "n_steps": 12}
    # Atoms of any norms: only pursuits need unit ones.
    _, trace = sparse_code(DATA.x, 2 * DATA.dictionary, trace=True, **settings)
    steps = summarise_trace(DATA.x, 2 * DATA.dictionary, trace, row=3, solver=solver)
    for at in (0, 1, 7, 12):
        shown = steps.dense_code_at(at, np.arange(len(DATA.dictionary)))
        np.testing.assert_array_equal(shown, trace.codes_at(at).to_dense()[3])
    np.testing.assert_allclose(steps.residual_norms, trace.residual_norms[3], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(steps.objective, trace.objective[3])
    assert (steps.short, steps.row, steps.greedy) == (solver, 3, False)


def test_signed_codes_choose_by_size() -> None:
    """With signs allowed the largest |correlation| comes next, and coefficients of both signs occur."""
    signs = set()
    for row in range(6):
        steps = summarise_pursuit(SIGNED.x, SIGNED.dictionary, row=row, k=6, nonnegative=False)
        assert steps.next_atom(0) == np.abs(steps.correlations[0]).argmax()
        signs |= set(np.sign(steps.values).tolist())
    assert signs == {-1.0, 1.0}


def test_zero_input_has_a_zero_code() -> None:
    """Nothing to explain: no steps, no error, with every algorithm."""
    for algorithm in PursuitSteps.ALGORITHMS:
        steps = summarise_pursuit(torch.zeros(24), DATA.dictionary, algorithm, k=4, n_steps=3)
        assert not len(steps.values)
        assert steps.residual_norms.max() == 0
        assert steps.next_atom(0) == -1


def test_steps_are_counted_row_by_row() -> None:
    """Of rows that took unequal numbers of steps each has its own."""
    _, trace = sparse_code(
        DATA.x[:2], DATA.dictionary, weight=1.0, solver="fista", n_steps=3, trace=True
    )
    trace = replace(trace, n_steps=torch.tensor([1, 3]))
    found = [summarise_trace(DATA.x[:2], DATA.dictionary, trace, row=row) for row in (0, 1)]
    assert [one.n_steps for one in found] == [1, 3]
