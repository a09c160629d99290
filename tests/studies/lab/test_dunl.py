"""Promises of DUNL: what its steps minimise, what its kernels learn, and that it is kept as SAEs are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import ConvolutionOperator
from sae_nb_studies.data import PlantedEvents, planted_events
from sae_nb_studies.lab import DUNL


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def planted() -> PlantedEvents:
    return planted_events(24, n_samples=80, seed=3)


def with_true_kernels(planted: PlantedEvents, **settings: object) -> DUNL:
    dunl = DUNL(2, 16, **settings)  # type: ignore[arg-type]
    with torch.no_grad():
        dunl.operator.weight.copy_(planted.kernels)
    return dunl


def slopes(dunl: DUNL, x: Tensor, **options: object) -> tuple[Tensor, Tensor, Tensor]:
    found = dunl.deconvolve(x, **options)  # type: ignore[arg-type]
    z = found.codes.to_dense().double().requires_grad_()
    b = found.baseline.double().requires_grad_()
    operator = ConvolutionOperator(found.kernels.double(), x.shape[-1])
    placed = z.movedim(-1, -2).reshape(-1, operator.n_atoms)
    eta = operator.forward(placed) + b.reshape(-1, 1)
    rows = x.double().reshape(len(eta), -1)
    if dunl.link == "gaussian":
        nll = 0.5 * (rows - eta).square()
    else:
        grown = eta.exp() if dunl.link == "poisson" else torch.nn.functional.softplus(eta)
        nll = grown - rows * eta
    nll.sum().backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    assert b.grad is not None
    return z.detach(), z.grad, b.grad


@pytest.mark.parametrize(
    ("link", "mean"), [("gaussian", 0.0), ("poisson", 0.2), ("binomial", 0.05)]
)
def test_planted_recordings_have_their_rates(link: str, mean: float) -> None:
    """Where no kernel reaches, the mean is the baseline's; where one does, it is another."""
    planted = planted_events(400, n_samples=60, n_events=1, link=link)  # type: ignore[arg-type]
    reached = torch.nn.functional.conv_transpose1d(
        planted.events.double(), torch.ones(2, 1, 16, dtype=torch.double)
    )[:, 0]
    assert planted.x[reached == 0].mean() == pytest.approx(mean, abs=0.1 * max(mean, 0.1))
    at = planted.events[:, 0].long().argmax(dim=1) + 2
    assert planted.x[range(400), at].mean() > mean + 0.1
    assert int(planted.events.sum()) == 400 * 2


@pytest.mark.slow
@pytest.mark.parametrize("link", ["gaussian", "poisson", "binomial"])
def test_codes_and_baseline_minimise_the_penalised_likelihood(link: str) -> None:
    """Where a code is used the slope of the nll is −λ, elsewhere no steeper; the baseline has none."""
    planted = planted_events(3, n_samples=48, link=link, seed=1)  # type: ignore[arg-type]
    dunl = with_true_kernels(planted, link=link, sparsity=0.2, n_steps=3000)
    z, slope, level = slopes(dunl, planted.x)
    assert float((slope + 0.2)[z > 0.02].abs().max()) < 5e-3
    assert float((slope + 0.2).min()) > -5e-3
    assert float(level.abs().max()) < 5e-3


@pytest.mark.slow
def test_neurons_share_the_times_of_their_events() -> None:
    """With γ alone, the neurons' slopes at a used time have norm γ along the codes, elsewhere at most γ."""
    planted = planted_events(3, n_neurons=3, n_samples=48, seed=2)
    dunl = with_true_kernels(planted, sparsity=0.0, group=0.6, nonnegative=False, n_steps=2500)
    z, slope, _ = slopes(dunl, planted.x)
    used = z.norm(dim=1) > 1e-3
    along = slope + 0.6 * z / z.norm(dim=1, keepdim=True).clamp_min(1e-9)
    assert float(along.movedim(1, -1)[used].abs().max()) < 5e-3
    assert float(slope.norm(dim=1)[~used].max()) < 0.6 + 5e-3


@pytest.mark.slow
def test_no_event_where_none_may_be(planted: PlantedEvents) -> None:
    """Known events leave all other places at zero, and two-sided codes are least squares on them."""
    dunl = with_true_kernels(planted, sparsity=0.0, nonnegative=False, n_steps=1500)
    z, slope, _ = slopes(dunl, planted.x, events=planted.events)
    allowed = planted.events.movedim(-1, -2)
    assert not bool(z[~allowed].any())
    assert float(slope[allowed].abs().max()) < 1e-3


