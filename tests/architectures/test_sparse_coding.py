"""The public door to sparse coding: names, defaults, shapes, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import ConvolutionOperator, SoftProx
from sae_nb.codes import SparseCodes

GENERATOR = torch.Generator().manual_seed(0)
DICTIONARY = torch.nn.functional.normalize(torch.randn(40, 16, generator=GENERATOR), dim=1)
TRUE = torch.rand(30, 40, generator=GENERATOR) * (torch.rand(30, 40, generator=GENERATOR) < 0.05)
X = TRUE @ DICTIONARY


def r2(codes: SparseCodes, x: Tensor = X) -> float:
    x_hat = codes.to_dense() @ DICTIONARY
    return float(1 - (x - x_hat).square().sum() / (x - x.mean(0)).square().sum())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prox": "soft"},
        {"prox": "hard+"},
        {"prox": "hard"},
        {"prox": "group+", "groups": torch.arange(40) // 2},
        {"prox": "top-k", "k": 4},
        {"prox": "ridge", "weight": 0.1, "solver": "cg"},
        {"prox": "identity", "solver": "cg", "n_steps": 40},
        {"solver": "ista"},
        {"solver": "admm", "rho": 1.0},
        {"prox": SoftProx(0.05)},
    ],
    ids=lambda options: (
        "-".join(str(v) for v in options.values() if isinstance(v, str)) or "default"
    ),
)
def test_every_choice_explains_planted_data(options: dict[str, Any]) -> None:
    """With default weights too; sparse penalties with few atoms."""
    codes = sn.sparse_code(X, DICTIONARY, **options)
    assert r2(codes) > 0.75
    if options.get("solver") != "cg":
        assert float(codes.l0.float().mean()) < 12
    if str(options.get("prox", "soft+")).endswith("+"):
        assert bool((codes.values > 0).all())


def test_a_larger_weight_is_sparser() -> None:
    """Down to no atoms at all at max_j ⟨x, d_j⟩, and not before."""
    l0 = [
        float(sn.sparse_code(X, DICTIONARY, weight=w).l0.float().mean())
        for w in (0.01, 0.05, 0.2, 0.5)
    ]
    assert l0 == sorted(l0, reverse=True)
    row = X[X.norm(dim=1).argmax()][None]
    largest = float((row @ DICTIONARY.T).max())
    assert sn.sparse_code(row, DICTIONARY, weight=1.001 * largest).nnz == 0
    assert sn.sparse_code(row, DICTIONARY, weight=0.99 * largest).nnz > 0


def test_units_do_not_matter_where_the_weight_is_left_out() -> None:
    """A thousand times the data gives a thousand times the codes."""
    for prox in ("soft+", "hard"):
        small, large = (sn.sparse_code(s * X, DICTIONARY, prox=prox) for s in (1.0, 1000.0))
        assert torch.allclose(1000 * small.to_dense(), large.to_dense(), rtol=1e-3, atol=0.5)


def test_simplex_codes_are_memberships() -> None:
    """Non-negative, summing to one; a cost per atom keeps points with near landmarks."""
    landmarks = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [10.0, 10.0]])
    x = torch.tensor([[0.2, 0.3]])
    distances = (x[:, None] - landmarks).square().sum(dim=2)
    codes = sn.sparse_code(x, landmarks, prox="simplex", weight=0.01 * distances, n_steps=500)
    z = codes.to_dense()[0]
    assert torch.allclose(z.sum(), torch.tensor(1.0), atol=1e-5)
    assert torch.allclose(z, torch.tensor([0.5, 0.2, 0.3, 0.0]), atol=0.02)


def test_leading_axes_bias_and_precision() -> None:
    """Kept in codes.leading_shape, subtracted, and half precision computed in single."""
    plain = sn.sparse_code(X, DICTIONARY, weight=0.05)
    shaped = sn.sparse_code(X.reshape(5, 6, 16), DICTIONARY, weight=0.05)
    assert shaped.leading_shape == (5, 6)
    assert torch.equal(shaped.values, plain.values)
    moved = sn.sparse_code(X + 7, DICTIONARY, weight=0.05, bias=torch.full((16,), 7.0))
    assert torch.allclose(moved.to_dense(), plain.to_dense(), atol=1e-4)
    half = sn.sparse_code(X.half(), DICTIONARY.half(), weight=0.05)
    assert half.dtype == torch.float32
    assert torch.allclose(half.to_dense(), plain.to_dense(), atol=0.02)
    assert sn.sparse_code(X[0], DICTIONARY, weight=0.05).leading_shape == ()


def test_the_trace_reads_like_a_pursuits() -> None:
    """codes_at, residual_norms and n_steps, so one panel draws both."""
    codes, ours = sn.sparse_code(X, DICTIONARY, weight=0.05, n_steps=9, trace=True)
    _, theirs = sn.matching_pursuit(X, DICTIONARY, 9, trace=True)
    for trace in (ours, theirs):
        assert trace.residual_norms.shape == (30, 10)
        assert trace.n_steps.shape == (30,)
        assert trace.n_atoms == 40
        assert trace.codes_at(3).n_atoms == 40
        assert trace.codes_at(0).nnz == 0
    assert torch.equal(ours.codes_at(9).to_dense(), codes.to_dense())


def test_counts_and_shares_are_explained_by_their_links() -> None:
    """Planted log-rates and log-odds come back better than from a Gaussian fit of the same data."""
    generator = torch.Generator().manual_seed(3)
    dictionary = torch.nn.functional.normalize(torch.randn(10, 60, generator=generator), dim=1)
    z = (
        8
        * torch.rand(40, 10, generator=generator)
        * (torch.rand(40, 10, generator=generator) < 0.3)
    )
    eta = z @ dictionary
    counts = torch.poisson(eta.exp(), generator=generator)
    shares = torch.stack(
        [torch.bernoulli(torch.sigmoid(eta), generator=generator) for _ in range(20)]
    ).mean(dim=0)
    for link, data in (("poisson", counts), ("binomial", shares)):
        ours = sn.sparse_code(data, dictionary, link=link, weight=0.1, n_steps=1500).to_dense()
        centred = data - data.mean()
        plain = sn.sparse_code(centred, dictionary, weight=0.1, n_steps=300).to_dense()
        cosine = torch.nn.functional.cosine_similarity
        assert float(cosine(ours.flatten(), z.flatten(), dim=0)) > 0.93
        assert float((ours - z).norm()) < 0.7 * float((plain - z).norm())


def test_a_convolution_is_a_dictionary_too() -> None:
    """Any operator is accepted in its place."""
    operator = ConvolutionOperator(torch.tensor([[1.0, 2.0, 1.0]]), n_samples=10)
    z = torch.zeros(1, 8).index_fill(1, torch.tensor([2]), 3.0)
    codes = sn.sparse_code(operator.forward(z), operator, weight=1e-3, n_steps=300)
    assert torch.allclose(codes.to_dense(), z, atol=0.01)


def test_a_dictionary_can_be_learned_through_it() -> None:
    """Unrolled dictionary learning: gradients of the last five steps are enough."""
    generator = torch.Generator().manual_seed(4)
    guess = torch.randn(40, 16, generator=generator)
    guess = torch.nn.functional.normalize(guess, dim=1).requires_grad_()
    optimiser = torch.optim.Adam([guess], lr=0.02)
    errors = []
    for _ in range(60):
        codes = sn.sparse_code(X, guess, weight=0.05, n_steps=20, tail=5)
        error = (codes.to_dense() @ guess - X).square().sum()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        with torch.no_grad():
            guess.div_(guess.norm(dim=1, keepdim=True))
        errors.append(error.item())
    assert errors[-1] < 0.4 * errors[0]


def test_a_graph_that_would_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what would fit; a call that wants no gradient is not refused."""
    monkeypatch.setattr("sae_nb.checks._values.available_memory", lambda: 2**20)
    dictionary = DICTIONARY.clone().requires_grad_()
    with pytest.raises(MemoryError, match="The graph of 100 steps on 30 rows × 40 atoms.*`tail`"):
        sn.sparse_code(X, dictionary)
    assert sn.sparse_code(X, dictionary, tail=5).values.requires_grad
    with torch.no_grad():
        assert sn.sparse_code(X, dictionary, weight=0.05, n_steps=3).nnz > 0


