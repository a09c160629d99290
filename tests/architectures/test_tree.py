"""TreeSAE: a child fires only under its parent, every level reconstructs, dead children move."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import TreeSAE
from sae_nb_studies.architectures._tree import ROOT, fair_shares

D, N, K = 12, 40, 4


def made(seed: int = 0, **settings: Any) -> TreeSAE:
    return TreeSAE(D, N, K, generator=torch.Generator().manual_seed(seed), **settings)


@pytest.fixture
def x() -> Tensor:
    return 5 + 2 * torch.randn(200, D, generator=torch.Generator().manual_seed(1))


def by_hand(sae: TreeSAE, x: Tensor, thresholds: Tensor | None) -> Tensor:
    """Level by level, densely: the largest of the batch, or above a threshold, where the parent fires."""
    u = (x - sae.bias) @ sae.encoder.weight.T + sae.encoder.bias / sae.scaling.scale
    z, start = torch.zeros_like(u), 0
    for level, end in enumerate(sae.widths):
        for atom in range(start, end):
            parent = int(sae.parent[atom])
            on = torch.ones(len(x)) if parent == ROOT else (z[:, parent] > 0).float()
            z[:, atom] = u[:, atom] * on
        own = z[:, start:end]
        if thresholds is None:
            n = round(K * sae.k_shares[level] * len(x))  # type: ignore[index]
            lowest = own.flatten().topk(n).values.min().clamp_min(1e-9)
            z[:, start:end] = torch.where(own >= lowest, own, 0.0)
        else:
            z[:, start:end] = torch.where(own > thresholds[level], own, 0.0)
        start = end
    return z


@pytest.mark.parametrize("groups", [(10, 30), (5, 15, 20), (40,)])
def test_codes_are_chosen_level_by_level_under_their_parents(groups: Any, x: Tensor) -> None:
    """In training and at inference, as a dense computation by the definition gives them."""
    sae = made(groups=groups)
    sae.initialise(x)
    found = sae.encode(x).detach()
    assert torch.allclose(found.to_dense(), by_hand(sae, x, None), atol=1e-4)
    sae.eval()
    found = sae.encode(x).detach()
    assert torch.allclose(found.to_dense(), by_hand(sae, x, sae.threshold), atol=1e-4)
    dense = found.to_dense()
    for child in (sae.parent != ROOT).nonzero().flatten().tolist():
        assert bool((dense[:, sae.parent[child]][dense[:, child] > 0] > 0).all())


def test_before_the_first_batch_a_child_still_has_its_parent(x: Tensor) -> None:
    dense = made(groups=(5, 15, 20)).eval().encode(x).detach().to_dense()
    sae = made(groups=(5, 15, 20))
    for child in (sae.parent != ROOT).nonzero().flatten().tolist():
        assert bool((dense[:, sae.parent[child]][dense[:, child] > 0] > 0).all())


def test_the_same_in_tiles(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    sae = made()
    sae.initialise(x)
    whole = sae.encode(x).detach().to_dense()
    monkeypatch.setattr(
        "sae_nb_studies.architectures._tree.row_tiles",
        lambda n, _: (slice(i, min(i + 17, n)) for i in range(0, n, 17)),
    )
    torch.testing.assert_close(sae.encode(x).detach().to_dense(), whole)


def test_a_level_has_its_share_of_k_and_may_not_be_reached_at_all(x: Tensor) -> None:
    sae = made(k_shares=(0.75, 0.25))
    sae.initialise(x)
    codes = sae.encode(x)
    first = int((codes.atoms < 10).sum())
    assert first == 3 * len(x)
    assert codes.nnz - first <= len(x)


def test_parents_are_drawn_from_the_levels_above() -> None:
    sae = made(groups=(5, 15, 20))
    assert bool((sae.parent[:5] == ROOT).all())
    assert bool((sae.parent[5:20] < 5).all())
    assert bool((sae.parent[20:] < 20).all())
    assert bool((sae.parent >= ROOT).all())
    assert torch.equal(sae.parent, made(groups=(5, 15, 20)).parent)
    assert not torch.equal(sae.parent, made(1, groups=(5, 15, 20)).parent)


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_the_fairest(seed: int) -> None:
    """The smallest capacity per child is as large as moving any one child could make it."""
    capacity = [*torch.rand(6, generator=torch.Generator().manual_seed(seed)).tolist(), 0.0]
    given = fair_shares(capacity, 11)
    assert sum(given) == 11
    assert given[-1] == 0

    def worst(dealt: list[int]) -> float:
        return min(c / n for c, n in zip(capacity, dealt, strict=True) if n)

    for a in range(6):
        for b in range(6):
            if given[a] and a != b:
                moved = [n - (i == a) + (i == b) for i, n in enumerate(given)]
                assert worst(moved) <= worst(given) + 1e-12


def test_nothing_is_dealt_without_capacity() -> None:
    assert fair_shares([0.0, 0.0], 3) == [0, 0]


def test_dead_children_move_to_parents_in_need_and_others_stay() -> None:
    sae = made(groups=(4, 36), every=1)
    sae.parent[4:] = 0
    sae.dead[10:30] = 1.0
    sae.capacity[:4] = torch.tensor([1.0, 3.0, 1.0, 0.0])
    sae.capacity[-1] = 5.0
    sae.seen.copy_(torch.tensor([1.0, 0.1]))
    sae.after_optimiser_step()
    counts = [len(sae.children_of(parent)) for parent in (0, 1, 2, 3)]
    assert counts[3] == 0
    assert counts[1] > counts[2] > 0
    alive = [a for a in range(4, 40) if not 10 <= a < 30]
    assert bool((sae.parent[alive] == 0).all())
    assert float(sae.capacity.sum()) == 0


def test_from_half_of_the_run_on_dead_children_are_at_the_root() -> None:
    sae = made()
    sae.parent[10:] = 0
    sae.dead[20:25] = 1.0
    sae.seen.copy_(torch.tensor([1.0, 0.6]))
    sae.after_optimiser_step()
    assert sae.children_of(ROOT).tolist() == [*range(10), *range(20, 25)]
    sae.dead.fill_(1.0)
    sae.training_loss(torch.randn(20, D), torch.full((N,), 99), 5, 0.7)
    sae.after_optimiser_step()
    assert len(sae.children_of(0)) == 25


def test_the_loss_is_the_mean_over_levels(x: Tensor) -> None:
    sae = made(groups=(5, 15, 20))
    sae.initialise(x)
    z = sae.encode(x).detach().to_dense()
    variance = (x - sae.scaling.mean).square().sum()
    shares = [
        float((x - z[:, :m] @ sae.dictionary[:m] - sae.bias.detach()).square().sum() / variance)
        for m in (5, 20, 40)
    ]
    loss = sae.training_loss(x, torch.zeros(N, dtype=torch.long), 100, 0.1)
    assert float(loss.total.detach()) == pytest.approx(sum(shares) / 3, rel=1e-4)