def test_a_tail_of_all_steps_is_the_full_gradient(planted: PlantedEvents) -> None:
    """Truncated back-propagation with tail = n_steps changes nothing, and a shorter one does."""
    gradients = []
    for tail in (None, 12, 3):
        dunl = DUNL(2, 16, sparsity=0.1, n_steps=12, tail=tail, generator=drawn())
        dunl._loss(dunl._given(planted.x, None, None)).backward()  # type: ignore[no-untyped-call]
        assert dunl.operator.weight.grad is not None
        gradients.append(dunl.operator.weight.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.allclose(gradients[0], gradients[2], rtol=1e-3)


def test_the_gradient_goes_through_the_steps(
    planted: PlantedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the slope of the loss by the kernels, codes moving with them, at a fixed step."""
    monkeypatch.setattr(
        ConvolutionOperator, "lipschitz", lambda self: 8.0
    )  # a constant to autograd too
    dunl = DUNL(2, 16, sparsity=0.1, n_steps=8, generator=drawn()).double()
    given = dunl._given(planted.x.double(), None, None)
    dunl._loss(given).backward()  # type: ignore[no-untyped-call]
    weight, step, ends = dunl.operator.weight, 1e-5, []
    toward = torch.randn(weight.shape, generator=drawn(1)).double()
    for sign in (1, -2):
        weight.data.add_(sign * step * toward)
        ends.append(dunl._loss(given).item())
    assert weight.grad is not None
    slope = (ends[0] - ends[1]) / (2 * step)
    assert float((weight.grad * toward).sum()) == pytest.approx(slope, rel=1e-3)


def test_k_is_kept_per_kernel_and_trial(planted: PlantedEvents) -> None:
    """At most k events of each kernel in a trial; for neurons that share times, k times."""
    dunl = with_true_kernels(planted, sparsity=0.05, k=2)
    z = dunl.encode(planted.x).to_dense()
    assert int((z != 0).sum(dim=1).max()) == 2
    assert int((dunl.encode(planted.x, k=1).to_dense() != 0).sum(dim=1).max()) == 1
    several = planted_events(4, n_neurons=3, seed=5)
    shared = with_true_kernels(several, sparsity=0.05, group=0.2, k=2).encode(several.x).to_dense()
    assert int((shared != 0).any(dim=1).sum(dim=1).max()) == 2


@pytest.mark.slow
def test_kernels_are_learned_from_known_events() -> None:
    planted = planted_events(32, n_samples=100, link="binomial", seed=0)
    dunl = DUNL(2, 16, link="binomial", sparsity=0.0, nonnegative=False, generator=drawn())
    dunl.fit(planted.x, planted.events, steps=40)
    seen = dunl.deconvolve(planted.x, planted.events).compare(planted.kernels, planted.events)
    assert (
        float(seen.correlation.min()) > 0.95
    )  # .984 ± .007 of six seeds, in two orders of summing
    assert seen.shift.tolist() == [0, 0]
    codes = dunl.deconvolve(planted.x, planted.events).codes
    assert bool((codes.to_dense().sum(dim=(0, 1)) > 0).all())  # and neither upside down


@pytest.mark.slow
def test_displaced_kernels_are_matched_with_their_events(planted: PlantedEvents) -> None:
    """A kernel that lies 2 bins later in its window has its events 2 bins earlier; both count as found."""
    dunl = with_true_kernels(planted, k=2, sparsity=0.1, n_steps=200)
    with torch.no_grad():
        dunl.operator.weight.copy_(planted.kernels.flip(0).roll(2, dims=1))
    seen = dunl.deconvolve(planted.x).compare(planted.kernels, planted.events, within=1)
    assert (seen.match.tolist(), seen.shift.tolist()) == ([1, 0], [2, 2])
    assert min(seen.hit_rate, seen.precision) > 0.7


def test_decoding_lays_kernels_over_each_other(planted: PlantedEvents) -> None:
    """decode(codes) + baseline is η, which for Gaussian recordings is the rate; contributions add to it."""
    dunl = with_true_kernels(planted)
    found = dunl.deconvolve(planted.x)
    eta = dunl.decode(found.codes) + found.baseline[:, None]
    assert torch.allclose(eta, found.rate, atol=1e-5)
    total = found.contributions.sum(dim=1) + found.baseline[:, None]
    assert torch.allclose(total, found.rate, atol=1e-5)


def test_a_given_baseline_is_kept(planted: PlantedEvents) -> None:
    found = with_true_kernels(planted).deconvolve(planted.x, baseline=0.5)
    assert found.baseline.tolist() == pytest.approx([0.5] * len(planted))


@pytest.mark.slow
def test_positive_kernels_stay_positive(planted: PlantedEvents) -> None:
    dunl = DUNL(2, 16, positive_kernels=True, generator=drawn()).fit(planted.x, steps=3)
    assert float(dunl.dictionary.min()) >= 0
    assert dunl.dictionary.norm(dim=1).tolist() == pytest.approx([1, 1])


@pytest.mark.slow
def test_it_is_kept_and_read_as_saes_are(planted: PlantedEvents, tmp_path: Path) -> None:
    """`save` and `load_sae` give the same kernels, settings and codes."""
    dunl = DUNL(2, 16, k=2, group=0.1, generator=drawn()).fit(planted.x, steps=2)
    dunl.save(tmp_path / "dunl")
    again = sn.load_sae(tmp_path / "dunl")
    assert isinstance(again, DUNL)
    assert again.settings() == dunl.settings()
    assert torch.equal(again.encode(planted.x).values, dunl.encode(planted.x).values)
