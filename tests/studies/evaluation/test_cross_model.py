"""ITDA, universal SAEs, matched latents: identical models agree, unrelated ones as chance does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes
from sae_nb_studies.evaluation import (
    compare_firing,
    compare_itda,
    match_latents,
    measure_universality,
)


def _sparse(n: int = 600, n_atoms: int = 12, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    on = torch.rand(n, n_atoms, generator=generator) < 0.15
    return on * (0.5 + torch.rand(n, n_atoms, generator=generator))


def _orthogonal(seed: int, size: int = 12) -> torch.Tensor:
    square = torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(square).Q


@pytest.fixture(scope="module")
def planted() -> list[Activations]:
    z = _sparse(2000)
    wide = torch.randn(12, 20, generator=torch.Generator().manual_seed(7)) / 20**0.5
    return [Activations.from_tensor(z @ _orthogonal(1)), Activations.from_tensor(3 * z @ wide + 1)]


# --- ITDA ------------------------------------------------------------------------------------------


def _itda(x: torch.Tensor, k: int = 2, threshold: float = 0.7) -> sn.ITDA:
    return sn.ITDA(x.shape[1], k, threshold=threshold).fit(x, progress=False)


@pytest.mark.slow
def test_a_rotated_model_stores_the_same_rows_and_an_unrelated_one_does_not() -> None:
    """J = 1 under a rotation and a scale; for independent activations little but the first rows."""
    x = torch.randn(400, 12, generator=torch.Generator().manual_seed(3))
    one, turned = _itda(x), _itda(4 * x @ _orthogonal(5))
    found = compare_itda(one, turned, x)
    assert found.value > 0.95
    assert found.value == one.jaccard(turned)
    other = torch.randn(400, 12, generator=torch.Generator().manual_seed(9))
    strange = compare_itda(one, _itda(other), x)
    assert strange.value < 0.3
    assert strange.floor < 0.1


def test_the_overlap_and_its_chance_by_hand() -> None:
    """One row stored by both of 2 and 2 of 10: J = 1/3; two draws of two share none, one or two."""
    x = torch.eye(10)[[0, 1, 0, 1, 0, 1, 0, 1, 0, 1]]
    y = torch.eye(10)[[0, 0, 1, 1, 1, 1, 1, 1, 1, 1]]
    first, second = _itda(x, 1, 0.1), _itda(y, 1, 0.1)
    assert [row.sample for row in first.stored] == [0, 1]
    assert [row.sample for row in second.stored] == [0, 2]
    found = compare_itda(first, second, x, n_bootstrap=50)
    assert found.value == pytest.approx(1 / 3)
    assert 0 < found.floor < 1 / 3
    both = compare_itda(first, first, x, n_bootstrap=50)
    assert both.value == 1
    assert both.interval == (1.0, 1.0)


# --- Universal -------------------------------------------------------------------------------------


def test_firing_by_hand() -> None:
    """Atom 0: both, both, none. Atom 1: first alone, second alone. Atom 2: first alone. 3: dead."""
    first = torch.tensor([[1.0, 1, 1, 0], [2.0, 0, 0, 0], [0, 0, 0, 0]])
    second = torch.tensor([[1.0, 0, 0, 0], [-1.0, 1, 0, 0], [0, 0, 0, 0]])
    found = compare_firing([SparseCodes.from_dense(first), SparseCodes.from_dense(second)])
    np.testing.assert_allclose(found.entropy, [1, 1, 0, np.nan])
    np.testing.assert_allclose(found.overlap, [1, 0, 0, np.nan])
    np.testing.assert_allclose(found.cofiring[0], [1, 1])
    np.testing.assert_allclose(found.cofiring[1], [0, 0])
    assert found.value == pytest.approx(1 / 3)


def test_overlap_of_identical_codes_is_one_and_of_shuffled_ones_chance() -> None:
    """The union is the true one: M identical models reach 1, not 1 / M."""
    codes = SparseCodes.from_dense(_sparse())
    found = compare_firing([codes, codes, codes])
    assert found.value == 1
    assert found.floor < 0.1
    assert np.nanmin(found.entropy) == pytest.approx(1)
    order = torch.randperm(600, generator=torch.Generator().manual_seed(1))
    apart = compare_firing([codes, codes.rows(order)])
    assert abs(apart.value - apart.floor) < 0.03
    assert np.nanmin(apart.entropy) == pytest.approx(1)  # FE alone would call it universal


@pytest.mark.slow
def test_a_universal_sae_finds_shared_factors(planted) -> None:
    sae = sn.UniversalSAE([12, 20], 24, 3, generator=torch.Generator().manual_seed(0))
    sn.train(sae, planted, steps=250, batch_size=128, progress=False)
    found = measure_universality(sae, planted, n_bootstrap=0)
    across = found.r2[~np.eye(2, dtype=bool)]
    assert np.diag(found.r2).min() > 0.6
    assert across.min() > 0.5
    assert found.r2_floor.max() < 0
    assert found.value > 4 * found.floor


# --- Matched latents -------------------------------------------------------------------------------


def test_shuffled_latents_are_matched_again() -> None:
    """Correlation 1 with the right partner, scale and all; cosines of the atoms besides."""
    z, order = _sparse(), torch.randperm(12, generator=torch.Generator().manual_seed(2))
    atoms = _orthogonal(0)
    found = match_latents(
        SparseCodes.from_dense(z),
        SparseCodes.from_dense(5 * z[:, order]),
        dictionaries=(atoms, atoms[order]),
    )
    np.testing.assert_array_equal(order[found.second], found.first)
    np.testing.assert_allclose(found.correlations, 1, atol=1e-5)
    np.testing.assert_allclose(found.cosines, 1, atol=1e-5)
    assert found.above_chance == 1
    assert found.floor < 0.2


def test_correlations_are_those_of_numpy() -> None:
    first, second = _sparse(seed=0), _sparse(seed=1)
    found = match_latents(SparseCodes.from_dense(first), SparseCodes.from_dense(second))
    expected = [
        np.corrcoef(first[:, i].numpy(), second[:, j].numpy())[0, 1]
        for i, j in zip(found.first, found.second, strict=True)
    ]
    np.testing.assert_allclose(found.correlations, expected, atol=1e-6)
    assert abs(found.value - found.floor) < 0.03
