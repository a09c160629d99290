"""GroupBiasAdaptation: biases follow how often atoms fire, and no gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.architectures import GroupBiasAdaptation

D, N = 12, 60


def drawn(n: int = 4000) -> Tensor:
    return 3 + torch.randn(n, D, generator=torch.Generator().manual_seed(0))


def started(**settings: object) -> GroupBiasAdaptation:
    generator = torch.Generator().manual_seed(1)
    sae = GroupBiasAdaptation(D, N, generator=generator, **settings)  # type: ignore[arg-type]
    sae.initialise(drawn(), generator)
    return sae.train()


def step(sae: GroupBiasAdaptation, x: Tensor, silent: int = 0) -> None:
    silent_tokens = torch.full((N,), silent, dtype=torch.int64)
    sae.training_loss(x, silent_tokens, 100, 0.5)
    sae.after_optimiser_step()


def rates(sae: GroupBiasAdaptation, x: Tensor) -> Tensor:
    return (sae.encode(x).to_dense() > 0).double().mean(dim=0)


def test_groups_have_geometric_frequencies_and_one_size() -> None:
    sae = started(n_groups=6, highest_rate=0.2)
    assert torch.bincount(sae.group).tolist() == [10] * 6
    assert torch.allclose(sae.target_rates[::10], 0.2 * 0.5 ** torch.arange(6.0))


def test_it_starts_where_each_atom_fires_at_its_frequency() -> None:
    sae, x = started(highest_rate=0.2), drawn()
    assert float((rates(sae, x) - sae.target_rates).abs().max()) <= 1.5 / len(x)
    assert bool((sae.encoder.bias <= 0).all())


def test_what_fires_too_often_is_lowered_by_its_share() -> None:
    """By step times its largest code, in one go, every so many steps; the others stay."""
    sae, x = started(every=2, step=0.1), drawn()
    with torch.no_grad():
        sae.encoder.bias[:5] = 0
    before, codes = sae.encoder.bias.clone(), sae.encode(x).to_dense().detach()
    step(sae, x)
    assert torch.equal(sae.encoder.bias, before)
    step(sae, x)
    too_often = rates(sae, x) > sae.target_rates
    expected = before[:5] - 0.1 * codes[:, :5].amax(dim=0) * sae.scaling.scale
    assert torch.allclose(sae.encoder.bias[:5], expected, rtol=1e-4)
    assert bool(too_often[:5].all())
    calm = codes.gt(0).double().mean(dim=0) <= sae.target_rates
    assert int(calm.sum()) > 10
    assert torch.equal(sae.encoder.bias[calm], before[calm])


@pytest.mark.slow
def test_a_dead_atom_is_raised_until_it_fires_and_never_above_zero() -> None:
    """By step times the mean largest code of its group; one that is silent but not dead stays."""
    sae, x = started(every=1, step=0.2), drawn()
    with torch.no_grad():
        sae.encoder.bias[3] = -100.0
    step(sae, x, silent=0)
    before = sae.encoder.bias[3].clone()
    assert torch.allclose(
        before, -(D**0.5) * sae.encoder.weight[3].norm()
    )  # as far down as it goes
    step(sae, x, silent=0)
    assert torch.equal(sae.encoder.bias[3], before)
    x = x[sae.encode(x).to_dense()[:, 3] == 0]  # a few rows are longer than is typical
    codes = sae.encode(x).to_dense().detach()[:, :10].amax(dim=0)
    mean = codes[codes > 0].mean() * sae.scaling.scale
    step(sae, x, silent=100)
    assert torch.allclose(sae.encoder.bias[3], before + 0.2 * mean, rtol=1e-4)
    for _ in range(200):
        step(sae, x, silent=100)
    assert float(rates(sae, x)[3]) > 0
    assert bool((sae.encoder.bias <= 0).all())


@pytest.mark.slow
def test_training_keeps_atoms_near_their_frequencies() -> None:
    x, over = drawn(), {}
    for every in (2, 10**6):
        sae = started(every=every)
        sn.train(sae, x, steps=150, batch_size=500, seed=0, progress=False)
        over[every] = float((rates(sae, x) > 2 * sae.target_rates).double().mean())
        assert "bias" not in dict(sae.encoder.named_parameters())
    assert over[2] < 0.1
    assert over[2] < over[10**6]


def test_in_eval_nothing_is_counted() -> None:
    sae = started(every=1).eval()
    before = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    sae.training_loss(drawn(), torch.zeros(N, dtype=torch.int64), 100, 0.5)
    assert all(torch.equal(before[name], tensor) for name, tensor in sae.state_dict().items())
