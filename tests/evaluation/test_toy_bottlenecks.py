"""The toy's record: what was learned, beside the truth and beside chance."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

from sae_nb.architectures import TopK
from sae_nb.data import sparse_features
from sae_nb.evaluation import fit_atoms, row_factors, summarise_selectivity, summarise_superposition
from sae_nb.evaluation.concepts import _superposition
from sae_nb.models import Bottleneck, train_bottlenecks


def pentagon(sparsity: float = 0.97) -> Bottleneck:
    angle = 2 * torch.pi * torch.arange(5) / 5 + 0.3
    toy = Bottleneck(5, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        toy.directions.copy_(1.1 * torch.stack((angle.cos(), angle.sin()), dim=1))
    toy.sparsity, toy.loss = sparsity, 0.01
    return toy


@pytest.mark.slow
def test_atoms_find_the_directions_and_neurons_do_not() -> None:
    """Rare features: every atom on its feature; five seeds gave 0.9998 ± 0.0001 and F1 0.94 against 0.68, 0.71."""
    toy = pentagon()
    found = summarise_superposition(toy, fit_atoms(toy, seed=0), seed=0).found
    assert found is not None
    assert found.cosine > 0.98
    assert found.cosine > found.cosine_floor > found.cosine_neurons
    assert found.atom_f1.min() > 0.85
    assert max(found.neuron_f1.mean(), found.random_f1.mean()) < found.atom_f1.min() - 0.1
    assert len(set(found.matched)) == 5


def test_the_record_holds_the_geometry() -> None:
    """A pentagon of length 1.1: all stored, two fifths each, WᵀW as computed."""
    record = summarise_superposition(pentagon())
    assert record.stored == (0, 1, 2, 3, 4)
    assert record.dimensionality == pytest.approx([0.4] * 5, abs=1e-5)
    assert record.gram[0, 0] == pytest.approx(1.21, abs=1e-5)
    assert record.found is None
    assert "5 of 5 features stored" in repr(record)


@pytest.mark.slow
def test_nothing_is_claimed_where_nothing_is_rare() -> None:
    """Dense features: atoms are no better than random directions, and the record shows it."""
    (toy,) = train_bottlenecks([0.0], seed=1)
    found = summarise_superposition(toy, fit_atoms(toy)).found
    assert found is not None
    assert found.atom_f1.mean() < found.random_f1.mean() + 0.1


# -------------------------------------------------------------------------------------------------
# By hand: a toy whose directions are given, and a dictionary that is given.


def given(rows: list[list[float]], sparsity: float | None) -> Bottleneck:
    toy = Bottleneck(len(rows), len(rows[0]))
    toy.directions.data = torch.tensor(rows)
    toy.sparsity, toy.loss = sparsity, 0.5
    return toy


@pytest.mark.parametrize(
    ("n_features", "n_hidden", "sparsity", "n_atoms", "k"),
    [
        (5, 2, 0.9, 8, 1),
        (4, 3, 0.5, 6, 2),
        (4, 3, None, 6, 2),
        (6, 9, 0.5, 9, 3),
        (5, 4, 0.7, 8, 2),
    ],
)
def test_atoms_of_a_toy_are_half_again_as_many_as_features(
    monkeypatch: pytest.MonkeyPatch,
    n_features: int, n_hidden: int, sparsity: float | None, n_atoms: int, k: int,
) -> None:  # fmt: skip
    """So many are on together as on average are, one fewer than dimensions; the best start is kept."""
    asked: list[tuple[list[Any], torch.Tensor, Any]] = []

    def train(saes: list[Any], rows: torch.Tensor, config: Any, **_: Any) -> None:
        asked.append((saes, rows, config))

    monkeypatch.setattr(_superposition, "train", train)
    toy = given(torch.eye(n_features, n_hidden).tolist(), sparsity)
    sae = fit_atoms(toy, seed=3, steps=7)
    ((saes, rows, config),) = asked
    assert [(one.n_atoms, one.k, one.d_in) for one in saes] == [(n_atoms, k, n_hidden)] * 3
    for start, one in enumerate(saes):
        draw = torch.Generator().manual_seed(3000 + start)
        same = TopK(n_hidden, n_atoms, k, generator=draw)
        torch.testing.assert_close(one.dictionary, same.dictionary)
    assert (config.steps, config.batch_size, config.seed) == (7, 256, 3)
    with torch.no_grad():
        x = toy.hidden(sparse_features(20_000, n_features, sparsity or 0.0, seed=3))
        errors = [float((rows - one(rows)).square().mean()) for one in saes]
    torch.testing.assert_close(rows, x[x.norm(dim=1) > 0.05])
    assert sae is saes[errors.index(min(errors))]
    other = fit_atoms(toy, n_atoms=3, k=1, n_starts=1)
    assert (other.n_atoms, other.k, len(asked[1][0]), asked[1][2].steps) == (3, 1, 1, 200)


def test_directions_are_found_as_far_as_their_cosines_say() -> None:
    """Stored from a half on: three of four, of which two are atoms and one is nearly one."""
    toy = given([[0.0, 1.0], [0.5, 0.0], [0.6, 0.0], [-2.0, -2.0]], 0.8)
    sae = TopK(2, 3, 1)
    sae.operator.weight.data = torch.tensor([[1.0, 0.0], [-0.6, -0.8], [0.0, 1.0]])
    record = summarise_superposition(toy, sae, seed=2)
    assert (record.stored, record.sparsity, record.loss) == ((0, 2, 3), 0.8, 0.5)
    np.testing.assert_allclose(record.gram[3], [-2, -1, -1.2, 8], rtol=1e-6)
    found = record.found
    assert found is not None
    assert found.matched == (2, 0, 1)
    root = 0.5**0.5
    assert found.cosine == pytest.approx((1 + 1 + 1.4 * root) / 3)
    assert found.cosine_neurons == pytest.approx((1 + 1 + root) / 3)
    unit = np.array([[0, 1], [1, 0], [-root, -root]])
    drawn = torch.randn(16, 3, 2, generator=torch.Generator().manual_seed(2)).numpy()
    cosines = np.einsum("fd,rad->rfa", unit, drawn / np.linalg.norm(drawn, axis=2, keepdims=True))
    best = [
        max(sum(one[f, a] for f, a in enumerate(p)) for p in permutations(range(3)))
        for one in cosines
    ]
    assert found.cosine_floor == pytest.approx(np.mean(best) / 3, abs=1e-5)
    x, fresh = (sparse_features(4096, 4, 0.8, seed=seed) for seed in (15, 16))
    with torch.no_grad():
        table = summarise_selectivity(
            sae,
            toy.hidden(x),
            row_factors(x > 0),
            toy.hidden(fresh),
            row_factors(fresh > 0),
            seed=2,
        )
    np.testing.assert_array_equal(found.atom_f1, table.atoms)
    np.testing.assert_array_equal(found.neuron_f1, table.neurons)
    np.testing.assert_array_equal(found.random_f1, table.random)