CASES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "x": ({"x": X[:, :5]}, ValueError, r"last dimension d_in=16, got shape \(30, 5\)"),
    "nan": ({"x": X.index_fill(0, torch.tensor([4]), torch.nan)}, ValueError, "first is row 4"),
    "dictionary": (
        {"dictionary": "D"},
        TypeError,
        "`dictionary` must be an operator or a torch tensor",
    ),
    "dtype": ({"x": X.double()}, ValueError, "one dtype and device, got torch.float64"),
    "bias": ({"bias": torch.zeros(3)}, ValueError, r"`bias` must have shape \(16,\), got \(3,\)"),
    "bias nan": ({"bias": torch.full((16,), torch.nan)}, ValueError, "`bias` must be finite"),
    "prox": ({"prox": "lasso"}, ValueError, "`prox` must be one of .*got 'lasso'"),
    "link": ({"link": "gamma"}, ValueError, "`link` must be one of .*got 'gamma'"),
    "k": ({"k": 3}, ValueError, "`k` must be given for prox='top-k' and for no other"),
    "no k": ({"prox": "top-k"}, ValueError, "`k` must be given for prox='top-k'"),
    "k range": ({"prox": "top-k", "k": 41}, ValueError, "n_atoms=40, got 41"),
    "no groups": ({"prox": "group"}, ValueError, "`groups` must be given"),
    "groups": (
        {"prox": "group", "groups": torch.zeros(3, dtype=torch.int64)},
        ValueError,
        r"`groups` must be 40 integers ≥ 0, one per atom, got \(3,\)",
    ),
    "weight": ({"weight": -1.0}, ValueError, "finite and not negative, got -1"),
    "weight nan": ({"weight": float("nan")}, ValueError, "finite and not negative"),
    "weight type": ({"weight": "much"}, TypeError, "a number or a tensor, got 'much'"),
    "weight shape": ({"weight": torch.ones(3)}, ValueError, r"have shape \(40,\) or \(30, 40\)"),
    "weight of k": ({"prox": "top-k", "k": 2, "weight": 1.0}, ValueError, "must be None for"),
    "no ridge": ({"prox": "ridge"}, ValueError, "`weight` must be given for prox='ridge'"),
    "penalty and weight": (
        {"prox": SoftProx(1.0), "weight": 1.0},
        TypeError,
        "`weight` must be left",
    ),
    "cg": ({"solver": "cg"}, ValueError, "must be quadratic for cg"),
    "counts": ({"link": "poisson", "x": X - 9}, ValueError, "counts ≥ 0"),
    "shares": ({"link": "binomial", "x": X + 9}, ValueError, "shares between 0 and 1"),
    "start": (
        {"start": SparseCodes.from_dense(torch.ones(2, 40))},
        ValueError,
        "codes of 30 rows × 40 atoms, got SparseCodes",
    ),
    "setting": (
        {"rho": 1.0},
        TypeError,
        "`rho` must be a setting of solver='fista', which has restart",
    ),
    "steps": ({"n_steps": 0}, ValueError, "`n_steps` must be"),
    "tolerance": ({"tolerance": -1.0}, ValueError, "`tolerance` must be a number ≥ 0"),
    "tolerance type": ({"tolerance": "1"}, TypeError, "`tolerance` must be a number, got '1'"),
    "rho type": ({"solver": "admm", "rho": "1"}, TypeError, "`rho` must be a number, got '1'"),
    "bias type": ({"bias": [0.0] * 16}, TypeError, "`bias` must be a torch tensor or None"),
    "start type": ({"start": torch.ones(30, 40)}, TypeError, "`start` must be SparseCodes or None"),
    "link type": ({"link": 3}, ValueError, "`link` must be one of .*got 3"),
    "cap": ({"memory_cap": 10}, MemoryError, "one row of 40 codes, 1280 bytes, got 10"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused(case: str) -> None:
    """Rule, given, do; before any work."""
    changes, error, message = CASES[case]
    call = {"x": X, "dictionary": DICTIONARY} | changes
    with pytest.raises(error, match=message):
        sn.sparse_code(call.pop("x"), call.pop("dictionary"), **call)
