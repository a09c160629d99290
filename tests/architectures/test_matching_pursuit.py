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
def test_more_steps_never_hurt(kind: Any, x: Tensor) -> None:
    """For every row and every k beyond the one trained with."""
    sae = started(kind, x)
    errors = torch.stack([error_of(sae, x, k) for k in range(1, 13)])
    assert bool((errors.diff(dim=0) <= 1e-5 * errors[:1]).all())
    assert float(errors[-1].mean()) < 0.5 * float(errors[0].mean())


def test_the_residual_is_orthogonal_to_the_atom_used_last(x: Tensor) -> None:
    """Conditional orthogonality: with k = 1 to the only one."""
    sae = started(MatchingPursuit, x)
    with torch.no_grad():
        codes = sae.encode(x, k=1)
        residual = x - sae.decode(codes)
    used = codes.l0 == 1
    along = (residual[used] * sae.dictionary[codes.atoms.long()]).sum(dim=1)
    assert float(along.abs().max()) < 1e-5
    assert int(used.sum()) > 150


def test_refitting_leaves_a_residual_orthogonal_to_every_atom_used(x: Tensor) -> None:
    """Least squares on the support, where all of it is positive."""
    sae = started(OrthogonalMatchingPursuit, x)
    with torch.no_grad():
        codes = sae.encode(x)
        along = (x - sae.decode(codes)) @ sae.dictionary.T
    assert float(along[codes.to_dense() != 0].abs().max()) < 1e-4


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


def test_signed_codes_take_either_direction(x: Tensor) -> None:
    """Only when allowed."""
    assert bool((started(MatchingPursuit, x).encode(x).values > 0).all())
    signed = started(MatchingPursuit, x, nonnegative=False)
    assert bool((signed.encode(x).values < 0).any())
    first = error_of(signed, x, 1) <= error_of(started(MatchingPursuit, x), x, 1) + 1e-5
    assert bool(first.all())


@pytest.mark.parametrize("kind", BOTH)
def test_the_loss_has_the_gradient_of_finite_differences(kind: Any, x: Tensor) -> None:
    """Also where codes are treated as constants: for refitted codes that is exact."""
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
    """b stays 0 through training and files."""
    sae = make(MatchingPursuit, bias=False)
    sn.train(sae, x, sn.TrainConfig(steps=5, batch_size=50), progress=False)
    assert bool((sae.bias == 0).all())
    sae.save(tmp_path / "sae")
    loaded = sn.load_sae(tmp_path / "sae")
    assert not loaded.has_bias
    assert loaded.settings() == sae.settings()
    assert bool((loaded.bias == 0).all())


@pytest.mark.parametrize("kind", BOTH)
def test_every_option_survives_a_file(kind: Any, tmp_path: Path) -> None:
    """Settings rebuild the SAE."""
    options = {"tolerance": 0.5, "relative_tolerance": 0.1, "nonnegative": False}
    sae = make(kind, **options, dropout=0.2, revive=False)
    sae.save(tmp_path / "sae")
    assert sn.load_sae(tmp_path / "sae").settings() == sae.settings()


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
    assert bool(kept[loss.codes.atoms.long()].all())
    assert torch.allclose(sae.decode(loss.codes), loss.x_hat, atol=1e-5)
    assert len(sae.encode(x).atoms.unique()) > int(kept.sum())
    loss.total.backward()
    used = torch.zeros(20, dtype=torch.bool).index_fill(0, loss.codes.atoms.long(), True)
    assert bool((sae.operator.weight.grad[~used] == 0).all())
    assert bool((sae.operator.weight.grad[used] != 0).any(dim=1).all())


def test_what_is_left_out_depends_on_the_step_and_the_seed_alone(x: Tensor) -> None:
    """Not on torch's global generator, so a resumed run repeats it."""
    torch.manual_seed(1)
    first, again, other = (make(MatchingPursuit, dropout=0.5) for _ in range(3))
    for sae, seed in ((first, 0), (again, 0), (other, 1)):
        sae.initialise(x, torch.Generator().manual_seed(seed))
    assert torch.equal(first._kept(0.5), again._kept(0.5))
    assert not torch.equal(first._kept(0.5), first._kept(0.51))
    assert not torch.equal(first._kept(0.5), other._kept(0.5))


@pytest.mark.parametrize("kind", BOTH)
def test_training_does_not_look_at_global_randomness(kind: Any, x: Tensor) -> None:
    """Revival and dropout included: the same seed gives the same dictionary."""
    found = []
    for luck in (1, 2):
        sae = make(kind, dropout=0.3)
        torch.manual_seed(luck)
        config = sn.TrainConfig(steps=12, batch_size=50, dead_after_tokens=50, seed=3)
        sn.train(sae, x, config, progress=False)
        found.append(sae.dictionary)
    assert torch.equal(*found)


def test_silent_atoms_are_resampled_from_different_residuals(x: Tensor) -> None:
    """After the step, on the sphere, each explaining an input that was left over."""
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


def test_a_dead_atom_gets_another_try_only_after_as_long_again() -> None:
    """One resampling per `dead_after` rows, whatever the batch size."""
    for rows in (10, 50, 100):
        tries = [
            silent for silent in range(0, 1001, rows) if bool(due(torch.tensor(silent), 100, rows))
        ]
        assert tries == list(range(100, 1001, 100))
    assert [s for s in range(0, 400, 70) if bool(due(torch.tensor(s), 100, 70))] == [140, 210, 350]


def test_fewer_rows_than_dead_atoms_revive_some() -> None:
    """And rows without a residual revive none."""
    dead = torch.arange(10)
    residual = torch.zeros(4, 3)
    residual[1, 0], residual[2, 1] = 2.0, 1.0
    atoms, directions = resampled_atoms(residual, dead)
    assert atoms.tolist() == [0, 1]
    assert sorted(directions.tolist()) == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    assert len(resampled_atoms(torch.zeros(4, 3), dead)[0]) == 0


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


@pytest.mark.parametrize("kind", BOTH)
def test_it_finds_planted_atoms_in_a_few_hundred_steps(kind: Any) -> None:
    """With its own recipe."""
    data = sn.data.planted_dictionary(64, 32, 8000, 3, seed=0)
    sae = kind(32, 64, 3, generator=torch.Generator().manual_seed(0))
    sn.train(sae, data.x, sn.TrainConfig(steps=300, batch_size=256, seed=0), progress=False)
    cosines = sn.evaluation.match_atoms(data.dictionary, sae.dictionary)[2]
    assert float(cosines.mean()) > 0.87  # .957 ± .020 of four seeds and both kinds


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
    """In every direction, along the atoms too."""
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
