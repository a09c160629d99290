"""Starts of a training: each number by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sae_nb.training import _starts as starting
from sae_nb.training._starts import _largest, _Search, starting_atoms
from tests.architectures.test_by_hand import drawn


def search(x: Any, tolerance: float = 0.0) -> _Search:
    return _Search(torch.as_tensor(x), tolerance, torch.Generator().manual_seed(0))


def test_a_line_is_the_weighted_mean_of_the_rows_that_take_it() -> None:
    """Rows 3 and 4 along the first axis and beside it: amounts 3 and 4; the second atom has one row."""
    x = torch.tensor([[3.0, 0.0, 0.3], [4.0, 0.4, 0.0], [0.0, -2.0, 1.0]])
    atoms = torch.tensor([[1.0, 0, 0], [0.0, 0, 1], [0.0, 1, 0]])
    found = search(x).lines(atoms, x, 1)
    middle = torch.tensor([9.0 + 16, 1.6, 0.9])
    torch.testing.assert_close(found[0], middle / middle.norm())
    torch.testing.assert_close(found[1], x[2] / x[2].norm())
    assert found[2].tolist() == [0, 1, 0]  # nobody's
    assert torch.equal(search(x).lines(atoms, x, 0), atoms)


def test_loss_is_what_so_many_steps_leave() -> None:
    x, atoms = torch.tensor([[3.0, 4.0, 1.0], [2.0, 0.0, 0.5]]), torch.eye(3)[:2]
    found = search(x)
    assert found.loss(atoms, 1) == pytest.approx(9 + 1 + 0.25)
    assert found.loss(atoms, 2) == pytest.approx(1 + 0.25)
    assert found.loss(atoms, 9) == pytest.approx(1 + 0.25)
    assert search(x, 3.2).loss(atoms, 2) == pytest.approx(9 + 1 + 4.25)


def test_an_atom_varies_as_what_it_leaves_of_its_rows() -> None:
    """Σ r rᵀ / n: one direction with 1 and 9, and nobody's."""
    x = torch.tensor([[5.0, 1.0, 0.0], [6.0, -3.0, 0.0]])
    values = search(x)._variation(torch.tensor([[1.0, 0, 0], [0.0, 0, 1]]), 1)
    assert values.tolist() == pytest.approx([5, 0])
    assert float(_largest(torch.tensor([[3.0, 0.0], [0.0, 2.0]]))) == pytest.approx(4.5)


def test_a_spread_has_the_directions_that_there_are() -> None:
    """Of rows along three lines each line once, and chance for the fourth."""
    lines = torch.eye(5)[:3]
    x = lines[torch.arange(12) % 3] * torch.linspace(1, 4, 12)[:, None]
    found = search(x).spread(x, 4)
    assert (found @ lines.T == 1).sum(dim=0).tolist() == [1, 1, 1]
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    assert len(search(x).spread(x, 2)) == 2
    # of the twenty drawn the one that leaves least: the many rows' line, not the few's
    many = torch.cat([lines[:1].expand(50, -1), lines[1:2]])
    torch.testing.assert_close(search(many).spread(many, 1), lines[:1])


def test_replaced_sets_keep_the_other_atoms() -> None:
    """The first m of those that vary most are found again, for m = 1 and 2 of three."""
    x, atoms = drawn(12, 4), torch.nn.functional.normalize(drawn(3, 4, seed=1), dim=1)
    found = list(search(x).replaced(atoms, 2))
    assert len(found) == 1 + 2 * starting.TRIES
    assert torch.equal(found[0], atoms)
    order = search(x)._variation(atoms, 1).argsort(descending=True)
    for i, sets in enumerate(found[1:]):
        m = 1 + i // starting.TRIES
        assert torch.equal(sets[m:], atoms[order[m:]])
        torch.testing.assert_close(sets.norm(dim=1), torch.ones(3))


def test_atoms_of_one_level_are_lines_and_of_two_what_lines_are_mixed_of() -> None:
    """Rows along three axes have these as lines; of rows of two axes each a second level leaves less after two steps."""
    axes, n = torch.eye(5)[:3], 30
    how: Any = {"tolerance": 1e-6, "generator": torch.Generator().manual_seed(0)}
    along = axes[torch.arange(n) % 3] * torch.linspace(1, 2, n)[:, None]
    found = starting_atoms(along, 3, levels=1, **how)
    torch.testing.assert_close((found @ axes.T).sort(dim=1).values[:, -1], torch.ones(3))
    assert (found @ axes.T).argmax(dim=1).sort().values.tolist() == [0, 1, 2]
    mixed = along + axes[(torch.arange(n) + 1) % 3] * torch.linspace(2, 1, n)[:, None]
    one, two = (starting_atoms(mixed, 3, levels=levels, **how) for levels in (1, 2))
    assert search(mixed).loss(two, 2) < search(mixed).loss(one, 2)
