"""Promises of the coherence measures, on dictionaries whose answers are known by hand."""

from __future__ import annotations

import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb.geometry import babel, coactive_babel, distinct_atoms


def by_definition(atoms: torch.Tensor, size: int) -> float:
    cosines = (atoms @ atoms.T).abs().fill_diagonal_(0)
    return float(cosines.sort(dim=1, descending=True).values[:, :size].sum(dim=1).max())


def test_babel_is_its_definition():
    """The largest sum of r cosines with one atom."""
    atoms = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(atoms, dim=1)
    assert babel(atoms, [1, 4, 29]) == pytest.approx([by_definition(unit, r) for r in (1, 4, 29)])


def test_babel_is_zero_for_orthogonal_atoms_and_r_for_copies():
    """Both ends."""
    assert babel(torch.eye(5), [1, 4]) == [0.0, 0.0]
    assert babel(torch.ones(5, 3), [1, 4]) == pytest.approx([1.0, 4.0])


def test_babel_does_not_depend_on_tiles(monkeypatch):
    """One row at a time gives the same."""
    atoms = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    whole = babel(atoms, [1, 3])
    monkeypatch.setattr("sae_nb.geometry._coherence.TILE", 1)
    assert babel(atoms, [1, 3]) == pytest.approx(whole)


def test_coactive_babel_looks_at_one_support_at_a_time():
    """Alike atoms that are never used together do not count; stored zeros do not either."""
    atoms = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    z = torch.tensor([[1.0, 0.0, 2.0], [1.0, 1.0, 1.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    assert coactive_babel(SparseCodes.from_dense(z), atoms) == pytest.approx([0, 0.6, 0, 0])
    stored = SparseCodes(
        torch.tensor([1.0, 0.0]), torch.tensor([0, 1]), torch.tensor([0, 2]), 3, (1,)
    )
    assert coactive_babel(stored, atoms).tolist() == [0.0]


def test_coactive_babel_is_its_definition_on_random_codes(monkeypatch):
    """Row by row, in any tiling."""
    generator = torch.Generator().manual_seed(2)
    atoms = torch.nn.functional.normalize(torch.randn(12, 5, generator=generator), dim=1)
    z = (torch.rand(40, 12, generator=generator) < 0.3).float()
    cosines = (atoms @ atoms.T).abs().fill_diagonal_(0)
    truth = [float((cosines * row[:, None] * row[None]).sum(dim=1).max()) for row in z]
    codes = SparseCodes.from_dense(z)
    assert coactive_babel(codes, atoms) == pytest.approx(truth, abs=1e-5)
    monkeypatch.setattr("sae_nb.geometry._coherence.TILE", 1)
    assert coactive_babel(codes, atoms) == pytest.approx(truth, abs=1e-5)


def test_copies_are_left_out():
    """The first of several stays; a negative is a copy too."""
    atoms = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-3.0, 0.0], [0.1, 1.0], [1.0, 1.0]])
    assert distinct_atoms(atoms).tolist() == [0, 1, 4]
    assert distinct_atoms(atoms, cosine=0.9999).tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize("sizes", [[0], [5], []])
def test_impossible_sizes_are_refused(sizes):
    """Between 1 and n_atoms − 1."""
    with pytest.raises(ValueError, match="`sizes` must"):
        babel(torch.eye(5), sizes)


def test_codes_of_another_dictionary_are_refused():
    """By their number of atoms."""
    with pytest.raises(ValueError, match="must be of 4 atoms"):
        coactive_babel(SparseCodes.from_dense(torch.ones(1, 3)), torch.eye(4))
