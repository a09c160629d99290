"""A killed training goes on bit-exactly, and a checkpoint of another run is refused by name."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from warm_python import WarmPython

import sae_nb as sn
from sae_nb.training import Checkpoints, TrainConfig, TrainResult, train

pytestmark = pytest.mark.slow

TIMES = {"seconds", "tokens_per_second"}


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        steps=40, batch_size=64, log_every=3, checkpoint=tmp_path / "run", checkpoint_every=10
    )


def quietly(sae: Any, data: Any, config: TrainConfig, **more: Any) -> Any:
    return train(sae, data, config, progress=False, **more)


def assert_same_run(one: TrainResult, other: TrainResult) -> None:
    pairs = zip(one.sae.state_dict().items(), other.sae.state_dict().items(), strict=True)
    for (name, a), (_, b) in pairs:
        assert torch.equal(a, b), name
    plain = [
        [{k: v for k, v in r.to_json().items() if k not in TIMES} for r in result.history]
        for result in (one, other)
    ]
    assert plain[0] == plain[1]
    assert (one.steps, one.tokens) == (other.steps, other.tokens)


@pytest.mark.parametrize("step", [3, 10, 29])
def test_resumed_run_equals_an_unbroken_one(
    plain_sae: Any, rows: Tensor, config: TrainConfig, step: int, killed: Any
) -> None:
    """Whatever the step it died at, weights, moments, silence and history end the same."""
    unbroken = quietly(plain_sae(), rows, dataclasses.replace(config, checkpoint=None))
    killed(plain_sae(), rows, config, step)
    # Once there is a checkpoint, the start of the SAE that is passed does not matter.
    resumed = quietly(plain_sae(seed=0 if step <= 10 else 99), rows, config)
    assert_same_run(resumed, unbroken)


def test_several_saes_resume_together(plain_sae: Any, rows: Tensor, config: TrainConfig) -> None:
    unbroken = quietly(
        [plain_sae(), plain_sae(k=3)], rows, dataclasses.replace(config, checkpoint=None)
    )
    pair = [plain_sae(), plain_sae(k=3)]
    original, done = pair[1].after_optimiser_step, []

    def strike() -> None:
        original()
        done.append(1)
        if len(done) == 25:
            raise MemoryError("struck")

    pair[1].after_optimiser_step = strike
    with pytest.raises(MemoryError):
        quietly(pair, rows, config)
    for one, other in zip(
        quietly([plain_sae(), plain_sae(k=3)], rows, config), unbroken, strict=True
    ):
        assert_same_run(one, other)


def test_randomness_of_the_architecture_resumes_too(
    plain_sae: Any, rows: Tensor, config: TrainConfig, killed: Any
) -> None:
    """Dropout drawn from torch's global generator is what an unbroken run would have drawn."""

    class Dropping(plain_sae):
        def codes(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(super().codes(x), 0.3, training=self.training)

    torch.manual_seed(5)
    unbroken = quietly(Dropping(), rows, dataclasses.replace(config, checkpoint=None))
    torch.manual_seed(5)
    killed(Dropping(), rows, config, 27)
    torch.manual_seed(6)
    assert_same_run(quietly(Dropping(), rows, config), unbroken)


def test_interrupted_run_goes_on_from_its_last_step(
    plain_sae: Any, rows: Tensor, config: TrainConfig
) -> None:
    unbroken = quietly(plain_sae(), rows, dataclasses.replace(config, checkpoint=None))

    def callback(record: Any) -> None:
        if record.step == 24:
            raise KeyboardInterrupt

    sae = plain_sae()
    with pytest.raises(KeyboardInterrupt, match="The same call goes on from step 24") as stop:
        quietly(sae, rows, config, callbacks=callback)
    first = stop.value.result  # type: ignore[attr-defined]
    assert first.steps == 24
    second = quietly(sae, rows, config)
    assert second.history[: len(first.history)] == first.history
    assert_same_run(second, unbroken)


def test_training_from_a_stream_resumes_bit_exactly(
    plain_sae: Any, rows: Tensor, config: TrainConfig, killed: Any
) -> None:
    import sae_nb as sn

    model = sn.wrap(nn.Sequential(nn.Linear(8, 12), nn.Tanh()))

    def stream() -> Any:
        return sn.stream(model, rows, model.hook_points()[0], buffer=100)

    unbroken = quietly(plain_sae(12), stream(), dataclasses.replace(config, checkpoint=None))
    killed(plain_sae(12), stream(), config, 17)
    resumed = quietly(plain_sae(12), stream(), config)
    assert_same_run(resumed, unbroken)
    assert resumed.sae.hook_point == model.hook_points()[0]


def test_finished_run_returns_at_once(plain_sae: Any, rows: Tensor, config: TrainConfig) -> None:
    first = quietly(plain_sae(), rows, config)
    again = plain_sae(seed=99)
    again.training_loss = lambda *_: pytest.fail("trained")
    second = quietly(again, rows, config)
    assert_same_run(second, first)
    assert second.history == first.history
    assert second.seconds >= first.history[-1].seconds
    assert not second.sae.training


def test_more_steps_go_on_from_the_end(plain_sae: Any, rows: Tensor, config: TrainConfig) -> None:
    """With `steps` grown the finished run continues, under the longer schedule, and says so."""
    quietly(plain_sae(), rows, config)
    longer = dataclasses.replace(config, steps=60)
    result = quietly(plain_sae(), rows, longer)
    assert result.steps == 60
    assert [(c.step, c.name, c.value) for c in result.changes] == [(40, "steps", 60)]
    assert [r.step for r in result.history][-1] == 60
    at_42 = next(r for r in result.history if r.step == 42)
    assert at_42.learning_rate == 0.01  # the plateau again
    with pytest.raises(ValueError, match=r"`steps` must be at least the 60 .* got 40"):
        quietly(plain_sae(), rows, config)


def test_afresh_replaces_the_old_run(plain_sae: Any, rows: Tensor, config: TrainConfig) -> None:
    """resume=False takes nothing from the folder, and leaves only its own checkpoint."""
    quietly(plain_sae(), rows, config)
    other = dataclasses.replace(config, seed=8, steps=20)
    fresh = quietly(plain_sae(), rows, other, resume=False)
    assert_same_run(fresh, quietly(plain_sae(), rows, dataclasses.replace(other, checkpoint=None)))
    assert_same_run(quietly(plain_sae(), rows, other), fresh)
    assert sorted(path.name for path in Path(config.checkpoint).iterdir()) == [
        "checkpoint.json",
        "step-00000020",
    ]


def test_live_changes_are_part_of_a_checkpoint(
    plain_sae: Any, rows: Tensor, config: TrainConfig
) -> None:
    from sae_nb.training._loop import Training

    def changed(sae: Any, config: TrainConfig, die_at: int | None) -> Any:
        training = Training(sae, rows, config)

        def callback(record: Any) -> None:
            if record.step == 15:
                training.set(learning_rate=0.03, k=3)
            if record.step == die_at:
                training.control.stop("stopped")

        training.callbacks.append(callback)
        training.run()
        return training.results()[0]

    unbroken = changed(plain_sae(), dataclasses.replace(config, checkpoint=None), None)
    sae = plain_sae()
    assert changed(sae, config, 27).stopped == "stopped"
    for again in (plain_sae(), sae):  # built as before, or the very object
        resumed = quietly(again, rows, dataclasses.replace(config, steps=40))
        assert_same_run(resumed, unbroken)
        assert resumed.changes == unbroken.changes
        assert again.k == 3


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed was 0, this call has 1"),
        ({"dead_after_tokens": 7}, "dead_after_tokens was None, this call has 7"),
    ],
)
def test_other_settings_are_refused_by_name(
    plain_sae: Any, rows: Tensor, config: TrainConfig, change: dict[str, Any], message: str
) -> None:
    quietly(plain_sae(), rows, config)
    sae = plain_sae()
    with pytest.raises(ValueError, match=message):
        quietly(sae, rows, dataclasses.replace(config, **change))
    assert not sae.initialised
    assert quietly(sae, rows, TrainConfig(steps=1)).steps == 1  # it is free again


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"k": 3}, "the SAE's k was 2, this call has 3"),
        ({"n_atoms": 20}, "the SAE's n_atoms was 16, this call has 20"),
    ],
)
def test_another_sae_is_refused_by_name(
    plain_sae: Any, rows: Tensor, config: TrainConfig, given: dict[str, int], message: str
) -> None:
    quietly(plain_sae(), rows, config)
    with pytest.raises(ValueError, match=message):
        quietly(plain_sae(**given), rows, config)
    with pytest.raises(ValueError, match="the number of SAEs was 1, this call has 2"):
        quietly([plain_sae(), plain_sae()], rows, config)


