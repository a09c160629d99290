"""Promises of planted dictionaries: norms, coherence, sparsity and the equation itself."""

from __future__ import annotations

import pytest
import torch

from sae_nb.data import planted_dictionary


@pytest.mark.parametrize("nonnegative", [True, False])
def test_vectors_are_codes_times_dictionary(nonnegative):
    data = planted_dictionary(50, 20, 300, 4, nonnegative=nonnegative, seed=1)
    assert torch.allclose(data.x, data.codes.to_dense() @ data.dictionary, atol=1e-5)


@pytest.mark.parametrize("coherence", [0.0, 0.1, 0.5, 0.9])
def test_mean_cosine_of_atoms_is_as_asked(coherence):
    """Unit atoms whose mean pairwise cosine is the number given, in both shapes of dictionary."""
    for n_atoms, d_in in ((200, 32), (16, 64)):
        atoms = planted_dictionary(n_atoms, d_in, 1, 1, coherence=coherence).dictionary.double()
        assert torch.allclose(atoms.norm(dim=1), torch.ones(n_atoms, dtype=torch.double), atol=1e-6)
        mean = (atoms @ atoms.T).sum() - n_atoms
        assert float(mean / (n_atoms * (n_atoms - 1))) == pytest.approx(coherence, abs=1e-5)


def test_every_atom_is_used_as_often():
    codes = planted_dictionary(20, 8, 4_000, 5, seed=3).codes
    counts = torch.bincount(codes.atoms.long(), minlength=20).double()
    assert float((counts - 1_000).abs().max()) < 5 * (4_000 * 0.25 * 0.75) ** 0.5


def test_bernoulli_support_has_k_on_average():
    codes = planted_dictionary(100, 8, 4_000, 5, support="bernoulli", seed=4).codes
    l0 = codes.l0.double()
    assert float(l0.mean()) == pytest.approx(5, abs=0.2)
    assert float(l0.var()) == pytest.approx(4.75, rel=0.15)


def test_signs_are_even_when_allowed_and_absent_when_not():
    signed = planted_dictionary(30, 8, 2_000, 3, nonnegative=False).codes.values
    assert float((signed < 0).double().mean()) == pytest.approx(0.5, abs=0.04)
    assert bool((planted_dictionary(30, 8, 100, 3).codes.values > 0).all())


def test_noise_has_the_given_deviation():
    data = planted_dictionary(30, 16, 2_000, 3, noise=0.3)
    rest = data.x - data.codes.to_dense() @ data.dictionary
    assert float(rest.std()) == pytest.approx(0.3, rel=0.03)
