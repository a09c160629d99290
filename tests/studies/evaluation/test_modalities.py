"""Two modalities: planted gaps, split atoms and bridges are found, and shuffled pairs are the floor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb_studies.evaluation import bridge_score, modality_gap, modality_scores

N, N_ATOMS, D = 400, 12, 6


def _codes(seed: int, atoms: slice = slice(None)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    z = torch.rand(N, N_ATOMS, generator=generator)
    z = z * (torch.rand(N, N_ATOMS, generator=generator) < 0.3)
    kept = torch.zeros(N_ATOMS)
    kept[atoms] = 1
    return z * kept


def _atoms(seed: int = 0) -> Tensor:
    rows = torch.randn(N_ATOMS, D, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def test_the_gap_is_the_distance_of_the_means_and_its_floor_is_not() -> None:
    x = torch.randn(500, D, generator=torch.Generator().manual_seed(0))
    shift = torch.zeros(D)
    shift[2] = 20.0
    gap = modality_gap([x + shift, 3 * (x - shift)])
    assert gap.value == pytest.approx(2, abs=0.02)
    assert gap.direction[2] == pytest.approx(gap.value, abs=0.01)
    assert gap.floor < 0.2
    alike = modality_gap([x[:250], x[250:]])
    assert alike.value < 0.15
    assert alike.interval[0] < alike.interval[1]


def test_an_atom_of_one_modality_alone_is_split() -> None:
    """Four atoms of each side alone and four of both: two thirds are split, none once pairs are turned."""
    image, text = _codes(0, slice(0, 8)), _codes(1, slice(4, 12))
    split = modality_scores([SparseCodes.from_dense(z) for z in (image, text)])
    assert split.value == pytest.approx(8 / 12)
    assert split.floor == 0
    expected = image.mean(dim=0) / (image.mean(dim=0) + text.mean(dim=0))
    np.testing.assert_allclose(split.scores, expected.numpy(), rtol=1e-5)
    assert split.energies.shape == (N_ATOMS, 2)
    strength = (image + text).sum(dim=0)
    of_split = strength[:4].sum() + strength[8:].sum()
    assert split.energy == pytest.approx(float(of_split / strength.sum()), rel=1e-5)
    assert split.energy_floor == 0
    atoms, carried = split.chart.series
    assert atoms.y[0] == pytest.approx(4 / 12)
    assert carried.y[-1] == pytest.approx(float(strength[:4].sum() / strength.sum()), rel=1e-5)


def test_a_dead_atom_has_no_score_and_signs_do_not_cancel() -> None:
    z = _codes(0, slice(0, 8))
    signed = SparseCodes.from_dense(z * torch.where(torch.arange(N)[:, None] % 2 == 0, 1.0, -1.0))
    split = modality_scores([signed, SparseCodes.from_dense(z)])
    assert np.isnan(split.scores[8:]).all()
    assert split.n == 8
    np.testing.assert_allclose(split.scores[:8], 0.5)


def test_the_bridge_is_its_definition() -> None:
    image, text, atoms = _codes(0), _codes(1), _atoms()
    bridge = bridge_score([SparseCodes.from_dense(z) for z in (image, text)], atoms)
    joint = (image.T.double() @ text.double() / N) * (atoms @ atoms.T)
    dense = torch.zeros(N_ATOMS, N_ATOMS, dtype=torch.double)
    dense[bridge.first, bridge.second] = torch.from_numpy(bridge.scores)
    torch.testing.assert_close(dense, joint.double(), rtol=1e-5, atol=1e-9)
    sides = [(z @ atoms).double() for z in (image, text)]
    size = (sides[0].square().sum() * sides[1].square().sum()).sqrt() / N
    assert bridge.value == pytest.approx(float(joint.sum() / size), rel=1e-5)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    shuffled = [
        float((sides[0] * sides[1][order.roll(i)]).sum(dim=1).mean() / size) for i in range(N)
    ]
    assert bridge.floor == pytest.approx(np.mean(shuffled), rel=1e-6)
    same = joint.abs().diagonal().sum() / joint.abs().sum()
    assert bridge.same == pytest.approx(float(same), rel=1e-5)


def test_pairs_that_share_concepts_stand_above_their_floor() -> None:
    """By other atoms that point the same way too, and then no edge is within one atom."""
    image = _codes(0, slice(0, 6))
    moved = image.roll(6, dims=1)
    half = _atoms()[:6]
    codes = [SparseCodes.from_dense(z) for z in (image, moved)]
    bridge = bridge_score(codes, torch.cat([half, half]))
    assert bridge.value == pytest.approx(1)
    assert bridge.floor < 0.7
    assert bridge.same == 0
    best = bridge.edges(3)
    assert (best["second"] - best["first"] == 6).all()
    assert (best["score"] > best["floor"]).all()
    assert bridge_score(codes, [_atoms(1), _atoms(2)]).value < 0.7
