"""OOD score and plausibility: closed forms, floors, and what copies are worth."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb.evaluation.dictionary._near_data import distances_to_data, ood_score
from sae_nb_studies.evaluation import plausibility


def random(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_atoms_taken_from_the_data_are_near_it():
    x = random(300, 12) + 5
    found = ood_score(3 * (x[:20] - x.mean(dim=0)), x, n_bootstrap=50)
    assert found.value == pytest.approx(0, abs=1e-5)
    assert found.floor > 0.1


def test_a_hand_computed_case(monkeypatch):
    """Rows on the axes, one atom between two of them, one on an axis: ((1 − 1/√2) + 0) / 2."""
    clock = SimpleNamespace(perf_counter=iter([10.0, 12.5]).__next__)
    monkeypatch.setattr("sae_nb.evaluation.dictionary._near_data.time", clock)
    x = torch.cat([torch.eye(2), -torch.eye(2)])
    found = ood_score(torch.tensor([[1.0, 1.0], [1.0, 0.0]]), x)
    assert found.value == pytest.approx((1 - 0.5**0.5) / 2)
    assert found.seconds == 2.5


def test_random_atoms_are_at_their_floor():
    found = ood_score(random(200, 32, 5), random(500, 32))
    assert found.value == pytest.approx(found.floor, abs=0.02)


def test_a_collapsed_dictionary_gains_nothing():
    """All atoms one row of the data: the first is near, its copies count 1."""
    x = random(300, 12)
    row = x[0] - x.mean(dim=0)
    assert ood_score(row.expand(50, 12), x).value == pytest.approx(1 - 1 / 50, abs=1e-5)


def test_a_dictionary_that_holds_the_classifier_is_plausible():
    directions = random(10, 24)
    atoms = torch.cat([random(50, 24, 1), 7 * directions])
    assert plausibility(atoms, directions).value == pytest.approx(1, abs=1e-6)


def test_plausibility_by_hand():
    atoms = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]])
    found = plausibility(atoms, torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
    assert found.value == pytest.approx(0.9)


def test_chance_makes_large_dictionaries_plausible():
    directions = random(40, 24)
    few, many = (plausibility(random(c, 24, 9), directions) for c in (64, 1024))
    assert few.value == pytest.approx(few.floor, abs=0.05)
    assert many.floor > few.floor + 0.1
    assert many.interval[0] <= many.value <= many.interval[1]


def test_rows_at_the_mean_point_nowhere() -> None:
    """Around the given mean (1 0): the second row is a millionth of the largest away, and left out."""
    x = torch.tensor([[1.0, 4.0], [1.0, -2e-6], [3.0, 0.0]])
    mean = torch.tensor([1.0, 0.0])
    found = distances_to_data(torch.tensor([[0.0, -1.0], [3.0, 4.0], [2.0, 0.0]]), x, mean)
    assert found == pytest.approx([1, 1 - 0.8, 0], abs=1e-6)
    far = distances_to_data(torch.tensor([[0.0, -1.0]]), x * torch.tensor([1.0, 10.0]), mean)
    assert far == pytest.approx([1], abs=1e-6)
    near = x.clone()
    near[1, 1] = -2e-5
    assert distances_to_data(torch.tensor([[0.0, -1.0]]), near, mean) == pytest.approx(
        [0], abs=1e-6
    )
    with pytest.raises(ValueError, match="got 2 rows that are all their mean"):
        distances_to_data(torch.eye(2), torch.ones(2, 2))


def test_products_that_are_known_give_the_same_distances() -> None:
    """The strongest one or two of each row; the fourth atom is among none of them, the fifth row has none."""
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    x[4], mean = -5.0, torch.full((3,), 0.1)
    atoms = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).abs()
    atoms = torch.nn.functional.normalize(atoms)
    atoms[3] = torch.nn.functional.normalize(atoms[[0, 1, 2]].mean(dim=0), dim=0)
    found = distances_to_data(atoms, x, mean)
    for k, signed in ((1, False), (2, False), (2, True)):
        products = (x - mean) @ atoms.T
        kept = (products.abs() if signed else products).topk(k, dim=1).indices
        some = torch.zeros_like(products).scatter(1, kept, products.gather(1, kept))
        strongest = SparseCodes.from_dense(some if signed else some.relu())
        assert distances_to_data(atoms, x, mean, strongest=strongest) == pytest.approx(
            found, abs=1e-6
        )
    copied = np.array([True, False, False, False, True])
    expected = np.where(copied, 1, found)
    assert distances_to_data(atoms, x, mean, copied=copied) == pytest.approx(expected)