def test_another_architecture_is_refused_by_name(rows: Tensor, config: TrainConfig) -> None:
    quietly(sn.TopK(8, 16, 2), rows, config)
    with pytest.raises(ValueError, match="the SAE's class was 'TopK', this call has 'BatchTopK'"):
        quietly(sn.BatchTopK(8, 16, 2), rows, config)


def test_other_data_are_refused(plain_sae: Any, rows: Tensor, config: TrainConfig) -> None:
    quietly(plain_sae(), rows, config)
    with pytest.raises(ValueError, match="the data's rows_sha256 was"):
        quietly(plain_sae(), rows + 1, config)
    with pytest.raises(ValueError, match="the data's rows was 512, this call has 511"):
        quietly(plain_sae(), rows[1:], config)


def test_settings_of_no_consequence_may_change(
    plain_sae: Any, rows: Tensor, config: TrainConfig
) -> None:
    quietly(plain_sae(), rows, config)
    other = dataclasses.replace(config, log_every=7, checkpoint_every=13, device="cpu")
    assert quietly(plain_sae(), rows, other).steps == 40


def test_a_pointer_to_a_missing_step_is_named(
    plain_sae: Any, rows: Tensor, config: TrainConfig
) -> None:
    """The pointer is the file to mend, not the folder that it names; without `resume` training starts afresh."""
    quietly(plain_sae(), rows, config)
    pointer = Path(config.checkpoint) / "checkpoint.json"
    pointer.write_text(
        json.dumps(json.loads(pointer.read_text("utf-8")) | {"latest": "step-00000041"})
    )
    with pytest.raises(FileNotFoundError, match=r"checkpoint\.json'.*'step-00000041' is missing"):
        quietly(plain_sae(), rows, config)
    assert train(plain_sae(), rows, config, progress=False, resume=False).steps == 40


