"""The toy bottleneck: its closed forms hold, and it goes through the phases the paper names."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb.evaluation import feature_dimensionality
from sae_nb.models import Bottleneck, train_bottlenecks
from sae_nb_studies.evaluation import antipodal_loss, critical_sparsity, dedicated_loss

pytestmark = pytest.mark.slow

PHASES = (0.0, 0.75, 0.97)


@pytest.fixture(scope="module", params=[0, 1, 2])
def phases(request: pytest.FixtureRequest) -> list[Bottleneck]:
    """Five features in two neurons: dense, rarer, rare; three seeds."""
    return train_bottlenecks(PHASES, seed=request.param)


def stored(toy: Bottleneck) -> int:
    """How many features have a direction longer than a half."""
    return int((toy.directions.norm(dim=1) > 0.5).sum())


def test_dense_features_get_one_neuron_each(phases: list[Bottleneck]) -> None:
    """At S = 0 the two most important features are stored, orthogonally, and the rest are not."""
    toy = phases[0]
    assert (toy.directions[:2].norm(dim=1) > 0.8).all()
    assert stored(toy) == 2
    first, second = torch.nn.functional.normalize(toy.directions[:2].detach(), dim=1)
    assert abs(float(first @ second)) < 0.25


def test_rarer_features_make_antipodal_pairs(phases: list[Bottleneck]) -> None:
    """At S = 0.75 four features live as two pairs of opposites, half a dimension each."""
    toy = phases[1]
    room = feature_dimensionality(toy.directions.detach())
    assert stored(toy) == 4
    assert torch.allclose(room.sort(descending=True).values[:4], torch.tensor(0.5), atol=0.05)


def test_rare_features_make_a_pentagon(phases: list[Bottleneck]) -> None:
    """At S = 0.97 all five are stored, two fifths of a dimension each, 72° apart."""
    toy = phases[2]
    room = feature_dimensionality(toy.directions.detach())
    assert stored(toy) == 5
    assert torch.allclose(room, torch.tensor(0.4), atol=0.03)
    angles = torch.atan2(*toy.directions.detach().T).sort().values
    assert torch.allclose(angles.diff(), torch.tensor(2 * torch.pi / 5), atol=0.1)


@pytest.mark.parametrize("sparsity", [0.1, 0.3, 0.6, 0.8, 0.95])
def test_training_reaches_the_better_closed_form(sparsity: float) -> None:
    """Two features, one neuron: no worse than giving it to one, nor than sharing it."""
    ratio = 0.3
    importance = torch.tensor([1.0, ratio])
    (toy,) = train_bottlenecks(
        [sparsity], n_features=2, n_hidden=1, importance=importance, n_restarts=8, steps=400
    )
    best = min(dedicated_loss(sparsity, ratio), antipodal_loss(sparsity, ratio))
    x = sn.data.sparse_features(400_000, 2, sparsity, seed=5)
    with torch.no_grad():
        loss = float(((x - toy(x)).square() * importance).sum(dim=1).mean())
    assert loss < 1.03 * best
    shares = stored(toy) == 2
    assert shares == (sparsity > critical_sparsity(ratio))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_storing_both_begins_at_the_critical_sparsity(seed: int) -> None:
    """A jump: 0.08 below the crossing the second feature has no length, 0.03 above it has most.

    Training also shrinks the weaker arrow, which the closed form does not, so it changes 0.02 – 0.04
    before the crossing.
    """
    ratio = 0.3
    crossing = critical_sparsity(ratio)
    below, above = train_bottlenecks(
        [crossing - 0.08, crossing + 0.03],
        n_features=2,
        n_hidden=1,
        importance=torch.tensor([1.0, ratio]),
        n_restarts=8,
        steps=400,
        seed=seed,
    )
    assert abs(below.directions.detach()[1].item()) < 0.1
    first, second = above.directions.detach()[:, 0].tolist()
    assert abs(second) > 0.7
    assert first * second < 0


def test_forward_is_the_equation() -> None:
    """x̂ = ReLU(WᵀWx + b), by hand."""
    toy = Bottleneck(3, 2, generator=torch.Generator().manual_seed(0))
    x = torch.rand(4, 3)
    w = toy.directions.T
    expected = torch.relu((w.T @ w @ x.T).T + toy.bias)
    assert torch.allclose(toy(x), expected, atol=1e-6)
    assert torch.allclose(toy.hidden(x), (w @ x.T).T, atol=1e-6)
