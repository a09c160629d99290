"""Promises of the SAEs whose encoder is a pursuit, beyond the contract of every SAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import MatchingPursuit, OrthogonalMatchingPursuit
from sae_nb.architectures._revival import due, resampled_atoms

BOTH = [MatchingPursuit, OrthogonalMatchingPursuit]


def make(kind: Any, k: int = 3, seed: int = 0, **options: Any) -> Any:
    return kind(8, 20, k, generator=torch.Generator().manual_seed(seed), **options)


@pytest.fixture
def x() -> Tensor:
    return 3 + torch.randn(200, 8, generator=torch.Generator().manual_seed(1))


def started(kind: Any, x: Tensor, **options: Any) -> Any:
    sae = make(kind, **options)
    sae.initialise(x, None)
    return sae


def error_of(sae: Any, x: Tensor, k: int | None = None) -> Tensor:
    with torch.no_grad():
        return (x - sae.decode(sae.encode(x, k=k))).norm(dim=1)


@pytest.mark.parametrize("kind", BOTH)
def test_inputs_get_as_many_atoms_as_they_need(kind: Any, x: Tensor) -> None:
    """With a tolerance a row stops once it is met: more steps allowed change only the others."""
    for options in ({"tolerance": 1.0}, {"relative_tolerance": 0.3}):
        sae = started(kind, x, k=4, **options)
        limit = sae.tolerance or 0.3 * (x - sae.bias).norm(dim=1)
        met = error_of(sae, x) <= limit
        assert 20 < int(met.sum()) < 180
        few, many = sae.encode(x).to_dense(), sae.encode(x, k=16).to_dense()
        same = torch.isclose(few, many, rtol=1e-4, atol=1e-5).all(dim=1)
        assert torch.equal(same, met)
        assert sae.encode(x).l0.unique().numel() > 2


@pytest.mark.parametrize("kind", BOTH)
def test_the_loss_has_the_gradient_of_finite_differences(kind: Any, x: Tensor) -> None:
    sae = started(kind, x).double()
    x = x[:10].double()

    def loss() -> Tensor:
        silent = torch.zeros(20, dtype=torch.int64)
        return sae.training_loss(x, silent, 100, 0.0).total

    loss().backward()
    weight, gradient = sae.operator.weight, sae.operator.weight.grad.clone()
    # Only turns keep atoms on the sphere, where the pursuit is defined.
    direction = torch.randn(20, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        direction -= (direction * weight).sum(dim=1, keepdim=True) * weight
        start, step = weight.clone(), 1e-5
        values = []
        for sign in (1, -1):
            weight.copy_(torch.nn.functional.normalize(start + sign * step * direction, dim=1))
            values.append(float(loss()))
        weight.copy_(start)
    slope = (values[0] - values[1]) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4)


def test_without_a_bias_nothing_is_subtracted(x: Tensor, tmp_path: Path) -> None:
    sae = make(MatchingPursuit, bias=False)
    sn.train(sae, x, sn.TrainConfig(steps=5, batch_size=50), progress=False)
    assert bool((sae.bias == 0).all())
    sae.save(tmp_path / "sae")
    loaded = sn.load_sae(tmp_path / "sae")
    assert not loaded.has_bias
    assert loaded.settings() == sae.settings()
    assert bool((loaded.bias == 0).all())


def test_where_an_atom_taken_again_ends_an_input(x: Tensor, tmp_path: Path) -> None:
    """Rows stay as they were, or end earlier; a file keeps the choice, also for SAELens."""
    longer = started(MatchingPursuit, x, k=16)
    sae = make(MatchingPursuit, k=16, reselect="stop")
    sae.load_state_dict(longer.state_dict())
    shorter = error_of(sae, x) >= error_of(longer, x) - 1e-6
    assert bool(shorter.all())
    assert float(sae.encode(x).l0.sum()) < float(longer.encode(x).l0.sum())
    sae.save(tmp_path / "sae")
    assert sn.load_sae(tmp_path / "sae").settings() == sae.settings()
    sn.interop.write_saelens(sae, tmp_path / "saelens")
    again = sn.load_sae(tmp_path / "saelens")
    assert torch.allclose(again.encode(x).to_dense(), sae.encode(x).to_dense(), atol=1e-4)


@pytest.mark.parametrize("kind", BOTH)
def test_dropout_leaves_atoms_out_in_training_alone(kind: Any, x: Tensor) -> None:
    """A batch uses only atoms that were kept, with their own numbers; encode uses all."""
    sae = started(kind, x, dropout=0.5)
    silent = torch.zeros(20, dtype=torch.int64)
    loss = sae.training_loss(x, silent, 1000, 0.0)
    kept = torch.zeros(20, dtype=torch.bool).index_fill(0, sae._kept(0.0), True)
    assert 4 <= int(kept.sum()) <= 16
    for share, step in ((0.0, 0), (0.25, 2**30), (0.5, 2**31)):
        start = torch.Generator().manual_seed(int(sae.dropout_seed) + step)
        kept_then = (torch.rand(20, generator=start) >= 0.5).nonzero()[:, 0]
        assert torch.equal(sae._kept(share), kept_then)
    assert bool(kept[loss.codes.atoms.long()].all())
    assert torch.allclose(sae.decode(loss.codes), loss.x_hat, atol=1e-5)
    assert len(sae.encode(x).atoms.unique()) > int(kept.sum())
    loss.total.backward()
    used = torch.zeros(20, dtype=torch.bool).index_fill(0, loss.codes.atoms.long(), True)
    assert bool((sae.operator.weight.grad[~used] == 0).all())
    assert bool((sae.operator.weight.grad[used] != 0).any(dim=1).all())


def test_silent_atoms_are_resampled_from_different_residuals(x: Tensor) -> None:
    sae = started(MatchingPursuit, x)
    silent = torch.zeros(20, dtype=torch.int64)
    silent[[3, 7, 11]] = 1000
    before = sae.dictionary.clone()
    loss = sae.training_loss(x, silent, 1000, 0.0)
    assert torch.equal(sae.dictionary, before)
    sae.after_optimiser_step()
    changed = ((sae.dictionary - before).abs() > 1e-5).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [3, 7, 11]
    residual = torch.nn.functional.normalize(x - loss.x_hat, dim=1)
    best = (sae.dictionary[[3, 7, 11]] @ residual.T).max(dim=1)
    assert torch.allclose(best.values, torch.ones(3), atol=1e-5)
    assert len(set(best.indices.tolist())) == 3


def test_fewer_rows_than_dead_atoms_revive_some() -> None:
    dead = torch.arange(10)
    residual = torch.zeros(4, 3)
    residual[1, 0], residual[2, 1] = 2.0, 1.0
    atoms, directions = resampled_atoms(residual, dead)
    assert atoms.tolist() == [0, 1]
    assert sorted(directions.tolist()) == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    assert len(resampled_atoms(torch.zeros(4, 3), dead)[0]) == 0


@pytest.mark.slow
def test_revival_fills_a_dictionary_that_would_stay_half_dead() -> None:
    """Atoms that start where no data are come alive; without revival they stay where they are."""
    generator = torch.Generator().manual_seed(0)
    data = sn.data.planted_dictionary(24, 16, 4000, 2, seed=3)
    live = {}
    for revive in (True, False):
        sae = sn.MatchingPursuit(16, 32, 2, revive=revive, generator=generator)
        with torch.no_grad():
            away = -data.x.mean(dim=0) / data.x.mean(dim=0).norm()
            sae.operator.weight[16:] = away + 0.01 * torch.randn(16, 16, generator=generator)
            sae.operator.project_()
        config = sn.TrainConfig(steps=200, batch_size=128, seed=0)
        sn.train(sae, data.x, config, progress=False)
        live[revive] = float((sae.encode(data.x).frequency[16:] > 0).float().mean())
    assert live[True] > 0.9 > live[False]  # 1 and .58 ± .10 of three seeds


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOTH)
def test_it_finds_planted_atoms_in_a_few_hundred_steps(kind: Any) -> None:
    data = sn.data.planted_dictionary(64, 32, 8000, 3, seed=0)
    sae = kind(32, 64, 3, generator=torch.Generator().manual_seed(0))
    sn.train(sae, data.x, sn.TrainConfig(steps=300, batch_size=256, seed=0), progress=False)
    cosines = sn.evaluation.match_atoms(data.dictionary, sae.dictionary)[2]
    assert float(cosines.mean()) > 0.87  # .957 ± .020 of four seeds and both kinds


@pytest.mark.slow
def test_free_norms_move_in_training_and_are_one_outside(x: Tensor, tmp_path: Path) -> None:
    """`dictionary` has unit norm at any time; files keep the choice, and say nothing where there is none."""
    sae, seen = make(MatchingPursuit, norms="free"), []

    def look(_: Any) -> None:
        seen.append((sae.operator.weight.detach().norm(dim=1), sae.dictionary.norm(dim=1)))

    sn.train(sae, x, sn.TrainConfig(steps=20, log_every=5), callbacks=[look], progress=False)
    inside, outside = (torch.stack(norms) for norms in zip(*seen, strict=True))
    assert float((inside[-1] - 1).abs().max()) > 1e-3
    assert float((outside - 1).abs().max()) < 1e-5
    assert float((sae.operator.weight.detach().norm(dim=1) - 1).abs().max()) < 1e-5
    errors = torch.stack([error_of(sae, x, k) for k in (1, 2, 4, 8)])
    assert bool((errors.diff(dim=0) <= 1e-5 * errors[:1]).all())
    sae.save(tmp_path / "free")
    loaded = sn.load_sae(tmp_path / "free")
    assert loaded.norms == "free"
    assert torch.equal(loaded.dictionary, sae.dictionary)
    make(MatchingPursuit).save(tmp_path / "unit")
    assert "norms" not in (tmp_path / "unit" / "config.json").read_text()


def test_free_norms_have_the_gradient_of_finite_differences(x: Tensor) -> None:
    sae = started(MatchingPursuit, x, norms="free").double()
    x = x[:10].double()

    def loss() -> Tensor:
        silent = torch.zeros(20, dtype=torch.int64)
        return sae.training_loss(x, silent, 100, 0.0).total

    with torch.no_grad():
        sae.operator.weight.mul_(torch.linspace(0.9, 1.1, 20, dtype=torch.float64)[:, None])
    loss().backward()
    weight, gradient = sae.operator.weight, sae.operator.weight.grad.clone()
    direction = torch.randn(20, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        start, values = weight.clone(), []
        for sign in (1, -1):
            weight.copy_(start + sign * 1e-5 * direction)
            values.append(float(loss()))
    slope = (values[0] - values[1]) / 2e-5
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4)


def test_a_dead_atom_gets_another_try_only_after_as_long_again() -> None:
    """One resampling per `dead_after` rows, whatever the batch size."""
    for rows in (10, 50, 100):
        tries = [
            silent for silent in range(0, 1001, rows) if bool(due(torch.tensor(silent), 100, rows))
        ]
        assert tries == list(range(100, 1001, 100))
    assert [s for s in range(0, 400, 70) if bool(due(torch.tensor(s), 100, 70))] == [140, 210, 350]
