"""Geometry of atoms against closed forms and the dense Gram matrix."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.geometry import largest_cosines
from sae_nb.geometry._coherence import (
    atom_geometry,
    copied_atoms,
    duplicate_groups,
    encoder_cosines,
    welch_bound as welch,
)


def random(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_copies_have_rank_one_and_coherence_one():
    found = atom_geometry(torch.ones(5, 4), m=2)
    assert found.coherence == pytest.approx(1)
    assert found.babel == pytest.approx(2)
    assert found.stable_rank == pytest.approx(1)
    assert found.effective_rank == pytest.approx(1)
    assert found.alike.tolist() == [0, 1, 1, 1, 1]


def test_a_hand_computed_case():
    """Three atoms in the plane: cosines 0, .6, .8; σ² are 1.6 and 1.4 … as numpy has them."""
    atoms = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    found = atom_geometry(atoms, m=2)
    assert found.max_cosine == pytest.approx([0.6, 0.8, 0.8], abs=1e-6)
    assert found.babel == pytest.approx(1.4, abs=1e-6)
    sigma = np.sqrt([2.0, 1.0])  # eigenvalues of DᵀD = [[1.36, .48], [.48, 1.64]]
    p = sigma / sigma.sum()
    assert found.stable_rank == pytest.approx(3 / 2)
    assert found.effective_rank == pytest.approx(math.exp(-(p * np.log(p)).sum()))
    assert found.welch == pytest.approx(0.5)
    two = atom_geometry(atoms[1:])
    assert two.max_cosine == pytest.approx([0.8, 0.8])
    assert (two.mean_cosine, two.babel) == pytest.approx((0.8, 0.8))


def test_a_copy_lies_along_an_earlier_atom():
    atoms = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [1.0, 0.2]])
    assert copied_atoms(atoms).tolist() == [False, False, True, True, True, False]
    unit = torch.nn.functional.normalize(atoms, dim=1)
    among = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    assert largest_cosines(unit[:4], among).tolist() == pytest.approx([0.6, 0.8, 0.6, 0.8])
    signed = largest_cosines(unit[:4], among, signed=True)
    assert signed.tolist() == pytest.approx([0.8, 0.8, 0.8, 0.8])


def test_tiles_do_not_show(monkeypatch):
    atoms = random(60, 10)
    whole = atom_geometry(atoms, m=4)
    gram = torch.nn.functional.normalize(atoms, dim=1)
    gram = (gram @ gram.T).abs().fill_diagonal_(0)
    assert whole.max_cosine == pytest.approx(gram.amax(dim=1).numpy(), abs=1e-6)
    assert whole.babel == pytest.approx(float(gram.topk(4).values.sum(1).max()), abs=1e-5)
    monkeypatch.setattr("sae_nb.geometry._cosines.SMALL_TILE", 60)
    tiled = atom_geometry(atoms, m=4)
    assert tiled.max_cosine == pytest.approx(whole.max_cosine, abs=1e-6)
    assert tiled.babel == pytest.approx(whole.babel, abs=1e-5)
    assert tiled.mean_cosine == pytest.approx(whole.mean_cosine, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("c", "d", "bound"), [(256, 64, 0.108), (2048, 256, 0.058), (8, 8, 0.0)])
def test_no_dictionary_goes_below_welch(c, d, bound):
    assert welch(c, d) == pytest.approx(bound, abs=1e-3)
    assert atom_geometry(random(c, d)).coherence >= welch(c, d)


def test_copies_are_grouped_through_each_other():
    angle = [0.0, 0.4, 0.8, 1.6]
    atoms = torch.tensor([[math.cos(a), math.sin(a)] for a in angle])
    atoms[1] *= -3
    assert [g.tolist() for g in duplicate_groups(atoms)] == [[0, 1, 2]]
    assert duplicate_groups(torch.eye(4)) == ()
    half = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1]])  # of cosine 0.5
    assert duplicate_groups(half, cosine=0.5) == ()
    assert len(duplicate_groups(half, cosine=0.49)) == 1


def test_encoder_cosines_see_a_turned_row():
    sae = sn.TopK(d_in=6, n_atoms=6, k=2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sae.encoder.weight[0] *= -2
        d = sae.dictionary[1]
        other = torch.randn(6, generator=torch.Generator().manual_seed(1))
        sae.encoder.weight[1] = other - (other @ d) * d
    found = encoder_cosines(sae)
    assert found[0] == pytest.approx(-1, abs=1e-5)
    assert found[1] == pytest.approx(0, abs=1e-5)
    assert found[2:] == pytest.approx(1, abs=1e-5)
    assert encoder_cosines(sn.MatchingPursuit(6, 6, 2)) is None
