"""Scores of interaction: as by hand for the given model, planted pairs found, and only models that are as good."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb_studies.evaluation import InteractionCloud, interaction_cloud

X = torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
Y = X[:, 0] * X[:, 1] + X[:, 2] + 0.4 * torch.randn(600, generator=torch.Generator().manual_seed(1))


def model(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] * x[:, 1] + x[:, 2]


@pytest.fixture(scope="module")
def cloud() -> InteractionCloud:
    return interaction_cloud(model, X, Y, steps=2, n_shuffles=3)


def test_the_planted_pair_alone_interacts_in_all_models(cloud: InteractionCloud) -> None:
    assert cloud.pairs == ((0, 1), (0, 2), (1, 2))
    assert cloud.table.interacts.tolist() == [True, False, False]
    assert (cloud.losses <= cloud.loss + cloud.epsilon * 1.001).all()
    assert cloud.n_models > 10
    assert "1 interact in all of them" in str(cloud)


def test_the_given_models_score_is_that_by_hand(cloud: InteractionCloud) -> None:
    """The first of the models is the given one; its loss grows with shuffles drawn from the same seed."""
    draws = torch.Generator().manual_seed(0)
    orders = [torch.randperm(600, generator=draws) for _ in range(3)]

    def grown(columns: list[int]) -> float:
        losses = []
        for order in orders:
            x = X.clone()
            x[:, columns] = X[order][:, columns]
            losses.append(float((model(x) - Y).square().mean()))
        return float(np.mean(losses)) - cloud.loss

    by_hand = grown([0, 1]) - grown([0]) - grown([1])
    assert cloud.table.score[0] == pytest.approx(by_hand, rel=1e-4)
    assert (cloud.factors[0] == 1).all()


def test_a_halo_is_a_circle_where_nothing_interacts(cloud: InteractionCloud) -> None:
    """Losses of two columns that do not interact add up to ε, in every direction."""
    np.testing.assert_allclose(cloud.halos[1][:, 1], 1, atol=0.2)
    assert np.abs(cloud.halos[0][:, 1] - 1).max() > 0.4
    measured, circle = cloud.halo(1, 0).data
    np.testing.assert_allclose(np.hypot(circle.x, circle.y), 1, atol=1e-9)
    assert len(measured.x) == len(cloud.halos[0]) + 1
    assert len(cloud.plot().data) == 2
