"""Lengths of codes against lengths of inputs, and the angles that their difference needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.evaluation import atom_geometry
from sae_nb_studies.evaluation import quasi_orthogonality
from sae_nb_studies.evaluation.dictionary import _quasi_orthogonality


def made(kind: type = sn.TopK, **settings: object) -> sn.SparseAutoencoder:
    generator = torch.Generator().manual_seed(0)
    sae = kind(d_in=8, n_atoms=24, generator=generator, **settings)
    sae.initialise(rows(), torch.Generator().manual_seed(0))
    return sae.eval()


def rows(n: int = 50) -> torch.Tensor:
    return 4 + 2 * torch.randn(n, 8, generator=torch.Generator().manual_seed(1))


def test_lengths_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    sae, x = made(k=5), rows()
    z = sae.encode(x).to_dense().detach().double()
    for batch in (4096, 7):
        monkeypatch.setattr(_quasi_orthogonality, "_BATCH", batch)
        found = quasi_orthogonality(sae, x)
        assert found.lengths == pytest.approx((x - sae.bias).norm(dim=1).detach().numpy(), rel=1e-5)
        assert found.code_lengths == pytest.approx(z.norm(dim=1).numpy(), rel=1e-5)
    pair = np.corrcoef(found.lengths, found.code_lengths)[0, 1]
    assert found.correlation == pytest.approx(pair)
    gap = np.abs(found.lengths - found.code_lengths).mean()
    assert found.missed == pytest.approx(gap / found.lengths.mean())
    assert f"{found.missed:.1%}" in repr(found)


@pytest.mark.parametrize("kind", [sn.TopK, sn.AbsTopK, sn.MatchingPursuit])
def test_no_row_needs_a_larger_cosine_than_there_is(kind: type) -> None:
    """The bound of the paper: |‖zD‖² − ‖z‖²| ≤ ε (‖z‖₁² − ‖z‖²), with ε the coherence; signs do not matter."""
    sae = made(kind, k=4)
    found = quasi_orthogonality(sae, rows())
    assert float(np.nanmax(found.epsilon)) <= found.largest + 1e-6
    assert float(np.nanmax(found.epsilon)) > 0.05


def test_two_atoms_need_their_own_cosine() -> None:
    sae = made(k=2)
    with torch.no_grad():
        atoms = torch.nn.functional.normalize(torch.ones(24, 8) + torch.eye(24, 8), dim=1)
        sae.operator.weight.copy_(atoms)
    x = rows(30)
    codes = sae.encode(x)
    found = quasi_orthogonality(sae, x)
    for row in range(30):
        chosen = codes[row].atoms.long()
        if len(chosen) < 2:
            assert math.isnan(found.epsilon[row])
        else:
            cosine = float(atoms[chosen[0]] @ atoms[chosen[1]])
            assert found.epsilon[row] == pytest.approx(cosine, rel=1e-4)
    assert np.isnan(quasi_orthogonality(made(k=1), x).epsilon).all()


def test_the_mean_cosine_of_random_directions_is_what_the_formula_says() -> None:
    atoms = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(atoms, dim=1)
    off = (unit @ unit.T).abs()[~torch.eye(400, dtype=torch.bool)]
    whole = atom_geometry(atoms).mean_cosine
    assert whole == pytest.approx(float(off.mean()), rel=1e-5)
    assert whole == pytest.approx(_quasi_orthogonality._random_mean(8), rel=0.03)
    assert _quasi_orthogonality._random_mean(2) == pytest.approx(2 / math.pi)


def test_what_is_not_an_atom_counts_as_bias() -> None:
    """Of a skip transcoder, the length is that of what its linear map leaves to the atoms."""
    x = rows()
    y = ((x - 4) @ torch.randn(8, 5, generator=torch.Generator().manual_seed(2))).relu()
    generator = torch.Generator().manual_seed(0)
    t = sn.SkipTranscoder(d_in=8, d_out=5, n_atoms=24, k=4, generator=generator)
    t.initialise(torch.cat([x, y], dim=1))
    found = quasi_orthogonality(t.eval(), (x, y))
    left = y - (t(x) - t.encode(x).to_dense() @ t.dictionary)
    assert found.lengths == pytest.approx(left.norm(dim=1).detach().numpy(), rel=1e-4)
    assert found.lengths.mean() < 0.9 * float((y - t.bias.detach()).norm(dim=1).mean())