def test_folder_with_other_files_is_refused_before_any_work(
    plain_sae: Any, rows: Tensor, config: TrainConfig
) -> None:
    folder = Path(config.checkpoint)
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match=r"holds 'thesis\.txt'"):
        quietly(plain_sae(), rows, config)
    file = dataclasses.replace(config, checkpoint=folder / "thesis.txt")
    with pytest.raises(FileExistsError, match="is a file"):
        quietly(plain_sae(), rows, file)
    assert (folder / "thesis.txt").read_text() == "precious"


def test_checkpoint_holds_no_pickle(plain_sae: Any, rows: Tensor, config: TrainConfig) -> None:
    quietly(plain_sae(), rows, config)
    files = [path for path in Path(config.checkpoint).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    for path in files:
        head = path.read_bytes()
        if path.suffix == ".json":
            json.loads(head)
        else:
            assert head[8:9] == b"{"


# kill -9

KILLED_EVERYWHERE = """
import os, pathlib, shutil, signal, sys
import torch
sys.path.insert(0, {tests!r})
from conftest import PlainSae
from sae_nb.training import TrainConfig, train

torch.set_num_threads(1)
torch.optim.Adam([torch.zeros(1)])  # what it imports on first use is then shared by the children
rows = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
folder = pathlib.Path({folder!r})
quick = dict(steps=5, batch_size=16, log_every=2, checkpoint_every=2)
os.fsync = lambda handle: None  # a killed process loses nothing that the system has: only speed

def result(checkpoint=None):
    sae = PlainSae()
    done = train(sae, rows, TrainConfig(**quick, checkpoint=checkpoint), progress=False)
    numbers = [(r.step, r.loss, r.r2, r.dead_fraction) for r in done.history]
    return [tensor.tolist() for tensor in sae.state_dict().values()], numbers

def counted(events, name):
    original = getattr(events["where"][name], name)
    def call(*args, **kwargs):
        if events["left"] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        events["left"] -= 1
        return original(*args, **kwargs)
    setattr(events["where"][name], name, call)

def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return os.waitpid(pid, 0)[1]

def run_until(moment):
    where = dict(fsync=os, replace=pathlib.Path, rename=pathlib.Path, rmtree=shutil,
                 step=torch.optim.Adam, write_bytes=pathlib.Path)
    events = dict(left=moment, where=where)
    for name in where:
        counted(events, name)
    result(folder / str(moment))

def check(moment):
    if result(folder / str(moment)) != unbroken:
        os._exit(3)
    left = sorted(path.name for path in (folder / str(moment)).iterdir())
    if left != ["checkpoint.json", "step-00000005"]:
        os._exit(4)

unbroken = result()
moment, killed = 0, 0
while True:
    status = child(lambda: run_until(moment))
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    killed += 1
    status = child(lambda: check(moment))
    assert status == 0, (moment, os.WEXITSTATUS(status))
    shutil.rmtree(folder / str(moment))
    moment += 1
print("killed", killed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_at_every_file_operation_and_step_resumes_bit_exactly(
    warm_python: WarmPython, tmp_path: Path
) -> None:
    """SIGKILL before each fsync, rename, removal, write and optimiser step in turn: the same call
    always ends with the weights and the history of an unbroken run, and leaves nothing partial."""
    script = KILLED_EVERYWHERE.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    done = warm_python.run(script, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) > 60


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """Held by a process that is killed, the folder is free at once."""
    checkpoints = Checkpoints(tmp_path / "run")
    held, give = os.pipe()
    child = os.fork()
    if child == 0:
        checkpoints.hold()
        os.write(give, b"x")
        while True:
            time.sleep(60)
    assert os.read(held, 1) == b"x"
    with pytest.raises(ValueError, match="one training at a time"):
        Checkpoints(tmp_path / "run").hold()
    os.kill(child, 9)
    os.waitpid(child, 0)
    checkpoints.hold()
    checkpoints.release()
