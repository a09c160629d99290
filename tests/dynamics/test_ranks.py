"""Ranks of updates: planted ones are found, rotations change nothing."""

from __future__ import annotations

import math

import pytest
import torch

from sae_nb.dynamics import update_rank


def test_the_two_ranks_by_hand() -> None:
    """Turns of √2 in one plane for each of four tokens, of 2 in another: σ² = 8 and 4."""
    before, after = torch.zeros(1, 5, 3), torch.zeros(1, 5, 3)
    before[0, :4, 0], after[0, :4, 1] = 1.0, 1.0
    before[0, 4, 2], after[0, 4, 2] = 1.0, -1.0
    found = update_rank(torch.stack([before, after], dim=1))
    assert found.stable.tolist() == pytest.approx([12 / 8])
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert found.effective.tolist() == pytest.approx([math.exp(entropy)])


def test_a_block_that_does_nothing_has_rank_zero() -> None:
    x = torch.randn(3, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    found = update_rank(torch.cat([x, x, -x], dim=1))
    assert found.stable[0] == found.effective[0] == 0.0
    assert float(found.stable[1]) >= 1.0


@pytest.mark.parametrize("r", [1, 3])
def test_planted_updates_have_their_rank(r: int) -> None:
    """Orthogonal tokens of unit length that each turn a little within their own plane of r planes."""
    d, angle = 2 * r, 0.2
    before = torch.zeros(1, r, d)
    after = torch.zeros(1, r, d)
    for i in range(r):
        before[0, i, 2 * i] = 1.0
        after[0, i, 2 * i], after[0, i, 2 * i + 1] = math.cos(angle), math.sin(angle)
    found = update_rank(torch.stack([before, 7 * after], dim=1))
    assert found.stable.tolist() == pytest.approx([r], rel=1e-5)
    assert found.effective.tolist() == pytest.approx([r], rel=1e-5)


def test_one_kind_of_token_alone() -> None:
    """The patch's updates have rank 1 whatever cls does, and a kind that is not there is refused."""
    states = torch.randn(30, 2, 2, 4, generator=torch.Generator().manual_seed(0))
    states[:, 0, 1], states[:, 1, 1] = torch.eye(4)[0], torch.eye(4)[1]
    kinds = ["cls", "patch"]
    found = update_rank(states, kind="patch", token_kinds=kinds)
    assert found.effective.tolist() == pytest.approx([1.0])
    assert found.limit == 4
    assert float(update_rank(states, token_kinds=kinds).effective) > 2
    with pytest.raises(ValueError, match="register"):
        update_rank(states, kind="register", token_kinds=kinds)
