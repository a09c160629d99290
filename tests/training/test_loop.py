"""The loop learns, is the same every time, and leaves something usable whatever happens."""

from __future__ import annotations

import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.training import Checkpoints, TrainConfig, TrainRecord, train

SHORT = TrainConfig(steps=40, batch_size=64, log_every=5)


def quietly(sae: Any, data: Any, config: TrainConfig = SHORT, **more: Any) -> Any:
    return train(sae, data, config, progress=False, **more)


def interrupted(sae: Any, data: Any, config: TrainConfig, says: str, **more: Any) -> Any:
    with pytest.raises(KeyboardInterrupt, match=says) as stop:
        quietly(sae, data, config, **more)
    assert sn.interrupted() is stop.value.result
    return stop.value.result


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


class Stream:
    """Batches that exist only while they are served, as from a live model."""

    hook_point = "resid_post.3"
    model_name = "tiny"

    def __init__(self, x: Tensor, spoil: Callable[[int, Tensor], Tensor | None]) -> None:
        self.x, self.spoil, self.d_in, self.served = x, spoil, x.shape[1], 0

    def batches(self, batch_size: int, *, seed: int = 0, start: int = 0) -> Iterator[Tensor]:
        plain = Activations.from_tensor(self.x).batches(batch_size, seed=seed, start=start)
        for number, x in enumerate(plain, start=start + 1):
            spoiled = self.spoil(number, x)
            if spoiled is None:
                return
            self.served += 1
            yield spoiled


# Learning


def test_adam_gets_the_scheduled_step_size(plain_sae: Any, rows: Tensor) -> None:
    """With the moments fresh and no clipping, the first step of Adam is the learning rate itself."""
    sae = plain_sae()
    config = TrainConfig(steps=1, learning_rate=0.25, warmup_steps=0, decay_fraction=0.0)
    sae.initialise(rows, torch.Generator())
    before = sae.bias.detach().clone()
    result = quietly(sae, rows, config)
    assert torch.allclose((sae.bias - before).abs(), torch.full((8,), 0.25), atol=1e-3)
    assert result.history[0].learning_rate == 0.25


def test_gradient_is_clipped_to_the_norm_asked_for(plain_sae: Any, rows: Tensor) -> None:
    sae, seen = plain_sae(), []
    original = sae.after_optimiser_step

    def spy() -> None:
        grads = [p.grad for p in sae.parameters()]
        along = (sae.decoder.grad * sae.decoder.detach()).sum(dim=1).abs().max()
        seen.append((float(torch.nn.utils.get_total_norm(grads)), float(along)))
        original()

    sae.after_optimiser_step = spy
    history = quietly(sae, rows, TrainConfig(steps=5, gradient_clip=0.01, log_every=1)).history
    assert all(norm == pytest.approx(0.01, rel=1e-4) for norm, _ in seen)
    assert all(record.gradient_norm > 0.02 for record in history)
    assert seen[0][1] < 1e-4


# The same every time


@pytest.mark.slow
def test_same_seed_gives_the_same_bits(plain_sae: Any, rows: Tensor) -> None:
    runs = [quietly(plain_sae(), rows, TrainConfig(steps=40, seed=s)).sae for s in (3, 3, 4)]
    assert same_weights(runs[0], runs[1])
    assert not same_weights(runs[0], runs[2])


@pytest.mark.slow
def test_two_saes_on_one_pass_equal_two_runs(plain_sae: Any, rows: Tensor) -> None:
    """Training together changes nothing: weights and records are those of separate runs."""
    together = quietly([plain_sae(seed=1), plain_sae(k=3, seed=2)], rows)
    apart = [quietly(plain_sae(seed=1), rows), quietly(plain_sae(k=3, seed=2), rows)]
    for one, other in zip(together, apart, strict=True):
        assert same_weights(one.sae, other.sae)
        assert [r.loss for r in one.history] == [r.loss for r in other.history]
        assert [r.r2 for r in one.history] == [r.r2 for r in other.history]
    assert [record.sae for record in together[1].history] == [1] * len(together[1].history)


