"""Atoms are counted as silent from sparse codes exactly as from dense ones."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from sae_nb.codes import SparseCodes
from sae_nb.training._dead_atoms import DeadAtoms, fire_counts


def test_silent_tokens_match_a_dense_count() -> None:
    """Over random batches of unequal size, silence is the distance to the last firing."""
    generator = torch.Generator().manual_seed(0)
    dead = DeadAtoms(12, dead_after_tokens=40)
    expected = torch.zeros(12, dtype=torch.int64)
    for _ in range(30):
        rows = int(torch.randint(1, 9, (), generator=generator))
        z = (torch.rand(rows, 12, generator=generator) < torch.linspace(0, 0.2, 12)).float()
        dead.count(fire_counts(SparseCodes.from_dense(z), 12), rows)
        expected = torch.where(z.any(dim=0), 0, expected + rows)
        assert torch.equal(dead.silent_tokens, expected)
        assert torch.equal(dead.mask, expected >= 40)
    assert dead.mask[0]
    assert not dead.mask[-1]


def test_stored_zero_is_not_a_firing() -> None:
    codes = SimpleNamespace(values=torch.tensor([0.0, 1.0, -2.0]), atoms=torch.tensor([0, 1, 2]))
    dead = DeadAtoms(3, dead_after_tokens=5)
    dead.count(fire_counts(codes, 3), rows=5)
    assert dead.silent_tokens.tolist() == [5, 0, 0]


def test_frequency_is_the_share_of_recent_rows() -> None:
    dead = DeadAtoms(2, dead_after_tokens=20)
    always = SparseCodes.from_dense(torch.tensor([[1.0, 0.0]] * 10))
    never = SparseCodes.from_dense(torch.tensor([[0.0, 1.0]] * 10))
    for codes in (always, never):
        dead.begin(10)
        dead.count(fire_counts(codes, 2), 10)
    assert dead.frequency.tolist() == [0.5, 0.5]
    for _ in range(5):
        dead.begin(10)
        dead.count(fire_counts(never, 2), 10)
    assert dead.frequency.tolist() == [0.0, 1.0]


def test_counts_are_those_of_the_dense_codes() -> None:
    """Rows on which each atom fired, atoms that never do included."""
    z = (torch.rand(50, 9, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    z[:, 8] = 0
    assert torch.equal(fire_counts(SparseCodes.from_dense(z), 9), z.long().sum(dim=0))
