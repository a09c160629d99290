"""The pair (R², off-support) is exact on hand cases, and accepts a planted sum only."""

from __future__ import annotations

import pytest
import torch

from sae_nb_studies.data import planted_hulls
from sae_nb_studies.minkowski import BlockConfig, HullScore, decide, gaussian_like, off_support
from sae_nb_studies.minkowski._decision import _reasons

X = torch.randn(80, 5, generator=torch.Generator().manual_seed(0))


def test_corners_that_are_rows_have_no_distance() -> None:
    assert off_support(X[:9], X) == 0.0
    grid = torch.arange(20.0)[:, None]
    assert off_support(torch.tensor([[20.0], [-1.0]]), grid) == 1.0


def test_a_gaussian_has_the_covariance_of_the_data() -> None:
    mixed = X @ torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    drawn = gaussian_like(mixed, 20_000)
    assert torch.allclose(torch.cov(drawn.T), torch.cov(mixed.T), atol=0.06 * float(mixed.var()))
    assert int(torch.linalg.matrix_rank(drawn - drawn.mean(dim=0), tol=1e-2)) == 5


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "accepted"), [("minkowski", True), ("gaussian", False)])
def test_a_planted_sum_is_accepted_and_a_gaussian_is_not(kind: str, accepted: bool) -> None:
    planted = planted_hulls(500, kind, tile_sizes=(3, 3), d_in=8, seed=1)  # type: ignore[arg-type]
    config = BlockConfig(n_steps=120, seed=1)
    decision = decide(planted.x, (3, 3), config, n_nulls=1, topk_steps=60)
    assert decision.accepted == accepted, decision
    assert list(decision.table.index[:4]) == ["block", "free AA", "AA of rows", "TopK"]


GOOD = {
    "block": HullScore(r2=0.99, off_support=1.5),
    "free AA": HullScore(r2=0.99, off_support=5.0),
    "Gaussian null 0": HullScore(r2=0.98, off_support=3.0),
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"block": HullScore(r2=0.9, off_support=1.5)}, "below 0.99 of free AA"),
        ({"free AA": HullScore(r2=0.985, off_support=1.4)}, "nearer to the data"),
        ({"free AA": HullScore(r2=0.9, off_support=1.4)}, None),
        ({"Gaussian null 0": HullScore(r2=0.98, off_support=1.6)}, "above 0.8 of a Gaussian's"),
    ],
)
def test_each_condition_refuses_alone(change: dict[str, HullScore], reason: str | None) -> None:
    found = _reasons(GOOD | change)
    assert (found == []) if reason is None else (len(found) == 1 and reason in found[0])
