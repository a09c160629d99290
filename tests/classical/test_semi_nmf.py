"""SemiNMF: planted groups of neurons are found, atoms stay on few of them, and atoms group into a tree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.classical import SemiNMF
from sae_nb.classical._semi_nmf import largest

N, D, N_ATOMS = 600, 40, 8


def planted(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows that add a few of eight signed groups of four neurons each, and the groups."""
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.zeros(N_ATOMS, D)
    for i in range(N_ATOMS):
        neurons = torch.randperm(D, generator=generator)[:4]
        atoms[i, neurons] = torch.randn(4, generator=generator)
    atoms = torch.nn.functional.normalize(atoms, dim=1)
    z = torch.rand(N, N_ATOMS, generator=generator) * (
        torch.rand(N, N_ATOMS, generator=generator) < 0.25
    )
    return z @ atoms, atoms


@pytest.fixture(scope="module")
def fitted() -> SemiNMF:
    return SemiNMF(D, N_ATOMS, kept=0.1).fit(planted()[0])


@pytest.mark.slow
def test_planted_groups_are_found(fitted: SemiNMF) -> None:
    """Each by an atom of its own on the same neurons; random dictionaries of the same form do not."""
    x, atoms = planted()
    best = (atoms @ fitted.dictionary.T).max(dim=1)
    assert best.values.min() > 0.95
    assert len(set(best.indices.tolist())) == N_ATOMS
    assert float((x - fitted(x)).detach().square().sum() / x.square().sum()) < 0.05
    random = torch.nn.functional.normalize(
        largest(torch.randn(N_ATOMS, D, generator=torch.Generator().manual_seed(1)), 4), dim=1
    )
    assert (atoms @ random.T).max(dim=1).values.median() < 0.8


@pytest.mark.slow
def test_atoms_are_unit_vectors_on_few_neurons(fitted: SemiNMF) -> None:
    """Four of forty; codes are not negative, and at most k of them where k is asked for."""
    x, _ = planted()
    assert ((fitted.dictionary != 0).sum(dim=1) == 4).all()
    assert torch.allclose(fitted.dictionary.norm(dim=1), torch.ones(N_ATOMS))
    assert (fitted.encode(x).values >= 0).all()
    two = SemiNMF(D, N_ATOMS, kept=0.1, k=2).fit(x, n_steps=5)
    assert int(two.encode(x).l0.max()) <= 2


def test_atoms_that_are_alike_share_a_parent() -> None:
    """Two families of atoms about two directions; a third level has one root, and every share is one of all."""
    generator = torch.Generator().manual_seed(0)
    families = torch.eye(2, D).repeat_interleave(6, dim=0)
    atoms = families + 0.05 * torch.rand(12, D, generator=generator)
    sae = SemiNMF(D, 12, kept=1.0)
    sae.hold_(torch.nn.functional.normalize(atoms, dim=1))
    tree = sae.tree((2, 1))
    own = tree[tree.level == 0]
    assert own.parent[:6].nunique() == own.parent[6:].nunique() == 1
    assert own.parent.nunique() == 2
    assert tree[tree.level == 1].parent.tolist() == [0, 0]
    assert tree.share.between(0.5, 1).all()


@pytest.mark.slow
def test_one_seed_gives_one_dictionary_that_files_keep(fitted: SemiNMF, tmp_path: Path) -> None:
    again = SemiNMF(D, N_ATOMS, kept=0.1).fit(planted()[0])
    assert torch.equal(again.dictionary, fitted.dictionary)
    fitted.save(tmp_path / "sae")
    loaded = sn.load_sae(tmp_path / "sae")
    assert isinstance(loaded, SemiNMF)
    assert (loaded.kept, loaded.k, loaded.n_atoms) == (0.1, None, N_ATOMS)
    x = planted()[0][:5]
    assert np.array_equal(np.asarray(loaded.encode(x)), np.asarray(fitted.encode(x)))
