"""A training that gets nowhere stops by itself; one that still gains, or may not stop, goes on."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.data import planted_dictionary
from sae_nb.training import TrainConfig, TrainResult, train
from sae_nb.training._schedule import Plateau, Schedule

CONSTANT = Schedule(base=1.0, steps=1000, warmup_steps=0, decay_fraction=0.2)
PATIENCE = 8


@pytest.fixture
def config() -> TrainConfig:
    return TrainConfig(steps=2000, batch_size=128, log_every=5, stop_on_plateau=PATIENCE)


def quietly(sae: Any, data: Any, config: TrainConfig, **more: Any) -> Any:
    return train(sae, data, config, progress=False, **more)


def waited(losses: list[float], first: int = 200) -> list[int]:
    """Records without a gain after each loss, one record a step from `first` on."""
    plateau, counts = Plateau(), []
    for step, loss in enumerate(losses, start=first):
        plateau.look(loss, step, CONSTANT)
        counts.append(plateau.waited)
    return counts


# The rule


def test_equal_losses_are_counted_and_a_lower_one_starts_again() -> None:
    """The first record is the measure; only a gain of more than 1 % ends the wait."""
    assert waited([1.0, 1.0, 1.5, 0.995, 0.98, 0.98]) == [0, 1, 2, 3, 0, 1]


def test_slow_gains_add_up() -> None:
    """Gains of 0.3 % a record are too small one by one, and never let four records pass."""
    assert max(waited([0.997**i for i in range(300)])) == 3


def test_losses_below_zero_compare_the_same_way() -> None:
    assert waited([-1.0, -1.005, -1.1, -1.1]) == [0, 1, 0, 1]


def test_warm_up_and_decay_are_not_looked_at() -> None:
    """The first tenth and the decay of the learning rate count neither for nor against."""
    assert waited([1.0] * 150, first=1) == [0] * 101 + list(range(1, 50))
    in_decay = waited([1.0] * 50, first=801)
    assert in_decay == [0] * 50


def test_state_survives_json() -> None:
    """A plateau that went through a checkpoint counts on, one that saw nothing included."""
    for losses in ([], [0.3, 0.3, 0.3]):
        plateau, back = Plateau(), Plateau()
        for step, loss in enumerate(losses, start=200):
            plateau.look(loss, step, CONSTANT)
        back.load(plateau.to_json())
        assert (back.waited, back.lowest) == (plateau.waited, plateau.lowest)
    assert Plateau().lowest == math.inf


# Trainings


@pytest.mark.slow
def test_converged_run_stops_and_loses_little(plain_sae: Any, config: TrainConfig) -> None:
    """It stops early, and went on it would have gained little at the same learning rate."""
    x = planted_dictionary(16, 8, n=2000, k=2, noise=0.1, seed=0).x
    result = quietly(plain_sae(), x, config)
    assert result.stopped == "plateau"
    assert 200 < result.steps < 1000
    assert "stopped='plateau'" in repr(result)
    longer = dataclasses.replace(config, stop_on_plateau=None, decay_fraction=0.0)
    on = quietly(plain_sae(), x, longer)
    assert (on.stopped, on.steps) == (None, 2000)
    early, late = (torch.tensor([r.r2 for r in one.history[-8:]]).mean() for one in (result, on))
    assert late - early < 0.05
    assert early > 0.7


@pytest.mark.slow
def test_run_that_still_gains_goes_on(plain_sae: Any, config: TrainConfig) -> None:
    x = planted_dictionary(16, 8, n=2000, k=2, noise=0.1, seed=0).x
    slow = dataclasses.replace(config, learning_rate=5e-4, steps=500)
    result = quietly(plain_sae(), x, slow)
    assert (result.stopped, result.steps) == (None, 500)
    assert result.history[-1].loss < 0.9 * result.history[20].loss  # .65 ± .06 of nine seeds


@pytest.mark.slow
def test_several_saes_stop_when_the_last_has_plateaued(
    plain_sae: Any, rows: Tensor, config: TrainConfig
) -> None:
    alone = [quietly(plain_sae(seed=s), rows, config).steps for s in (0, 1)]
    both = quietly([plain_sae(seed=0), plain_sae(seed=1)], rows, config)
    assert [one.stopped for one in both] == ["plateau"] * 2
    assert both[0].steps == both[1].steps >= max(alone)


# Checkpoints


@pytest.fixture
def unbroken(plain_sae: Any, rows: Tensor, config: TrainConfig) -> TrainResult:
    return quietly(plain_sae(), rows, config)


@pytest.mark.slow
@pytest.mark.parametrize("before_the_end", [1, 40])
def test_resumed_run_stops_at_the_same_step(
    plain_sae: Any,
    rows: Tensor,
    config: TrainConfig,
    unbroken: TrainResult,
    tmp_path: Path,
    before_the_end: int,
    killed: Any,
) -> None:
    kept = dataclasses.replace(config, checkpoint=tmp_path / "run", checkpoint_every=30)
    killed(plain_sae(), rows, kept, unbroken.steps - before_the_end)
    resumed = quietly(plain_sae(seed=9), rows, kept)
    assert (resumed.stopped, resumed.steps) == ("plateau", unbroken.steps)
    pairs = zip(resumed.sae.parameters(), unbroken.sae.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.slow
def test_stopped_run_is_finished_until_asked_for_more(
    plain_sae: Any, rows: Tensor, config: TrainConfig, tmp_path: Path
) -> None:
    kept = dataclasses.replace(config, checkpoint=tmp_path / "run")
    first = quietly(plain_sae(), rows, kept)
    again = plain_sae(seed=9)
    again.training_loss = lambda *_: pytest.fail("trained")
    second = quietly(again, rows, kept)
    assert (second.stopped, second.steps) == ("plateau", first.steps)
    assert second.history == first.history
    longer = quietly(plain_sae(), rows, dataclasses.replace(kept, steps=2500))
    assert longer.steps > first.steps
    other = dataclasses.replace(kept, steps=2500, stop_on_plateau=None)
    assert quietly(plain_sae(), rows, other).steps == 2500


@pytest.mark.slow
def test_changing_a_number_starts_the_wait_again(
    plain_sae: Any, rows: Tensor, config: TrainConfig, unbroken: TrainResult
) -> None:
    """Losses before and after a change of the learning rate or the objective do not compare."""
    from sae_nb.training._loop import Training

    training = Training(plain_sae(), rows, config)
    change_at = unbroken.steps - 5

    def callback(record: Any) -> None:
        if record.step == change_at:
            training.set(learning_rate=0.0099)

    training.callbacks.append(callback)
    training.run()
    assert training.stopped == "plateau"
    assert training.step >= change_at + PATIENCE * config.log_every
