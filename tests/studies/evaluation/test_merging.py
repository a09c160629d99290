"""Promises of merging: each step is the cheapest pair by brute force, R² is that of the dictionary it leaves."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn


class Planted:
    """Known atoms and codes: rows are looked up, so that nothing but the merge is measured."""

    def __init__(self, codes: Tensor, atoms: Tensor) -> None:
        self.dictionary, self.codes = atoms, codes
        self.n_atoms, self.d_in = atoms.shape
        self.x = codes @ atoms + 0.05 * _drawn(len(codes), self.d_in, seed=9)

    def encode(self, x: Tensor) -> sn.SparseCodes:
        rows = torch.cdist(x.reshape(-1, self.d_in), self.x).argmin(dim=1)
        return sn.SparseCodes.from_dense(self.codes[rows]).reshape(*x.shape[:-1])

    def decode(self, codes: sn.SparseCodes) -> Tensor:
        return codes @ self.dictionary + 0.1

    def __call__(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _planted(n_atoms: int = 7, d_in: int = 5, n: int = 80) -> Planted:
    codes = _drawn(n, n_atoms).clamp_min(0) * (_drawn(n, n_atoms, seed=1) > 0)
    return Planted(codes, nn.functional.normalize(_drawn(n_atoms, d_in, seed=2), dim=1))


def _twins(n_atoms: int = 10, d_in: int = 12, n: int = 300) -> Planted:
    """The first three atoms have a copy, a little turned, that takes half of their uses."""
    atoms = nn.functional.normalize(_drawn(n_atoms, d_in), dim=1)
    codes = _drawn(n, n_atoms, seed=1).abs() * (_drawn(n, n_atoms, seed=2) > 0.7)
    copies = nn.functional.normalize(atoms[:3] + 0.05 * _drawn(3, d_in, seed=3), dim=1)
    on = _drawn(n, 3, seed=4) > 0
    both = torch.cat((codes, codes[:, :3] * on), dim=1)
    both[:, :3] *= ~on
    return Planted(both, torch.cat((atoms, copies)))


def _cheapest(codes: np.ndarray, atoms: np.ndarray) -> tuple[float, tuple[int, int], np.ndarray]:
    """By singular values of what each pair writes: cost, pair, and what is written instead."""
    found = []
    for i, j in combinations(range(len(atoms)), 2):
        if not (codes[:, i].any() and codes[:, j].any()):
            continue
        u, s, v = np.linalg.svd(codes[:, [i, j]] @ atoms[[i, j]], full_matrices=False)
        found.append((s[1] ** 2 / len(codes), (i, j), s[0] * u[:, :1], v[:1]))
    cost, pair, z, direction = min(found, key=lambda one: one[0])
    return cost, pair, (z, direction)


def test_every_step_is_the_cheapest_pair() -> None:
    """By brute force over all pairs that are left, on what is written after the steps before."""
    sae = _planted()
    found = sn.evaluation.merge(sae, sae.x, n_left=2)
    codes, atoms = sae.codes.double().numpy().copy(), sae.dictionary.double().numpy().copy()
    variance = float(sae.x.double().var(dim=0, correction=0).sum())
    for step, pair in enumerate(found.pairs):
        cost, expected, (z, direction) = _cheapest(codes, atoms)
        assert set(pair) == set(expected)
        assert found.cost[step] == pytest.approx(cost / variance, rel=1e-6, abs=1e-12)
        i, j = pair
        codes[:, [i]], atoms[i], codes[:, j] = z, direction, 0


def test_r2_is_that_of_the_dictionary_that_is_left() -> None:
    sae = _planted()
    found = sn.evaluation.merge(sae, sae.x, n_left=1)
    for n, r2 in zip(found.left, found.r2, strict=True):
        small = found.sae(int(n))
        assert small.dictionary.shape == (n, 5)
        assert sn.evaluation.explained_variance(sae.x, small(sae.x)) == pytest.approx(r2, abs=1e-5)
    whole = sae.decode(sae.encode(sae.x))
    assert found.r2[0] == pytest.approx(sn.evaluation.explained_variance(sae.x, whole), abs=1e-6)


def test_codes_of_what_was_merged_stay_sparse() -> None:
    sae = _twins()
    small = sn.evaluation.merge(sae, sae.x, n_left=6).sae(8)
    codes = small.encode(sae.x.view(3, 100, 12))
    assert codes.leading_shape == (3, 100)
    assert codes.n_atoms == 8
    assert codes.nnz <= int((sae.codes != 0).sum())
    pairs = codes.support.rows * 8 + codes.atoms
    assert len(pairs.unique()) == len(pairs)


def test_what_the_answer_hangs_on_is_merged_later() -> None:
    """Of two pairs of like atoms, the one whose difference the gradient follows waits."""
    atoms = torch.tensor([[1.0, 0.1, 0, 0], [1, -0.1, 0, 0], [0, 0, 1, 0.12], [0, 0, 1, -0.12]])
    codes = torch.eye(4).repeat(30, 1) * (1 + 0.3 * _drawn(120, 4).abs())
    sae = Planted(codes, nn.functional.normalize(atoms, dim=1))
    plain = sn.evaluation.merge(sae, sae.x, n_left=2)
    assert sorted(plain.pairs[0]) == [0, 1]
    zeros = torch.zeros(120, dtype=torch.long)
    reads = torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat(120, 1)
    acts = sn.Activations(sae.x, sample=torch.arange(120), position=zeros, gradient=reads)
    assert sorted(sn.evaluation.merge(sae, acts, n_left=2).pairs[0]) == [2, 3]


@pytest.mark.slow
def test_the_model_is_run_with_what_is_left() -> None:
    """At some numbers of atoms, merged, dropped and random; at all of them these are one."""
    torch.manual_seed(0)
    model = sn.wrap(
        nn.Sequential(nn.Identity(), nn.Linear(12, 3, bias=False)), class_names=["a", "b", "c"]
    )
    sae = _twins()
    acts = sn.capture(model, sae.x, "0", progress=False)
    found = sn.evaluation.merge(sae, acts, model, sae.x, n_left=4, n_answers=3)
    assert found.quantity == "kl"
    assert found.answers.index.tolist() == [13, 9, 4]
    assert found.answers.loc[13].nunique() == 1
    assert found.answers.loc[4, "merged"] < found.answers.loc[4, "random"]
    labelled = sn.evaluation.merge(
        sae, acts, model, sae.x, labels=torch.arange(300) % 3, n_left=10, n_answers=2
    )
    assert labelled.quantity == "ce"


def test_copies_are_merged_first() -> None:
    """Before anything else; then nothing is missed by dropping them, where dropping a weak atom is."""
    sae = _twins()
    found = sn.evaluation.merge(sae, sae.x, n_left=6)
    assert {tuple(sorted(pair)) for pair in found.pairs[:3]} == {(0, 10), (1, 11), (2, 12)}
    assert found.needed(0.99) <= 10 < found.simpler(0.99)
    assert found.groups(10) == [[0, 10], [1, 11], [2, 12]]
    assert found.cost[:3].max() < 0.01 < found.cost[3]
