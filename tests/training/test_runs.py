"""A training in a thread obeys, answers and surfaces its errors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from warm_python import WarmPython

from sae_nb.training import TrainConfig, TrainingRun, TrainRecord, start_training, train

PATIENCE = 60.0
LONG = TrainConfig(steps=1_000_000, batch_size=64, log_every=1, warmup_steps=0, decay_fraction=0.0)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.001)


@pytest.fixture
def long_run(plain_sae: Any, rows: Tensor) -> Any:
    run = start_training(plain_sae(), rows, LONG)
    yield run
    run.stop()
    try:
        run.wait(PATIENCE)
    except FloatingPointError:
        assert run.state == "failed"


@pytest.mark.slow
def test_thread_and_call_give_the_same_bits(plain_sae: Any, rows: Tensor) -> None:
    config = TrainConfig(steps=50, batch_size=64)
    run = start_training(plain_sae(), rows, config, held_out=0)
    result = run.wait(PATIENCE)
    other = train(plain_sae(), rows, config, progress=False)
    for a, b in zip(result.sae.parameters(), other.sae.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (run.state, run.error, result.stopped) == ("done", None, None)
    assert run.records == result.history
    assert not result.sae.training


@pytest.mark.slow
def test_pause_really_pauses(long_run: TrainingRun) -> None:
    until(lambda: long_run.step > 5)
    long_run.pause()
    assert long_run.state == "paused"
    step, weights = long_run.step, [p.detach().clone() for p in long_run.sae.parameters()]
    n_records = len(long_run.records)
    time.sleep(0.2)  # hundreds of steps' time
    assert long_run.step == step
    assert len(long_run.records) <= n_records + 1  # that of the last step may still be on its way
    assert all(torch.equal(a, b) for a, b in zip(weights, long_run.sae.parameters(), strict=True))
    long_run.resume()
    assert long_run.state == "running"
    until(lambda: long_run.step > step + 5)


@pytest.mark.slow
def test_pause_is_not_counted_as_time(plain_sae: Any, rows: Tensor) -> None:
    began, pause = time.monotonic(), 0.5
    run = start_training(plain_sae(), rows, LONG)
    until(lambda: run.step > 20)
    run.pause()
    time.sleep(pause)
    n = len(run.records)
    run.resume()
    until(lambda: len(run.records) > n + 3)
    passed = time.monotonic() - began
    run.stop()
    run.wait(PATIENCE)
    assert run.records[n + 1].seconds <= passed - pause


def test_stop_works_while_running_and_while_paused(plain_sae: Any, rows: Tensor) -> None:
    sae = plain_sae()
    for paused in (False, True):
        run = start_training(sae, rows, LONG)
        until(lambda run=run: run.step > 3)
        if paused:
            run.pause()
        run.stop()
        result = run.wait(PATIENCE)
        assert (result.stopped, run.state) == ("stopped", "done")
        assert result.steps == run.step >= 3
        assert not sae.training


def test_learning_rate_set_live_takes_effect_and_is_recorded(long_run: TrainingRun) -> None:
    """From the next step on the plateau is the new value; history and changes show it."""
    until(lambda: long_run.step > 5)
    long_run.pause()
    at = long_run.step
    long_run.set(learning_rate=0.002)
    long_run.resume()
    until(lambda: long_run.step > at + 5)
    long_run.stop()
    history = long_run.wait(PATIENCE).history
    assert {r.learning_rate for r in history if r.step <= at} == {0.01}
    assert {r.learning_rate for r in history if r.step > at} == {0.002}
    assert [(c.step, c.name, c.value) for c in long_run.changes] == [(at, "learning_rate", 0.002)]


@pytest.mark.slow
def test_live_learning_rate_equals_the_same_rate_from_the_start(
    plain_sae: Any, rows: Tensor
) -> None:
    config = TrainConfig(steps=60, batch_size=64)
    hold = threading.Event()

    class Held:
        d_in = 8

        def batches(self, batch_size: int, *, seed: int = 0, start: int = 0) -> Any:
            from sae_nb.activations import Activations

            assert hold.wait(PATIENCE)
            return Activations.from_tensor(rows).batches(batch_size, seed=seed, start=start)

    run = start_training(plain_sae(), Held(), config)
    run.set(learning_rate=0.004)
    hold.set()
    live = run.wait(PATIENCE).sae
    other = TrainConfig(steps=60, batch_size=64, learning_rate=0.004)
    fixed = train(plain_sae(), rows, other, progress=False).sae
    assert all(
        torch.equal(a, b) for a, b in zip(live.parameters(), fixed.parameters(), strict=True)
    )


def test_numbers_of_the_sae_can_be_set_live(long_run: TrainingRun) -> None:
    until(lambda: long_run.step > 2)
    assert long_run.live() == {"learning_rate": 0.01, "k": 2, "penalty": 0.0}
    long_run.set(penalty=1)  # a whole number is a number, and may become a fraction again
    long_run.set(k=3, penalty=0.01)
    assert long_run.live() == {"learning_rate": 0.01, "k": 3, "penalty": 0.01}
    n = len(long_run.records)
    until(lambda: len(long_run.records) > n + 3)
    assert long_run.records[-1].l0 > 2.5
    assert long_run.records[-1].parts["penalty"] > 0


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        ({"learning_rate": -1.0}, ValueError, r"`learning_rate` must be above 0 .* got -1\.0"),
        ({"n_atoms": 3}, ValueError, r"`n_atoms` must be .*learning_rate, k, penalty"),
        ({"penalty": 0.5, "k": 0}, ValueError, r"`k` must be between 1"),
    ],
)
def test_impossible_live_numbers_are_refused_and_change_nothing(
    long_run: TrainingRun, numbers: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        long_run.set(**numbers)
    assert long_run.changes == ()
    assert (long_run.sae.k, long_run.sae.penalty) == (2, 0.0)


@pytest.mark.slow
def test_snapshot_is_the_state_between_two_steps(long_run: TrainingRun) -> None:
    """Every snapshot, taken at full speed, has unit atoms, eval mode and weights of its own."""
    for _ in range(20):
        copy = long_run.snapshot()
        assert not copy.training
        norms = copy.decoder.detach().norm(dim=1)
        assert torch.allclose(norms, torch.ones(16), atol=1e-5)
        before = copy.decoder.detach().clone()
        step = long_run.step
        until(lambda step=step: long_run.step > step + 1)
        assert torch.equal(copy.decoder, before)
    assert long_run.sae.training


def test_lock_keeps_steps_out(long_run: TrainingRun) -> None:
    """Inside `with run.lock` the SAE itself may be read, and encoded with, undisturbed."""
    until(lambda: long_run.step > 2)
    with long_run.lock:
        step, weight = long_run.step, long_run.sae.encoder.detach().clone()
        time.sleep(0.05)
        assert long_run.step == step
        assert torch.equal(long_run.sae.encoder, weight)
    until(lambda: long_run.step > step)


def test_callbacks_come_and_go(long_run: TrainingRun) -> None:
    heard: list[TrainRecord] = []
    threads: set[str] = set()

    def callback(record: TrainRecord) -> None:
        heard.append(record)
        threads.add(threading.current_thread().name)

    long_run.add_callback(callback)
    until(lambda: len(heard) > 3)
    long_run.remove_callback(callback)
    with long_run.lock:
        pass
    long_run.pause()
    n = len(heard)
    long_run.resume()
    step = long_run.step
    until(lambda: long_run.step > step + 5)
    assert len(heard) <= n + 1
    assert threads == {"sae_nb training"}
    with pytest.raises(TypeError, match="must be callable"):
        long_run.add_callback(3)


@pytest.mark.slow
def test_callback_may_steer_the_run(plain_sae: Any, rows: Tensor) -> None:
    """A callback in the training thread can pause nobody forever, but stop and set it can."""
    ready = threading.Event()

    def callback(record: TrainRecord) -> None:
        ready.wait(PATIENCE)
        if record.step == 10:
            run.set(learning_rate=0.5)
        if record.step == 20:
            run.stop()

    run = start_training(plain_sae(), rows, LONG, callbacks=callback)
    ready.set()
    result = run.wait(PATIENCE)
    assert result.steps == 20
    assert result.history[10].learning_rate == 0.5


# Errors


def test_second_training_of_one_sae_is_refused(long_run: TrainingRun, rows: Tensor) -> None:
    with pytest.raises(RuntimeError, match=r"being trained already\. Wait .*run\.stop"):
        start_training(long_run.sae, rows)
    with pytest.raises(RuntimeError, match="being trained already"):
        train(long_run.sae, rows, progress=False)
    assert long_run.state == "running"


def test_errors_of_the_thread_surface(
    plain_sae: Any, rows: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    """state, error, the log, and wait() all tell; the SAE is in eval mode and free again."""
    sae = plain_sae()
    original, calls = sae.training_loss, []

    def failing(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 8:
            raise MemoryError("no room left")
        return original(*arguments)

    sae.training_loss = failing
    with caplog.at_level(logging.ERROR):
        run = start_training(sae, rows, TrainConfig(steps=50, batch_size=64))
        for _ in range(2):
            with pytest.raises(MemoryError, match="no room left"):
                run.wait(PATIENCE)
    assert run.state == "failed"
    assert isinstance(run.error, MemoryError)
    assert "failed at step 8: no room left" in caplog.text
    assert not sae.training
    with pytest.raises(RuntimeError, match="this one is failed"):
        run.set(learning_rate=1.0)
    sae.training_loss = original
    assert start_training(sae, rows, TrainConfig(steps=3)).wait(PATIENCE).steps == 3


def test_wait_gives_up_in_time_and_the_run_goes_on(long_run: TrainingRun) -> None:
    with pytest.raises(TimeoutError, match=r"still running at step \d+ of 1000000 after 0\.01 s"):
        long_run.wait(0.01)
    step = long_run.step
    until(lambda: long_run.step > step)
    assert "running, step" in repr(long_run)


@pytest.mark.slow
@pytest.mark.parametrize("share", [None, 0])
def test_stopped_thread_resumes_from_its_checkpoint(
    plain_sae: Any, rows: Tensor, tmp_path: Path, share: float | None
) -> None:
    given = {"steps": 200, "batch_size": 64, "log_every": 10}
    config = TrainConfig(**given, checkpoint=str(tmp_path / "run"), checkpoint_every=1000)
    how = {} if share is None else {"held_out": share}
    run = start_training(
        plain_sae(), rows, config, callbacks=lambda record: time.sleep(0.002), **how
    )
    until(lambda: run.step > 30)
    run.stop()
    stopped = run.wait(PATIENCE)
    assert 30 < stopped.steps < 200
    again = start_training(plain_sae(), rows, config)  # a checkpoint of all rows goes on with all
    resumed, kept = again.wait(PATIENCE), again.held_out
    assert (0 if kept is None else len(kept)) == (0 if share == 0 else round(0.1 * len(rows)))
    trained_on = rows if kept is None else run._training.data.source
    unbroken = train(plain_sae(), trained_on, TrainConfig(**given), progress=False)
    pairs = zip(resumed.sae.parameters(), unbroken.sae.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [r.loss for r in resumed.history] == [r.loss for r in unbroken.history]


LEAVING = """
import sys, threading, time
sys.path.insert(0, {tests!r})
import torch
from conftest import PlainSae
from sae_nb.training import TrainConfig, start_training
run = start_training(
    PlainSae(64, 256, 8), torch.randn(4096, 64), TrainConfig(steps=10**9, batch_size=1024)
)
while run.step < 3:
    time.sleep(0.01)
{before}
print("leaving")
"""


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "run.pause()"])
def test_running_thread_does_not_keep_the_interpreter(warm_python: WarmPython, before: str) -> None:
    script = LEAVING.format(tests=str(Path(__file__).parent), before=before)
    done = warm_python.run(script, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "leaving\n", "")
