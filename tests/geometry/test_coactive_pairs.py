"""Pairs of atoms against dense ZᵀZ: connectivity, interference, NPMI, Jaccard."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb.geometry._coactivation import coactivation


def sparse(n: int, c: int, share: float = 0.3, signed: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, c, generator=generator) * (torch.rand(n, c, generator=generator) < share)
    return z if signed else z.abs()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("tile", [2**22, 12])
def test_pairs_are_as_dense_arithmetic_has_them(signed, tile, monkeypatch):
    monkeypatch.setattr("sae_nb.geometry._cosines.SMALL_TILE", tile)
    z = sparse(200, 12, signed=signed)
    atoms = 2 * torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    found = coactivation(SparseCodes.from_dense(z), atoms, top=3)
    norms = atoms.norm(dim=1)
    strengths, unit = (z * norms).double(), (atoms / norms[:, None]).double()
    product = strengths.T @ strengths
    assert found.n_pairs == int((product != 0).sum())
    assert found.connectivity == pytest.approx(1 - found.n_pairs / 144)
    against = (-(product / 200) * (unit @ unit.T)).clamp_min(0)
    against.fill_diagonal_(0)
    assert found.interference == pytest.approx(float(against.norm()), rel=1e-5)
    active = (z != 0).double()
    joint, p = active.T @ active / 200, active.mean(dim=0)
    npmi = (joint / (p[:, None] * p)).log() / -joint.log()
    npmi.fill_diagonal_(-2)
    best = npmi.topk(3, dim=1)
    assert found.npmi == pytest.approx(best.values.numpy(), abs=1e-9)
    together = (joint * 200).gather(1, best.indices)
    either = (p[:, None] + p).gather(1, best.indices) * 200 - together
    assert found.jaccard == pytest.approx((together / either).numpy(), abs=1e-9)


def test_atoms_that_fire_alone_do_not_meet():
    z = torch.eye(5).repeat(20, 1)
    found = coactivation(SparseCodes.from_dense(z), torch.ones(5, 3))
    assert found.connectivity == pytest.approx(1 - 1 / 5)
    assert found.interference == 0
    assert (found.partner == -1).all()
    assert (found.npmi == -1).all()


def test_opposed_atoms_that_meet_interfere():
    """By hand: d_2 = −d_1, z = 1 on both in every row: two entries of −1·−1, their norm √2."""
    found = coactivation(
        SparseCodes.from_dense(torch.ones(30, 2)), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    )
    assert found.interference == pytest.approx(np.sqrt(2))


def test_npmi_is_one_for_twins_and_near_zero_for_strangers():
    generator = torch.Generator().manual_seed(0)
    z = (torch.rand(4000, 3, generator=generator) < 0.3).float()
    z[:, 1] = z[:, 0]
    found = coactivation(SparseCodes.from_dense(z), torch.eye(3))
    assert found.partner[0, 0] == 1
    assert found.npmi[0, 0] == pytest.approx(1)
    assert abs(found.npmi[2, 0]) < 0.03


def test_rare_atoms_are_given_no_partners():
    z = torch.zeros(100, 2)
    z[0] = 1
    assert coactivation(SparseCodes.from_dense(z), torch.eye(2)).partner.max() == -1


def test_partners_are_of_ten_rows_and_as_many_as_there_are() -> None:
    """Atoms 0 and 1 meet in ten rows, and atom 2 with both in nine of them."""
    z = torch.zeros(40, 3)
    z[:10, :2], z[:9, 2] = 1, 1
    found = coactivation(SparseCodes.from_dense(z), torch.eye(3), top=5)
    assert found.partner.tolist() == [[1, -1], [0, -1], [-1, -1]]
    assert found.jaccard.tolist() == [[1, 0], [1, 0], [0, 0]]
    for n_atoms, top in ((2, 1), (1, 1), (3, 2)):
        one = coactivation(SparseCodes.from_dense(z[:, :n_atoms]), torch.eye(3)[:n_atoms], top=4)
        assert one.partner.shape == (n_atoms, top)


def test_stored_zeros_are_not_active():
    codes = SparseCodes(torch.tensor([1.0, 0.0]), torch.tensor([0, 1]), torch.tensor([0, 2]), 2)
    assert coactivation(codes, torch.eye(2)).n_pairs == 1
