"""The public module to sparse coding: names, defaults, shapes, and what it refuses."""

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
    codes = sn.sparse_code(X, DICTIONARY, **options)
    assert r2(codes) > 0.75
    if options.get("solver") != "cg":
        assert float(codes.l0.float().mean()) < 12
    if str(options.get("prox", "soft+")).endswith("+"):
        assert bool((codes.values > 0).all())


def test_a_larger_weight_is_sparser() -> None:
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
    for prox in ("soft+", "hard"):
        small, large = (sn.sparse_code(s * X, DICTIONARY, prox=prox) for s in (1.0, 1000.0))
        assert torch.allclose(1000 * small.to_dense(), large.to_dense(), rtol=1e-3, atol=0.5)


@pytest.mark.slow
def test_simplex_codes_are_memberships() -> None:
    landmarks = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [10.0, 10.0]])
    x = torch.tensor([[0.2, 0.3]])
    distances = (x[:, None] - landmarks).square().sum(dim=2)
    codes = sn.sparse_code(x, landmarks, prox="simplex", weight=0.01 * distances, n_steps=500)
    z = codes.to_dense()[0]
    assert torch.allclose(z.sum(), torch.tensor(1.0), atol=1e-5)
    assert torch.allclose(z, torch.tensor([0.5, 0.2, 0.3, 0.0]), atol=0.02)


@pytest.mark.slow
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
    operator = ConvolutionOperator(torch.tensor([[1.0, 2.0, 1.0]]), n_samples=10)
    z = torch.zeros(1, 8).index_fill(1, torch.tensor([2]), 3.0)
    codes = sn.sparse_code(operator.forward(z), operator, weight=1e-3, n_steps=300)
    assert torch.allclose(codes.to_dense(), z, atol=0.01)


@pytest.mark.slow
def test_a_dictionary_can_be_learned_through_it() -> None:
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
    monkeypatch.setattr("sae_nb.checks._values.available_memory", lambda: 2**20)
    dictionary = DICTIONARY.clone().requires_grad_()
    with pytest.raises(MemoryError, match="The graph of 100 steps on 30 rows × 40 atoms.*`tail`"):
        sn.sparse_code(X, dictionary)
    assert sn.sparse_code(X, dictionary, tail=5).values.requires_grad
    with torch.no_grad():
        assert sn.sparse_code(X, dictionary, weight=0.05, n_steps=3).nnz > 0
