"""What every pursuit must do, whatever computes it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.optimize import nnls
from sklearn.linear_model import orthogonal_mp_gram

from sae_nb.pursuit import gradient_pursuit, matching_pursuit, orthogonal_matching_pursuit

N_ATOMS, D_IN = 40, 12


def _draw(rows: int, d_in: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, d_in, generator=generator, dtype=dtype)


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=1, keepdim=True)


@pytest.fixture
def dictionary() -> torch.Tensor:
    return _unit(_draw(N_ATOMS, D_IN, 0))


@pytest.fixture
def x() -> torch.Tensor:
    return _draw(30, D_IN, 1)


def test_planted_support_is_recovered(pursuit: Any, backend: str, nonnegative: bool) -> None:
    """Inputs made of a few atoms of an almost orthogonal dictionary give these atoms back."""
    d_in = 400
    dictionary = _unit(_draw(60, d_in, 0))
    generator = torch.Generator().manual_seed(1)
    z = torch.zeros(20, 60, dtype=torch.float64)
    for row in z:
        atoms = torch.randperm(60, generator=generator)[:4]
        row[atoms] = 1 + torch.rand(4, generator=generator, dtype=torch.float64)
        if not nonnegative:
            row[atoms[::2]] *= -1
    codes = pursuit(z @ dictionary, dictionary, 4, nonnegative=nonnegative, backend=backend)
    assert torch.equal(codes.to_dense() != 0, z != 0)
    if pursuit is orthogonal_matching_pursuit:
        assert torch.allclose(codes.to_dense(), z, atol=1e-9)


def test_residual_never_grows(
    pursuit: Any, backend: str, nonnegative: bool, x: torch.Tensor, dictionary: torch.Tensor
) -> None:
    """The trace of residual norms descends, and ends where x − zD is."""
    codes, trace = pursuit(x, dictionary, 10, nonnegative=nonnegative, backend=backend, trace=True)
    norms = trace.residual_norms
    assert (norms.diff(dim=1) <= 1e-12).all()
    assert torch.allclose(norms[:, 0], x.norm(dim=1))
    assert torch.allclose(norms[:, -1], (x - codes.to_dense() @ dictionary).norm(dim=1))


def test_orthogonal_residual_is_orthogonal_to_every_atom_chosen(
    backend: str, x: torch.Tensor, dictionary: torch.Tensor
) -> None:
    codes = orthogonal_matching_pursuit(x, dictionary, 6, nonnegative=False, backend=backend)
    z = codes.to_dense()
    correlations = (x - z @ dictionary) @ dictionary.T
    assert correlations[z != 0].abs().max() < 1e-11


def test_tolerance_means_what_it_says(
    pursuit: Any, backend: str, nonnegative: bool, x: torch.Tensor, dictionary: torch.Tensor
) -> None:
    """Rows stop at the first step whose residual is small enough, not before and not after."""
    tolerance = 0.4 * float(x.norm(dim=1).mean())
    options = {"nonnegative": nonnegative, "backend": backend, "trace": True}
    for asked, limit in (
        ({"tolerance": tolerance}, torch.full((30,), tolerance, dtype=x.dtype)),
        ({"relative_tolerance": 0.5}, 0.5 * x.norm(dim=1)),
    ):
        codes, trace = pursuit(x, dictionary, 25, **asked, **options)
        left = (x - codes.to_dense() @ dictionary).norm(dim=1)
        stopped = trace.n_steps < 25
        assert stopped.any()
        assert (left[stopped] <= limit[stopped]).all()
        steps = trace.n_steps.long()[:, None]
        before = trace.residual_norms.gather(1, (steps - 1).clamp_min(0))[:, 0]
        assert (before > limit)[trace.n_steps > 0].all()


def test_all_atoms_give_least_squares(backend: str, x: torch.Tensor) -> None:
    """OMP with k = n_atoms is linear least squares; non-negative, it is NNLS."""
    dictionary = _unit(_draw(8, D_IN, 2))
    signed = orthogonal_matching_pursuit(x, dictionary, 8, nonnegative=False, backend=backend)
    expected = torch.linalg.lstsq(dictionary.T, x.T).solution.T
    assert torch.allclose(signed.to_dense(), expected, atol=1e-10)
    positive = orthogonal_matching_pursuit(x, dictionary, 8, backend=backend)
    expected = torch.stack([torch.from_numpy(nnls(dictionary.T.numpy(), r.numpy())[0]) for r in x])
    assert torch.allclose(positive.to_dense(), expected, atol=1e-9)


def test_non_negative_codes_are_non_negative_least_squares_on_the_atoms_chosen(
    x: torch.Tensor, dictionary: torch.Tensor
) -> None:
    """Whatever the active-set search did, the outcome solves the problem it was given."""
    codes, trace = orthogonal_matching_pursuit(x, dictionary, 9, backend="cpu", trace=True)
    z, dropped = codes.to_dense(), 0
    for row, support in zip(range(len(x)), trace.support, strict=True):
        chosen = support[support >= 0].long()
        expected, _ = nnls(dictionary[chosen].T.numpy(), x[row].numpy())
        assert np.allclose(z[row, chosen].numpy(), expected, atol=1e-9)
        dropped += int((z[row, chosen] == 0).sum())
    assert dropped, "no atom ever left the support: the test does not test"


def test_duplicate_atoms_share_what_one_would_get(backend: str, nonnegative: bool) -> None:
    """A dictionary and its copy together give the codes of the dictionary."""
    first = _unit(_draw(9, D_IN, 3))
    x, options = _draw(20, D_IN, 4), {"nonnegative": nonnegative, "backend": backend}
    for pursuit in (matching_pursuit, orthogonal_matching_pursuit):
        codes = pursuit(x, torch.cat([first, first]), 6, **options).to_dense()
        alone = pursuit(x, first, 6, **options).to_dense()
        assert torch.allclose(codes[:, :9] + codes[:, 9:], alone, atol=1e-12)
        if pursuit is orthogonal_matching_pursuit:
            assert not ((codes[:, :9] != 0) & (codes[:, 9:] != 0)).any()


def test_zero_input_has_an_empty_code(pursuit: Any, backend: str, nonnegative: bool) -> None:
    """Nothing is chosen for nothing, whatever else is in the batch."""
    dictionary = _unit(_draw(20, D_IN, 0))
    x = torch.stack([torch.zeros(D_IN, dtype=torch.float64), dictionary[3]])
    codes, trace = pursuit(x, dictionary, 3, nonnegative=nonnegative, backend=backend, trace=True)
    assert codes.l0.tolist() == [0, 1]
    assert codes.atoms.tolist() == [3]
    assert trace.n_steps.tolist() == [0, 1]
    assert trace.support.tolist() == [[-1, -1, -1], [3, -1, -1]]
    assert torch.allclose(trace.coefficients[1, :, 0], torch.ones(3).double())
    assert not trace.coefficients[0].any()


def test_nothing_positive_to_find_stops_a_non_negative_pursuit(pursuit: Any, backend: str) -> None:
    """An input that points away from every atom has an empty code, never a negative one."""
    dictionary = torch.eye(4, dtype=torch.float64)
    codes = pursuit(-torch.ones(2, 4, dtype=torch.float64), dictionary, 3, backend=backend)
    assert codes.nnz == 0


def test_supports_equal_the_float64_oracle(pursuit: Any, nonnegative: bool) -> None:
    """In fp32 the compiled loops choose what the definition chooses in float64."""
    dictionary, x = _unit(_draw(300, 48, 0)), _draw(200, 48, 1)
    exact = pursuit(x, dictionary, 12, nonnegative=nonnegative, backend="reference").to_dense()
    ours = pursuit(x.float(), dictionary.float(), 12, nonnegative=nonnegative, backend="cpu")
    assert torch.equal(ours.to_dense() != 0, exact != 0)
    assert torch.allclose(ours.to_dense().double(), exact, atol=2e-6 * float(exact.abs().max()))


def test_orthogonal_supports_equal_scikit_learns() -> None:
    dictionary, x = _unit(_draw(150, 64, 0)), _draw(60, 64, 1)
    gram, products = (dictionary @ dictionary.T).numpy(), (dictionary @ x.T).numpy()
    expected = torch.from_numpy(orthogonal_mp_gram(gram, products, n_nonzero_coefs=10).T)
    ours = orthogonal_matching_pursuit(x, dictionary, 10, nonnegative=False).to_dense()
    assert torch.equal(ours != 0, expected != 0)
    assert torch.allclose(ours, expected, atol=1e-10)


def test_all_pursuits_agree_on_an_orthonormal_dictionary(backend: str, nonnegative: bool) -> None:
    """There they are the k largest (positive) correlations, in order."""
    dictionary = torch.linalg.qr(_draw(16, 16, 0)).Q
    x = _draw(25, 16, 1)
    c = x @ dictionary.T
    scores = c.clamp_min(0) if nonnegative else c.abs()
    kept = scores >= scores.topk(5, dim=1).values[:, -1:]
    expected = c * kept * (scores > 0)
    for pursuit in (matching_pursuit, orthogonal_matching_pursuit, gradient_pursuit):
        codes = pursuit(x, dictionary, 5, nonnegative=nonnegative, backend=backend)
        assert torch.allclose(codes.to_dense(), expected, atol=1e-12)
    _, trace = matching_pursuit(x, dictionary, 5, backend=backend, trace=True)
    amounts = trace.coefficients[:, -1]
    assert (amounts.diff(dim=1) <= 1e-12).all()


def test_forbidden_reselection_chooses_new_atoms(backend: str, nonnegative: bool) -> None:
    """With reselect=False every step takes another atom; otherwise one may come back."""
    dictionary, x = _unit(_draw(10, 4, 0)), _draw(40, 4, 1)
    options = {"nonnegative": nonnegative, "backend": backend, "trace": True}
    _, free = matching_pursuit(x, dictionary, 8, **options)
    _, strict = matching_pursuit(x, dictionary, 8, reselect=False, **options)

    def repeats(atoms: torch.Tensor) -> int:
        rows = [row[row >= 0] for row in atoms]
        return sum(len(row) - len(row.unique()) for row in rows)

    assert repeats(free.atoms) > 0
    assert repeats(strict.atoms) == 0
    assert (strict.n_steps > 4).any()


def test_an_atom_taken_again_ends_its_input(backend: str, nonnegative: bool) -> None:
    """With reselect="stop" the steps are those of a free pursuit up to the first repeat, which is taken."""
    dictionary, x = 0.9 * _unit(_draw(10, 4, 0)), _draw(40, 4, 1)
    options = {"nonnegative": nonnegative, "backend": backend, "trace": True, "any_norm": True}
    _, free = matching_pursuit(x, dictionary, 8, **options)
    codes, ended = matching_pursuit(x, dictionary, 8, reselect="stop", **options)
    for row in range(40):
        taken = free.atoms[row, : free.n_steps[row]].tolist()
        until = next((t + 1 for t, atom in enumerate(taken) if atom in taken[:t]), len(taken))
        assert ended.atoms[row].tolist() == taken[:until] + [-1] * (8 - until)
        assert torch.equal(codes.to_dense()[row], free.codes_at(until).to_dense()[row])
        assert bool((ended.residual_norms[row, until:] == free.residual_norms[row, until]).all())
    assert (ended.n_steps < free.n_steps).any()


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 6),
    d_in=st.integers(1, 9),
    n_atoms=st.integers(1, 300),
    k=st.integers(1, 12),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    name=st.sampled_from(["matching_pursuit", "orthogonal_matching_pursuit", "gradient_pursuit"]),
    nonnegative=st.booleans(),
    reselect=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_any_problem_equals_the_definition(
    rows: int, d_in: int, n_atoms: int, k: int, scale: float, name: str, nonnegative: bool,
    reselect: bool, seed: int,
) -> None:  # fmt: skip
    """Compiled loops and reference leave the same residual, which never grows, with signs kept."""
    pursuit = {
        f.__name__: f for f in (matching_pursuit, orthogonal_matching_pursuit, gradient_pursuit)
    }[name]
    dictionary, x = _unit(_draw(n_atoms, d_in, seed)), scale * _draw(rows, d_in, seed + 1)
    k = min(k, n_atoms, d_in)
    options: dict[str, Any] = {"nonnegative": nonnegative, "trace": True}
    if name != "orthogonal_matching_pursuit":
        options["reselect"] = reselect
    ours, trace = pursuit(x, dictionary, k, backend="cpu", **options)
    exact, definition = pursuit(x, dictionary, k, backend="reference", **options)
    assert (trace.residual_norms.diff(dim=1) <= 1e-9 * scale).all()
    assert not nonnegative or (ours.values >= 0).all()
    assert (ours.l0 <= k).all()
    norms, expected = trace.residual_norms[:, -1], definition.residual_norms[:, -1]
    assert torch.allclose(norms, expected, atol=1e-7 * scale * math.sqrt(d_in))
    assert exact.leading_shape == ours.leading_shape == (rows,)