def test_several_saes_see_one_pass(plain_sae: Any, rows: Tensor) -> None:
    stream = Stream(rows, lambda number, x: x)
    quietly([plain_sae(seed=s) for s in range(3)], stream, TrainConfig(steps=7, batch_size=64))
    assert stream.served <= 8192 / 64  # what `initialise` looks at; 7 of them are trained on


def test_initialise_sees_the_first_batches_and_is_called_once(plain_sae: Any, rows: Tensor) -> None:
    """Rows for `initialise` are those trained on first; a trained SAE is not initialised again."""
    sae = plain_sae()
    quietly(sae, rows)
    batches = Activations.from_tensor(rows).batches(64, seed=SHORT.seed)
    first = torch.cat([next(batches) for _ in range(8192 // 64)])
    assert torch.equal(sae.initial_rows, first)
    sae.initial_rows = None
    quietly(sae, rows)
    assert sae.initial_rows is None


def test_global_randomness_is_left_alone(plain_sae: Any, rows: Tensor) -> None:
    before = torch.get_rng_state()
    quietly(plain_sae(), rows)
    assert torch.equal(torch.get_rng_state(), before)


# Data


def test_fewer_rows_than_a_batch(plain_sae: Any, rows: Tensor) -> None:
    result = quietly(plain_sae(), rows[:10], TrainConfig(steps=6, batch_size=4096))
    assert result.tokens == 60
    assert result.history[-1].step == 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_rows_of_another_precision_are_converted(
    plain_sae: Any, rows: Tensor, dtype: torch.dtype
) -> None:
    sae = quietly(plain_sae(), rows.to(dtype)).sae
    assert sae.decoder.dtype == torch.float32


@pytest.mark.slow
def test_trains_on_inference_tensors_and_under_no_grad(plain_sae: Any, rows: Tensor) -> None:
    sae = plain_sae()
    with torch.inference_mode():
        sealed = rows.clone()
        first = quietly(sae, sealed).sae
    with torch.no_grad():
        second = quietly(plain_sae(), Stream(sealed, lambda number, x: x)).sae
    assert same_weights(first, quietly(plain_sae(), rows).sae)
    assert same_weights(first, second)


def test_equal_rows_have_no_r2(plain_sae: Any) -> None:
    history = quietly(plain_sae(), torch.ones(4, 8), TrainConfig(steps=3)).history
    assert math.isnan(history[-1].r2)


@pytest.mark.slow
def test_origin_of_the_data_is_remembered(plain_sae: Any, rows: Tensor) -> None:
    sae = plain_sae()
    quietly(sae, Stream(rows, lambda number, x: x))
    assert (sae.hook_point, sae.model_name) == ("resid_post.3", "tiny")
    other = Activations.from_tensor(rows, hook_point="resid_post.9", model_name="tiny")
    with pytest.warns(UserWarning, match=r"hook_point='resid_post\.3' and now .*'resid_post\.9'"):
        quietly(sae, other)
    assert sae.hook_point == "resid_post.9"
    quietly(sae, rows)
    assert sae.hook_point == "resid_post.9"


def test_data_that_end_give_a_usable_result(plain_sae: Any, rows: Tensor) -> None:
    """A stream that runs dry ends the training with a warning and an honest step count."""
    stream = Stream(rows, lambda number, x: x if number <= 12 else None)
    with pytest.warns(UserWarning, match="ran out of data after step 12 of 40"):
        result = quietly(plain_sae(), stream)
    assert (result.stopped, result.steps, result.sae.training) == ("data ended", 12, False)


def test_stream_that_reads_an_iterator_once_may_end(plain_sae: Any, rows: Tensor) -> None:
    """The stream's own error is an end of data like any other, before any batch a refusal."""

    class OneShot(Stream):
        def batches(self, batch_size: int, *, seed: int = 0, start: int = 0) -> Iterator[Tensor]:
            yield from super().batches(batch_size, seed=seed, start=start)
            raise sn.capturing.StreamEndedError("over")

    with pytest.warns(UserWarning, match="ran out of data after step 12 of 40"):
        result = quietly(plain_sae(), OneShot(rows, lambda n, x: x if n <= 12 else None))
    assert result.steps == 12
    with pytest.raises(ValueError, match="ended before its first 64 rows"):
        quietly(plain_sae(), OneShot(rows, lambda n, x: None))


# Records and callbacks


def test_records_come_at_the_steps_promised(plain_sae: Any, rows: Tensor) -> None:
    """First step, every `log_every`, last step; the callback and the history get the same."""
    heard: list[TrainRecord] = []
    config = TrainConfig(steps=23, batch_size=64, log_every=10)
    result = quietly(plain_sae(), rows, config, callbacks=heard.append)
    assert [record.step for record in heard] == [1, 10, 20, 23]
    assert heard == result.history
    assert [record.tokens for record in heard] == [64, 640, 1280, 23 * 64]
    assert all(record.steps == 23 for record in heard)
    seconds = [record.seconds for record in heard]
    assert seconds == sorted(seconds)
    assert result.seconds >= seconds[-1] > 0


def test_record_numbers_are_those_of_the_batch(plain_sae: Any, rows: Tensor) -> None:
    """Loss, R², L0 and dead share agree with a dense computation on the same batch and weights."""
    sae = plain_sae()
    sae.initialise(rows, torch.Generator())
    x = next(Activations.from_tensor(rows).batches(64, seed=0))
    with torch.no_grad():
        z = sae.codes(x)
        x_hat = z @ sae.decoder + sae.bias
    config = TrainConfig(steps=1, batch_size=64, dead_after_tokens=64)
    (record,) = quietly(sae, rows, config).history
    residual = (x - x_hat).double()
    centred = (x - x.mean(dim=0)).double()
    assert record.loss == pytest.approx(float(residual.square().sum(dim=1).mean()), rel=1e-5)
    assert record.r2 == pytest.approx(
        1 - float(residual.square().sum() / centred.square().sum()), abs=1e-5
    )
    assert record.l0 == pytest.approx(float((z != 0).sum(dim=1).float().mean()))
    assert record.dead_fraction == pytest.approx(1 - float((z != 0).any(dim=0).float().mean()))
    assert record.parts["reconstruction"] == pytest.approx(record.loss)


def test_callback_that_raises_is_dropped_with_a_warning(plain_sae: Any, rows: Tensor) -> None:
    calls: list[int] = []
    heard: list[TrainRecord] = []

    def broken(record: TrainRecord) -> None:
        calls.append(record.step)
        raise OSError("display is gone")

    with pytest.warns(UserWarning, match=r"raised OSError\('display is gone'\) at step 1"):
        result = quietly(plain_sae(), rows, callbacks=[broken, heard.append])
    assert calls == [1]
    assert heard == result.history
    assert result.stopped is None


@pytest.mark.slow
def test_bar_ends_full_and_silence_is_silent(
    plain_sae: Any, rows: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bar of a log ends at 100 % with the last numbers; progress=False prints nothing."""
    train(plain_sae(), rows, SHORT)
    shown = capsys.readouterr().err
    assert "40/40" in shown
    assert "R²=" in shown
    assert "dead=" in shown
    train(plain_sae(), rows, SHORT, progress=False)
    assert capsys.readouterr() == ("", "")


def test_saes_end_in_eval_mode(plain_sae: Any, rows: Tensor) -> None:
    modes: list[bool] = []
    sae = plain_sae()
    quietly(sae, rows, callbacks=lambda record: modes.append(sae.training))
    assert all(modes)
    assert not sae.training
    with pytest.raises(FloatingPointError):
        quietly(sae, rows, TrainConfig(steps=50, learning_rate=1e30, gradient_clip=math.inf))
    assert not sae.training


# Bad input


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_bad_row_in_memory_is_named_before_any_work(
    plain_sae: Any, rows: Tensor, value: float
) -> None:
    sae = plain_sae()
    rows[37, 3] = value
    with pytest.raises(ValueError, match="first is row 37"):
        quietly(sae, rows)
    clean = rows.clone()
    clean[37] = 0
    acts = Activations.from_tensor(clean, hook_point="resid_post.6")
    acts.x[37, 3] = value
    with pytest.raises(ValueError, match=r"first is row 37 \(sample 37\).*'resid_post\.6'"):
        quietly(sae, acts)
    assert not sae.initialised
    assert same_weights(sae, plain_sae())


@pytest.mark.parametrize("step", [1, 20])
def test_bad_row_in_a_stream_names_the_step_and_leaves_the_last_good_state(
    plain_sae: Any, rows: Tensor, step: int
) -> None:
    def spoil(number: int, x: Tensor) -> Tensor:
        x = x.clone()
        if number == step:
            x[5, 2] = math.nan
        return x

    config = TrainConfig(steps=30, batch_size=512)
    sae, good = plain_sae(), plain_sae()
    with pytest.raises(ValueError, match=rf"row 5\. It is in the batch of step {step}\..*_post\.3"):
        quietly(sae, Stream(rows, spoil), config)
    if step == 1:
        assert same_weights(sae, plain_sae())
        return
    with pytest.warns(UserWarning, match="ran out of data"):
        quietly(good, Stream(rows, lambda n, x: x if n < step else None), config)
    assert same_weights(sae, good)


def test_sparsity_reaches_the_sae(plain_sae: Any, rows: Tensor) -> None:
    """`sparsity` of the config replaces the number of that name on the SAE."""
    sae = type("Weighted", (plain_sae,), {"live_numbers": ("sparsity",), "sparsity": 1.0})()
    quietly(sae, rows, TrainConfig(steps=3, sparsity=0.25))
    assert sae.sparsity == 0.25


# Interruption


@pytest.mark.usefixtures("python_handles_ctrl_c")
def test_ctrl_c_ends_after_the_step_with_a_usable_result(plain_sae: Any, rows: Tensor) -> None:
    """A signal during step 17 leaves exactly the state of step 17 (or of 18, had it begun)."""
    sae = plain_sae()
    original, steps = sae.after_optimiser_step, []

    def signalling() -> None:
        original()
        steps.append(1)
        if len(steps) == 17:
            signal.raise_signal(signal.SIGINT)

    sae.after_optimiser_step = signalling
    config = TrainConfig(steps=60, batch_size=64, log_every=5, warmup_steps=0, decay_fraction=0.0)
    result = interrupted(sae, rows, config, "interrupted after step 17 of 60; the SAE keeps")
    assert (result.stopped, result.steps, result.kept_step) == ("interrupted", 17, 17)
    assert not sae.training
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    del sae.after_optimiser_step
    shorter = TrainConfig(steps=17, batch_size=64, warmup_steps=0, decay_fraction=0.0)
    assert same_weights(sae, quietly(plain_sae(), rows, shorter).sae)


@pytest.mark.parametrize("where", ["callback", "data"])
def test_interrupt_raised_by_user_code_is_the_same(
    plain_sae: Any, rows: Tensor, where: str
) -> None:
    def callback(record: TrainRecord) -> None:
        if where == "callback" and record.step == 20:
            raise KeyboardInterrupt

    def spoil(number: int, x: Tensor) -> Tensor:
        if where == "data" and number == 21:
            raise KeyboardInterrupt
        return x

    big = TrainConfig(steps=40, batch_size=512, log_every=5)  # one batch is all rows
    stream = Stream(rows, spoil)
    result = interrupted(plain_sae(), stream, big, "interrupted after step 20", callbacks=callback)
    assert (result.stopped, result.steps) == ("interrupted", 20)


@pytest.mark.usefixtures("python_handles_ctrl_c")
def test_second_ctrl_c_interrupts_inside_a_step(plain_sae: Any, rows: Tensor) -> None:
    sae, steps = plain_sae(), []
    original = sae.before_optimiser_step

    def signalling() -> None:
        original()
        steps.append(1)
        if len(steps) == 17:
            with torch.no_grad():
                sae.bias.fill_(1e6)  # half a step
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    sae.before_optimiser_step = signalling
    config = TrainConfig(steps=60, batch_size=512, log_every=5, warmup_steps=0)
    result = interrupted(sae, rows, config, "weights of step 15 were put back")
    assert (result.steps, result.kept_step) == (16, 15)
    assert sae.bias.abs().max() < 100


def stopping(at: int) -> Callable[[TrainRecord], None]:
    def callback(record: TrainRecord) -> None:
        if record.step >= at:
            raise KeyboardInterrupt

    return callback


def test_ctrl_c_ends_the_loop_around_a_training(plain_sae: Any, rows: Tensor) -> None:
    """Three trainings in a loop: the second one is interrupted, and the third never begins."""
    steps: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        for number in range(3):
            calls = stopping(20 if number == 1 else 10**6)
            steps.append(quietly(plain_sae(), rows, SHORT, callbacks=calls).steps)
    assert steps == [40]
    assert sn.interrupted().steps == 20


def test_what_was_cut_short_carries_its_steps(plain_sae: Any, rows: Tensor, tmp_path: Path) -> None:
    """The SAE says so, also when it was saved by the training, later, or read again; not once it is whole."""
    config = replace(SHORT, save_to=tmp_path / "by-train")
    sae = sn.TopK(rows.shape[1], 16, 2)
    interrupted(sae, rows, config, "interrupted after step 20", callbacks=stopping(20))
    sae.save(tmp_path / "later")
    for one in (sae, sn.load_sae(tmp_path / "by-train"), sn.load_sae(tmp_path / "later")):
        assert "cut short after 20 of 40 steps" in repr(one)
    whole = sn.train(sae, rows, SHORT, progress=False).sae
    assert whole.measured["steps"] == 40
    assert "cut short" not in repr(whole)


def test_ctrl_c_goes_on_when_the_disk_is_full(
    plain_sae: Any, rows: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says that it could not be saved; the checkpoint before is unchanged, and is gone on from."""
    from sae_nb.training import _loop

    config = replace(SHORT, checkpoint=tmp_path, checkpoint_every=10)
    write = _loop.save_checkpoint

    def full(checkpoints: Checkpoints, state: dict[str, Any], *rest: Any) -> None:
        if state["step"] == 15:
            raise OSError(28, "No space left on device")
        write(checkpoints, state, *rest)

    monkeypatch.setattr(_loop, "save_checkpoint", full)
    says = r"could not be saved.*No space left.*goes on from step 10"
    interrupted(plain_sae(), rows, config, says, callbacks=stopping(15))
    monkeypatch.undo()
    again = quietly(plain_sae(), rows, config)
    assert same_weights(again.sae, quietly(plain_sae(), rows, SHORT).sae)


def test_interrupted_run_that_had_gone_astray_keeps_its_best_state(
    plain_sae: Any, rows: Tensor
) -> None:
    """With data that turn bad the loss rises, and the weights from before are put back."""
    sae, states = plain_sae(), {}

    def callback(record: TrainRecord) -> None:
        states[record.step] = {k: v.clone() for k, v in sae.state_dict().items()}
        if record.step == 60:
            raise KeyboardInterrupt

    def spoil(number: int, x: Tensor) -> Tensor:
        return x if number <= 40 else 10 * x.roll(number, dims=1)

    config = TrainConfig(steps=100, batch_size=512, log_every=5, warmup_steps=0)
    put_back, stream = r"the weights of step \d+ were put back", Stream(rows, spoil)
    result = interrupted(sae, stream, config, put_back, callbacks=callback)
    assert (result.steps, result.kept_step) == (60, 40)
    assert all(torch.equal(v, states[40][k]) for k, v in sae.state_dict().items())


def test_own_signal_handler_of_the_user_stays(plain_sae: Any, rows: Tensor) -> None:
    seen: list[int] = []

    def callback(record: TrainRecord) -> None:
        if record.step == 10:
            signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        result = quietly(plain_sae(), rows, callbacks=callback)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert seen == [signal.SIGINT]
    assert result.stopped is None


def test_train_works_outside_the_main_thread(plain_sae: Any, rows: Tensor) -> None:
    results: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thread = threading.Thread(target=lambda: results.append(quietly(plain_sae(), rows)))
        thread.start()
        thread.join(60)
    assert results[0].steps == 40
