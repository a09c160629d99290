"""Promises of the coherence measures, on dictionaries whose answers are known by hand."""

from __future__ import annotations

import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb.geometry._coherence import atom_geometry, babel, coactive_babel, distinct_atoms


def by_definition(atoms: torch.Tensor, size: int) -> float:
    cosines = (atoms @ atoms.T).abs().fill_diagonal_(0)
    return float(cosines.sort(dim=1, descending=True).values[:, :size].sum(dim=1).max())


def test_babel_is_its_definition():
    atoms = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(atoms, dim=1)
    assert babel(atoms, [1, 4, 29]) == pytest.approx([by_definition(unit, r) for r in (1, 4, 29)])


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
    generator = torch.Generator().manual_seed(2)
    atoms = torch.nn.functional.normalize(torch.randn(12, 5, generator=generator), dim=1)
    z = (torch.rand(40, 12, generator=generator) < 0.3).float()
    cosines = (atoms @ atoms.T).abs().fill_diagonal_(0)
    truth = [float((cosines * row[:, None] * row[None]).sum(dim=1).max()) for row in z]
    codes = SparseCodes.from_dense(z)
    assert coactive_babel(codes, atoms) == pytest.approx(truth, abs=1e-5)
    monkeypatch.setattr("sae_nb.geometry._coherence.TILE", 1)
    assert coactive_babel(codes, atoms) == pytest.approx(truth, abs=1e-5)


@pytest.mark.parametrize("tile", [1, 2**24])
def test_numbers_of_a_dictionary_are_those_of_all_its_cosines(monkeypatch, tile) -> None:
    """Five atoms in three dimensions, of any length; the last is nearly the first."""
    monkeypatch.setattr("sae_nb.geometry._cosines.SMALL_TILE", tile)
    atoms = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    atoms[4] = -2 * atoms[0] + 1e-9
    unit = torch.nn.functional.normalize(atoms, dim=1)
    cosines = (unit @ unit.T).abs().fill_diagonal_(0)
    share = torch.linalg.svdvals(unit)
    found = atom_geometry(atoms, m=2)
    assert found.max_cosine == pytest.approx(cosines.amax(dim=1).numpy())
    assert found.mean_cosine == pytest.approx(float(cosines.sum()) / 20)
    assert found.babel == pytest.approx(by_definition(unit, 2))
    assert found.coherence == pytest.approx(1)
    near = (cosines > 0.9).tril()  # to one of smaller number
    assert found.alike.tolist() == near.any(dim=1).tolist() == [0, 0, 0, 1, 1]
    assert found.stable_rank == pytest.approx(float(share.square().sum() / share[0] ** 2))
    p = share / share.sum()
    assert found.effective_rank == pytest.approx(float((-(p * p.log()).sum()).exp()))
    assert found.welch == pytest.approx((2 / (3 * 4)) ** 0.5)


def test_copies_are_left_out():
    atoms = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-3.0, 0.0], [0.1, 1.0], [1.0, 1.0]])
    assert distinct_atoms(atoms).tolist() == [0, 1, 4]
    assert distinct_atoms(atoms, cosine=0.9999).tolist() == [0, 1, 3, 4]


def test_a_copy_has_the_cosine_that_is_asked_for_at_least() -> None:
    """With cosine 1 the third and the negated fifth are copies of the first, and are left out."""
    atoms = torch.tensor([[1.0, 0], [0, 1], [2, 0], [3, 4], [-1, 0]])
    assert distinct_atoms(atoms, cosine=1.0).tolist() == [0, 1, 3]


def test_the_sum_of_the_largest_is_of_fewer_than_all() -> None:
    atoms = torch.eye(3)
    assert atom_geometry(atoms, m=2).m == 2
    with pytest.raises(ValueError, match="`m` must be below n_atoms=3, got 3"):
        atom_geometry(atoms, m=3)


def test_one_atom_has_no_geometry_and_the_earlier_of_two_that_are_near_stays() -> None:
    with pytest.raises(ValueError, match="at least two atoms, got 1"):
        atom_geometry(torch.ones(1, 3))
    atoms = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, -0.94, 0.341], [-5, 0, 0], [0, 0, 2]])
    found = atom_geometry(atoms)
    assert found.alike.tolist() == [0, 0, 1, 1, 0]
    assert found.copied.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("m", [1, 3, 20])
def test_the_largest_sum_is_found_wherever_it_is(m: int) -> None:
    """Of 200 atoms, four of which are near each other: every third or so is looked at first."""
    atoms = torch.randn(200, 12, generator=torch.Generator().manual_seed(4))
    unit = torch.nn.functional.normalize(atoms, dim=1)
    assert atom_geometry(atoms, m=m).babel == pytest.approx(by_definition(unit, m))
    for place in ([1, 2, 5, 199], [13, 14, 17, 19]):
        atoms[place] = atoms[place[0]] + 0.1 * atoms[place]
        unit = torch.nn.functional.normalize(atoms, dim=1)
        assert atom_geometry(atoms, m=m).babel == pytest.approx(by_definition(unit, m))
    assert atom_geometry(torch.eye(90), m=m).babel == 0
    assert atom_geometry(torch.ones(90, 2), m=m).babel == pytest.approx(m)


def test_ranks_of_few_directions_are_theirs() -> None:
    """Six atoms in a plane of five dimensions; σ² = 3 and 3, and three more that are 0."""
    angle = torch.arange(6) * torch.pi / 6
    plane = torch.stack([angle.cos(), angle.sin()], dim=1)
    found = atom_geometry(torch.cat([plane, torch.zeros(6, 3)], dim=1))
    assert found.stable_rank == pytest.approx(2)
    assert found.effective_rank == pytest.approx(2, abs=1e-5)
    wide = atom_geometry(torch.eye(7)[:3])
    assert (wide.stable_rank, wide.effective_rank) == (pytest.approx(3), pytest.approx(3))
