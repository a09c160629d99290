"""Neurons, atoms and random directions as detectors: chosen on one set, judged on another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.evaluation import row_factors, summarise_selectivity
from sae_nb.evaluation.concepts import _selectivity
from sae_nb.evaluation.concepts._factors import Factor


class Dictionary:
    def __init__(self, atoms: torch.Tensor) -> None:
        self.dictionary = atoms
        self.n_atoms, self.d_in = atoms.shape

    def encode(self, x: torch.Tensor) -> sn.SparseCodes:
        return sn.SparseCodes.from_dense(torch.relu(x @ self.dictionary.T - 0.2))


@pytest.fixture
def rotated() -> tuple[Dictionary, list[torch.Tensor], list[torch.Tensor]]:
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0))).Q
    present = [sn.data.sparse_features(3000, 8, 0.8, seed=seed) for seed in (1, 2)]
    present = [torch.where(x > 0, x + 0.5, 0.0) for x in present]
    return Dictionary(turn), [x @ turn for x in present], [x > 0 for x in present]


@pytest.mark.slow
def test_atoms_tell_what_neurons_mix(rotated: tuple) -> None:
    """The true directions reach F1 1; neurons and as many random directions do not."""
    sae, (x, fresh), (on, fresh_on) = rotated
    found = summarise_selectivity(sae, x, row_factors(on), fresh, row_factors(fresh_on))
    assert found.atoms.min() > 0.99
    assert found.neurons.mean() < 0.8
    assert found.random.mean() < 0.8
    assert [match.atom for match in found.best_atoms] == list(range(8))
    assert (found.neurons >= found.floor - 0.02).all()


def test_neurons_are_given_both_signs(rotated: tuple) -> None:
    """A neuron that falls where the feature is on is as good a detector."""
    sae, _, (on, fresh_on) = rotated
    x, fresh = 3 - on.float(), 3 - fresh_on.float()
    found = summarise_selectivity(sae, x, row_factors(on), fresh, row_factors(fresh_on))
    assert found.neurons.tolist() == [1.0] * 8
    assert found.best_neurons == tuple((i, -1) for i in range(8))


def test_chance_is_not_flattered(rotated: tuple) -> None:
    """Truths that have nothing to do with the rows are told no better than by always saying yes."""
    sae, (x, fresh), _ = rotated
    generator = torch.Generator().manual_seed(3)
    noise = [torch.rand(3000, 4, generator=generator) < 0.3 for _ in range(2)]
    found = summarise_selectivity(sae, x, row_factors(noise[0]), fresh, row_factors(noise[1]))
    for scores in (found.atoms, found.neurons, found.random):
        assert (scores < found.floor + 0.03).all()


def test_a_sample_is_as_strong_as_its_strongest_row() -> None:
    """One row of three says it: the sample is told."""
    x = torch.zeros(30, 4)
    truth = np.zeros(10, dtype=bool)
    truth[::2] = True
    x[::6, 1] = 2.0  # the first row of every second sample
    acts = Activations(x, sample=torch.arange(30) // 3, position=torch.arange(30) % 3)
    factors = [Factor(name="there", per="sample", truth=truth)]
    found = summarise_selectivity(Dictionary(torch.eye(4)), acts, factors, acts, factors)
    assert found.atoms.tolist() == [1.0]
    assert found.match("there").atom == 1
    assert found.best_neurons == ((1, 1),)


def test_units_are_positive_on_all_that_they_were_chosen_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a thousandth at least; rows of random directions, of both signs, are counted before they are made."""
    asked = []
    monkeypatch.setattr(_selectivity, "check_memory", lambda size, *_: asked.append(size))
    sae, x = Dictionary(torch.eye(2, 3)), torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 3.0]])
    sides = [_selectivity._Side.of(one, sae) for one in (x, x - 1)]
    assert asked == [2 * 2 * 2 * 40] * 2
    assert sides[0].sample.tolist() == [0, 1]
    on, off = (one.to_dense() for one in _selectivity._directed(sides, torch.eye(2, 3)))
    torch.testing.assert_close(on, torch.tensor([[0.0, 2, 3, 0], [3, 0, 0, 2]]) + 1e-3)
    torch.testing.assert_close(off, on + torch.tensor([-1.0, -1, 1, 1]))
