"""What workers pass on, how data are cut and known again, and what a run tells, by hand."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.temporal import SequenceRows, Sequences
from sae_nb.training import (
    Checkpoints,
    Team,
    TrainConfig,
    TrainRecord,
    TrainResult,
    _learner as learning,
    _loop as loop,
    _process_group as process_group,
    train,
)
from sae_nb.training._checkpoint import check_same_run
from sae_nb.training._config import chosen_config
from sae_nb.training._control import Control
from sae_nb.training._learner import Learner
from sae_nb.training._loop import Training
from sae_nb.training._process_group import current_team
from sae_nb.training._records import History, Listeners, show
from sae_nb.training._sources import TrainingData, _check_sites, fingerprint, sites_of

# Workers


class Dist:
    """What `torch.distributed` does, between threads of one process."""

    def __init__(self, size: int) -> None:
        self.own, self.board = threading.local(), {}
        self.barrier = threading.Barrier(size, timeout=60).wait

    def _everyones(self, tensor: Tensor) -> list[Tensor]:
        self.board[self.own.rank] = tensor.clone()
        self.barrier()
        found = [self.board[rank] for rank in sorted(self.board)]
        self.barrier()
        return found

    def all_reduce(self, tensor: Tensor) -> None:
        tensor.copy_(torch.stack(self._everyones(tensor)).sum(dim=0))

    def broadcast(self, tensor: Tensor, src: int) -> None:
        tensor.copy_(self._everyones(tensor)[src])

    def all_gather(self, parts: list[Tensor], tensor: Tensor) -> None:
        for part, one in zip(parts, self._everyones(tensor), strict=True):
            part.copy_(one)

    def get_backend(self) -> str:
        return "gloo"


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    def run(work: Callable[[Team], Any], size: int = 3) -> list[Any]:
        dist = Dist(size)
        monkeypatch.setattr(process_group, "dist", dist)

        def as_rank(rank: int) -> Any:
            dist.own.rank = rank
            return work(Team(rank, size))

        with ThreadPoolExecutor(size) as pool:
            return list(pool.map(as_rank, range(size)))

    return run


def test_workers_have_consecutive_parts() -> None:
    parts = [Team(rank, 3).part(10) for rank in range(3)]
    assert parts == [slice(0, 3), slice(3, 6), slice(6, 10)]
    assert (Team().is_first, Team(1, 2).is_first, Team().alone, Team(0, 2).alone) == (
        True, False, True, False,
    )  # fmt: skip


def test_what_workers_pass_on_adds_up(together: Callable[..., list[Any]]) -> None:
    """Ranks 0, 1 and 2: sums are 3, means 1; what was passed in stays where a sum is returned."""

    def work(team: Team) -> None:
        mine = torch.full((2,), float(team.rank))
        assert team.sum(mine).tolist() == [3, 3]
        assert mine.tolist() == [team.rank] * 2
        a, b = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(1))
        a.grad, b.grad = torch.full((2, 2), team.rank * 2.0), torch.tensor([team.rank - 5.0])
        team.sum_gradients([a, nn.Parameter(torch.ones(3)), b])
        assert a.grad.tolist() == [[6, 6], [6, 6]]
        assert b.grad.tolist() == [-12]
        floats, whole = torch.tensor([team.rank, 3.0]), torch.tensor([team.rank])
        team.average([floats, whole])
        assert floats.tolist() == [1, 3]
        assert whole.tolist() == [team.rank]
        module = nn.Linear(2, 1)
        module.register_buffer("on", torch.tensor(team.is_first))
        nn.init.constant_(module.weight, team.rank + 7.0)
        team.share([*module.parameters(), *module.buffers()])
        assert module.weight.tolist() == [[7, 7]]
        assert bool(module.on)
        assert [part.tolist() for part in team.exchange(mine)] == [[0, 0], [1, 1], [2, 2]]
        assert team.gather(team.rank * 2) == [0, 2, 4]
        assert team.all(mine=True)
        assert not team.all(mine=team.rank != 1)
        sent = torch.tensor([float(team.rank)])
        team.send(sent, source=2)
        assert sent.tolist() == [2]

    together(work)


@pytest.mark.parametrize("as_mask", [True, False])
def test_the_first_worker_resamples_for_all(
    as_mask: bool, together: Callable[..., list[Any]]
) -> None:
    """As a mask of the atoms with a row each, or as numbers with their own rows."""

    def work(team: Team) -> Any:
        atoms = torch.tensor([1, 3]) + (0 if team.is_first else 1)
        directions = torch.arange(10.0).view(5, 2)[atoms]
        if as_mask:
            mask = torch.zeros(5, dtype=torch.bool)
            mask[atoms] = True
            atoms, directions = mask, torch.arange(10.0).view(5, 2)
        found = team.of_first((atoms, directions), torch.zeros(1, 2))
        nothing = (atoms[:0], directions[:0]) if not as_mask else (atoms & False, directions)
        none = team.of_first(nothing if team.is_first else (atoms, directions), torch.zeros(1, 2))
        late = team.of_first((atoms, directions) if team.is_first else None, torch.zeros(1, 2))
        return found, none, late

    for found, none, late in together(work):
        for atoms, directions in (found, late):
            assert atoms.tolist() == [1, 3]
            assert directions.tolist() == [[2, 3], [6, 7]]
        assert none is None


def test_torchrun_without_joining_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert current_team() == Team()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert current_team() == Team()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with pytest.raises(RuntimeError, match="2 processes"):
        current_team()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert current_team() == Team()


# Data


def rows(n: int, samples: int) -> Activations:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return Activations.from_tensor(x, sample=torch.arange(n) * samples // n)


def data_of(acts: Any) -> TrainingData:
    return TrainingData(acts, [sn.TopK(4, 8, 2)])


@pytest.mark.parametrize(
    ("n", "samples", "share", "held"),
    [
        (320, 10, None, 32),
        (319, 10, None, None),
        (320, 9, None, None),
        (320, 10, 0.0, None),
        (40, 4, 0.5, 20),
        (40, 2, 0.5, 20),
    ],
)
def test_a_tenth_of_many_samples_is_kept_out(
    n: int, samples: int, share: float | None, held: int | None
) -> None:
    """Of 320 rows of ten samples, or as many as are asked for."""
    data = data_of(rows(n, samples))
    found = data.hold_out(share)
    assert (None if found is None else len(found)) == held
    assert data.n_rows == len(data.source) == n - (held or 0)
    if found is not None:
        assert not set(found.sample.tolist()) & set(data.source.sample.tolist())


@pytest.mark.parametrize(
    ("held_out", "n_rows", "resume", "kept"),
    [
        (None, 17, True, 0.0),
        (None, 18, True, None),
        (None, 17, False, None),
        (0.25, 17, True, 0.25),
    ],
)
def test_a_training_of_all_rows_goes_on_with_all_rows(
    tmp_path: Any, held_out: Any, n_rows: int, resume: bool, kept: Any
) -> None:
    """A checkpoint of 17 rows; without one nothing is known of it."""
    (tmp_path / "30").mkdir()
    (tmp_path / "30" / "state.json").write_text('{"identity": {"the data\'s rows": 17}}')
    data = SimpleNamespace(n_rows=n_rows, hold_out=lambda share: share)
    run: Any = SimpleNamespace(checkpoints=SimpleNamespace(folder=tmp_path), data=data)
    assert Training._hold_out(run, held_out, resume) == held_out
    (tmp_path / "checkpoint.json").write_text('{"latest": "30"}')
    assert Training._hold_out(run, held_out, resume) == kept


def test_rows_held_out_have_the_width_of_the_data() -> None:
    rows = Activations.from_tensor(torch.ones(3, 4))
    run: Any = SimpleNamespace(data=SimpleNamespace(source=SimpleNamespace(d_in=4)))
    assert Training._hold_out(run, rows, False) is rows
    run.data.source.d_in = 5
    with pytest.raises(ValueError, match="d_in=5, got d_in=4"):
        Training._hold_out(run, rows, False)


def test_rows_of_several_sites_side_by_side_are_as_wide_as_these() -> None:
    """Sites of 4 and 16 numbers: 20 in a row, and no other number of them."""
    sae = sn.UniversalSAE([4, 16], 8, 2)
    for d in (20, 19, 21):
        source = Activations.from_tensor(torch.ones(3, d))
        if d == 20:
            _check_sites(sae, source)
            continue
        with pytest.raises(ValueError, match=f"must be a list for UniversalSAE.*of width {d}"):
            _check_sites(sae, source)
    two = SimpleNamespace(sites=(4, 16), d_in=20)
    _check_sites(sn.Crosscoder([4, 16], 8, 2), two)
    with pytest.raises(ValueError, match=r"one hook point for TopK.* got 2 of widths \[4, 16\]"):
        _check_sites(sn.TopK(4, 8, 2), two)
    with pytest.raises(ValueError, match="must be two things for Transcoder"):
        _check_sites(sn.Transcoder(4, 16, 8, 2), Activations.from_tensor(torch.ones(3, 20)))


def test_time_in_which_a_training_pauses_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 10 to 13.5 seconds, and from 20 to 21; a turn that waits for nothing counts nothing."""
    control: Any = Control()
    with control.turn() as goes_on:
        assert (goes_on, control.paused_seconds) == (True, 0)
    clock = iter([10.0, 13.5, 20.0, 21.0])
    monkeypatch.setattr("sae_nb.training._control.time.perf_counter", lambda: next(clock))
    for total in (3.5, 4.5):
        answers, waits = iter([False, True]), iter([False, True])
        control._go = SimpleNamespace(
            is_set=answers.__next__, wait=lambda _, waits=waits: next(waits)
        )
        with control.turn() as goes_on:
            assert (goes_on, control.paused_seconds) == (True, total)


@pytest.mark.parametrize(("largest", "said"), [(-2e12, "diverged"), (5e11, "a plain error")])
def test_what_cannot_be_computed_of_absurd_weights_has_diverged(largest: float, said: str) -> None:
    """From 10¹² on, of either sign; a worker of three counts silence by a third of the rows."""
    asked: list[Any] = []

    def fail(x: Tensor, silent: Tensor, after: int, fraction: float) -> None:
        asked.append((silent.tolist(), after, fraction))
        raise RuntimeError("a plain error")

    one: Any = SimpleNamespace(
        number=3, log=None, shard=None,
        schedule=SimpleNamespace(steps=4), team=Team(0, 3), sae=SimpleNamespace(training_loss=fail),
        dead=SimpleNamespace(silent_tokens=torch.tensor([7, 9]), dead_after_tokens=10),
        parameters=[torch.ones(2), torch.tensor([1.0, largest])],
        _diverged=lambda *_: FloatingPointError("diverged"),
    )  # fmt: skip
    with pytest.raises((RuntimeError, FloatingPointError), match=said):
        Learner.loss(one, torch.ones(2, 2))
    one.dead.dead_after_tokens = 2
    with pytest.raises((RuntimeError, FloatingPointError), match=said):
        Learner.loss(one, torch.ones(2, 2))
    assert asked == [([2, 3], 3, 0.75), ([2, 3], 1, 0.75)]


def test_one_sample_cannot_be_cut_in_two() -> None:
    with pytest.raises(ValueError, match="`held_out`"):
        data_of(rows(40, 1)).hold_out(0.5)
    with pytest.raises(ValueError, match="at least two rows"):
        data_of(rows(1, 1))


def test_rows_are_known_again_by_64_of_them() -> None:
    """Of 130 rows the first, the last, and every 129/63-th; of fewer all."""
    for n in (130, 64, 10):
        acts = rows(n, 5)
        picked = [int(i * (n - 1) / (min(n, 64) - 1) + 1e-9) for i in range(min(n, 64))]
        facts = fingerprint(acts)
        seen = acts.x.as_subclass(Tensor)[picked].contiguous().numpy().tobytes()
        assert facts["rows_sha256"] == hashlib.sha256(seen).hexdigest()
        assert (facts["rows"], facts["d_in"]) == (n, 4)
    sequences = Sequences(torch.ones(3, 5, 4))
    lengths = hashlib.sha256(b"5,5,5").hexdigest()
    assert fingerprint(sequences)["sequences"] == lengths
    assert sites_of(SimpleNamespace(d_in=7)) == (7,)


def test_every_worker_needs_a_part_of_a_batch() -> None:
    data = data_of(rows(3, 3))
    assert [data.rows_of_batch(n) for n in (2, 3, 9)] == [2, 3, 3]
    assert data.check_team(Team(0, 3), 9).size == 3
    with pytest.raises(ValueError, match="at least the number of workers, 4, got 3"):
        data.check_team(Team(0, 4), 9)
    first = next(data.batches(torch.device("cpu"), TrainConfig(batch_size=2, seed=5), 1))
    expected = data.source.batches(2, seed=5, start=1)
    assert torch.equal(first, next(expected))


# Settings and runs


@pytest.mark.parametrize(
    ("n", "epochs", "said"),
    [
        (100, 3, "100 rows are 2 steps of batch_size=64, so epochs=3 is steps=6"),
        (64, 2, "64 rows are 1 step of batch_size=64, so epochs=2 is steps=2"),
        (65, 1, "65 rows are 2 steps of batch_size=64, so epochs=1 is steps=2"),
        (65, -1, "One step reads a batch of 64 rows"),
    ],
)
def test_epochs_are_told_in_steps(n: int, epochs: int, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        chosen_config(None, {"batch_size": 64, "epochs": epochs}, torch.zeros(n, 4))


def test_a_resampled_atom_starts_without_memories() -> None:
    """Of a matrix its row, of a vector its number; by mask and by number."""
    for resampled in (torch.tensor([False, True, False]), torch.tensor([1])):
        parameters = [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(3))]
        state = {p: {n: torch.ones_like(p) for n in ("exp_avg", "exp_avg_sq")} for p in parameters}
        learner = SimpleNamespace(
            sae=SimpleNamespace(
                resampled=resampled, atom_parameters=lambda of=parameters: [*of, object()]
            ),
            optimiser=SimpleNamespace(state=state),
        )
        Learner._forget_resampled(learner)  # type: ignore[arg-type]
        matrix, vector = (state[p] for p in parameters)
        for name in ("exp_avg", "exp_avg_sq"):
            assert matrix[name].tolist() == [[1, 1], [0, 0], [1, 1]]
            assert vector[name].tolist() == [1, 0, 1]


def test_several_saes_have_each_its_own_numbers(plain_sae: Any, rows: Tensor) -> None:
    first, second = plain_sae(), plain_sae()
    second.penalty = 0.5
    run = sn.start_training([first, second], rows, steps=2, batch_size=16, learning_rate=0.25)
    run.wait(60)
    assert [run.live()["penalty"], run.live(1)["penalty"], run.live(-1)["penalty"]] == [0, 0.5, 0.5]
    assert run.live()["learning_rate"] == 0.25
    assert torch.equal(run.snapshot().bias, first.bias)
    assert torch.equal(run.snapshot(1).bias, second.bias)
    assert run.frequency(1).shape == (16,)
    assert run.n_rows + len(run.held_out) == len(rows)


def test_a_run_that_goes_on_longer_says_so(plain_sae: Any, rows: Tensor, tmp_path: Any) -> None:
    """Rows and records go on, and time does; the number of steps is noted where it is another."""
    how = {"batch_size": 16, "log_every": 1, "progress": False, "checkpoint": tmp_path / "c"}
    first = train(plain_sae(), rows, steps=2, **how)
    assert first.changes == ()
    same = train(plain_sae(), rows, steps=2, **how)
    assert (same.changes, same.tokens, len(same.history)) == ((), 32, 2)
    longer = train(plain_sae(), rows, steps=3, **how)
    assert [(c.step, c.name, c.value) for c in longer.changes] == [(2, "steps", 3)]
    assert (longer.tokens, longer.steps, longer.kept_step) == (48, 3, 3)
    began = [record.seconds for record in first.history]
    assert [record.seconds for record in longer.history[:2]] == began
    assert longer.history[2].seconds > began[1] > began[0] > 0
    speeds = [record.tokens_per_second for record in longer.history]
    before = [0.0, *(record.seconds for record in longer.history)]
    for i, speed in enumerate(speeds[:2]):
        assert speed == pytest.approx(16 / (before[i + 1] - before[i]), rel=1e-6)


def record_of(step: int, **numbers: float) -> TrainRecord:
    plain: dict[str, Any] = dict.fromkeys(
        ("loss", "r2", "l0", "dead_fraction", "gradient_norm", "learning_rate"), 0.5
    )
    plain |= {"steps": 9, "tokens": 10 * step, "tokens_per_second": 1.0, "seconds": 1.0}
    return TrainRecord(step=step, parts={"a": 2.0}, **(plain | numbers))


def test_a_result_tells_its_last_record() -> None:
    history = History(
        [record_of(1, r2=0.1, l0=7.0, loss=4.0), record_of(5, r2=0.82, l0=3.04, loss=2.5)]
    )
    result = TrainResult(
        sae=sn.TopK(2, 4, 1), history=history, config=TrainConfig(steps=9), steps=5, kept_step=5,
        tokens=50, seconds=4.0, n_massive=3,
    )  # fmt: skip
    assert repr(result) == (
        "TrainResult(TopK, steps=5 of 9, r2=0.820, l0=3.0, tokens_per_second=12, n_massive=3)"
    )
    assert "loss 4 to 2.5, r2 0.100 to 0.820" in repr(history)
    assert "steps 1 to 5" in repr(history)
    assert history.table["parts.a"].tolist() == [2, 2]
    assert history.table.index.tolist() == [1, 5]
    assert [history.measured(step) and history.measured(step)["r2"] for step in (0, 1, 4, 5, 9)] == [
        None, 0.1, 0.1, 0.82, 0.82,
    ]  # fmt: skip
    empty = replace(result, history=History(), seconds=0.0, n_massive=0)
    assert "r2" not in repr(empty)
    assert "n_massive" not in repr(empty)
    assert empty.tokens_per_second != empty.tokens_per_second
    never = record_of(2, r2=float("nan"))
    assert never.to_json()["r2"] is None
    assert TrainRecord.from_json(never.to_json()).l0 == 0.5


def test_a_bar_shows_the_newest_record_of_every_sae() -> None:
    shown: list[Any] = []
    bar = SimpleNamespace(
        set_postfix=lambda numbers, refresh: shown.append(numbers), update=shown.append
    )
    show([record_of(3, loss=1.25, r2=0.5)], bar, 2)
    show([record_of(3, loss=1.25), record_of(3, loss=0.123456)], bar, 7)
    assert shown == [
        {"loss": 1.25, "R²": 0.5, "L0": 0.5, "dead": 0.5},
        2,
        {"loss": "1.25 0.123", "R²": "0.5 0.5", "L0": "0.5 0.5", "dead": "0.5 0.5"},
        7,
    ]


def test_callbacks_that_raise_are_dropped() -> None:
    seen: list[int] = []

    def bad(_: Any) -> None:
        raise ValueError("no")

    callbacks = Listeners([bad, lambda record: seen.append(record.step)])
    with pytest.warns(UserWarning, match="at step 4"):
        callbacks.tell(record_of(4))
    callbacks.tell(record_of(5))
    assert (seen, len(callbacks)) == ([4, 5], 1)


@pytest.mark.parametrize(
    ("first", "last", "warns"),
    [(0.5, -0.1, True), (-0.5, -0.4, False), (-0.5, -0.6, True), (0.5, 0.0, False)],
)
def test_a_training_below_the_mean_and_its_beginning_warns(
    first: float, last: float, warns: bool, recwarn: pytest.WarningsRecorder
) -> None:
    history = [record_of(1, r2=first, learning_rate=0.1), record_of(2, r2=last, learning_rate=0.02)]
    learners = [SimpleNamespace(history=history), SimpleNamespace(history=[])]
    Training.warn_of_divergence(SimpleNamespace(learners=learners))  # type: ignore[arg-type]
    assert len(recwarn) == warns
    assert not warns or "than 0.1" in str(recwarn[0].message)


def test_memory_of_a_step_is_told_by_rows_and_by_parameters(
    plain_sae: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row: six times its width and eight numbers an entry; a parameter: gradient and two moments."""
    asked: list[Any] = []
    monkeypatch.setattr(
        learning,
        "explain_out_of_memory",
        lambda _w, _x, row, _i, *, besides: asked.append((row, besides)),
    )
    sae = plain_sae()
    learner = Learner(sae, TrainConfig(steps=2), rows=16)
    x, numbers = torch.zeros(5, 8), 16 * 8 * 2 + 8
    learner.explain_out_of_memory(x)
    sae.encoder.grad = torch.zeros(16, 8)
    learner.explain_out_of_memory(x)
    del sae.k
    learner.explain_out_of_memory(x)
    assert asked == [
        (4 * (48 + 16), 4 * numbers * 3),
        (4 * (48 + 16), 4 * numbers * 2),
        (4 * (48 + int(8 * 16 / 20)), 4 * numbers * 2),
    ]
    assert (learner.dead_after, learner.dead.dead_after_tokens) == (320, 320)


def test_a_worker_trains_on_its_part_of_a_batch() -> None:
    x = torch.arange(10.0)[:, None]

    def part(team: Team, shard_atoms: bool = False) -> tuple[list[float], float]:
        training = SimpleNamespace(team=team, config=SimpleNamespace(shard_atoms=shard_atoms))
        mine, share = Training._my_part(training, x)  # type: ignore[arg-type]
        return mine[:, 0].tolist(), share

    assert part(Team(1, 3)) == ([3, 4, 5], 0.3)
    assert part(Team(2, 3)) == ([6, 7, 8, 9], 0.4)
    assert part(Team(2, 3), shard_atoms=True) == (list(range(10)), 1)
    assert part(Team()) == (list(range(10)), 1)


def test_weights_come_before_the_losses_of_workers_are_added(
    rows: Tensor, together: Callable[..., list[Any]]
) -> None:
    """Three workers with 5, 5 and 6 of 16 rows take the step of one with all of them, and record it."""

    def made() -> Any:
        return sn.TopK(8, 16, 2, generator=torch.Generator().manual_seed(0)).train()

    x = rows[:16]
    alone = Learner(made(), TrainConfig(steps=4, gradient_clip=0.5), rows=16)
    alone.begin(rows, 0)
    times = {"step": 1, "tokens": 16, "tokens_per_second": 1.0, "seconds": 1.0}
    expected = alone.record(alone.step(x, 0, rows=16, share=1.0), times)

    def work(team: Team) -> TrainRecord:
        learner = Learner(made(), TrainConfig(steps=4, gradient_clip=0.5), rows=16, team=team)
        learner.begin(rows, 0)
        mine = x[team.part(16)]
        share = len(mine) / 16
        found = learner.record(learner.step(mine, 0, rows=16, share=share), times, share)
        for name, value in alone.sae.state_dict().items():
            torch.testing.assert_close(learner.sae.state_dict()[name], value, atol=1e-5, rtol=1e-4)
        assert learner.dead.frequency.tolist() == pytest.approx(alone.dead.frequency.tolist())
        return found

    for found in together(work):
        for name in ("loss", "r2", "l0", "dead_fraction", "gradient_norm", "learning_rate"):
            assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-3), name
        assert found.parts == pytest.approx(expected.parts, rel=1e-4)


def test_a_record_counts_dead_atoms_and_sums_of_the_batch(plain_sae: Any, rows: Tensor) -> None:
    sae = plain_sae()
    learner = Learner(sae, TrainConfig(steps=4, dead_after_tokens=100), rows=16)
    learner.dead.silent_tokens += 90
    taken = learner.step(rows[:16], 0, rows=16, share=1.0)
    times = {"step": 1, "tokens": 16, "tokens_per_second": 1.0, "seconds": 1.0}
    record = learner.record(taken, times)
    silent = ~(taken.loss.codes.to_dense() != 0).any(dim=0)
    assert record.dead_fraction == pytest.approx(float(silent.float().mean()))
    assert 0 < record.dead_fraction < 1
    assert (record.steps, record.sae, record.step) == (4, 0, 1)
    assert learner.last["loss"] == record.loss == pytest.approx(float(taken.loss.total.detach()))


def test_parameters_of_the_whole_rate_come_first() -> None:
    """Attention of a temporal SAE takes a share; the rate of each group is that of the step by its share."""
    sae = sn.Temporal(4, 8, 2, generator=torch.Generator().manual_seed(0)).train()
    learner = Learner(sae, TrainConfig(steps=10, learning_rate=0.5, warmup_steps=4), rows=6)
    first, second = learner.optimiser.param_groups
    attention = {id(p) for p in sae.attn_layers.parameters()}
    assert {id(p) for p in second["params"]} == attention
    assert (first["share"], second["share"]) == (1, next(iter(sae.learning_rate_shares().values())))
    x = SequenceRows.of(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), [2, 4])
    learner.step(x, 0, rows=6, share=1.0)
    assert first["lr"] == pytest.approx(0.5 / 5)
    assert second["lr"] == pytest.approx(0.5 / 5 * second["share"])
    assert float(learner.optimiser.state[first["params"][0]]["step"]) == 1


@pytest.mark.parametrize(
    ("sae", "name", "good", "bad"),
    [
        (sn.TopK(4, 8, 2), "k", (1, 8), (0, 9, 1.5)),
        (sn.BatchTopK(4, 8, 2.5), "k", (0.5, 8), (0, 8.5)),
        (sn.ReLU(4, 8), "sparsity", (0, 7), (-0.1, math.inf)),
        (sn.JumpReLU(4, 8, l0=2), "l0", (0.5, 8), (0, 9)),
        (sn.TopK(4, 8, 2), "learning_rate", (1e-9, 3), (0, -1, math.inf)),
    ],
    ids=str,
)
def test_live_numbers_have_their_ranges(sae: Any, name: str, good: Any, bad: Any) -> None:
    learner = Learner(sae, TrainConfig(steps=2), rows=16)
    for value in good:
        learner.set(name, value)
        assert learner.live()[name] == value
    for value in bad:
        with pytest.raises((ValueError, TypeError), match=name):
            learner.set(name, value)
    assert learner.live()[name] == good[-1]


@pytest.mark.parametrize(
    ("stopped", "kept", "saved", "words"),
    [
        (
            "interrupted",
            {},
            None,
            ["was interrupted after step 3 of 9", "`sn.interrupted()`", "`checkpoint=`"],
        ),
        (
            "data ended",
            {},
            None,
            ["ran out of data after step 3 of 9", "weights of that step", "read again"],
        ),
        ("data ended", {0: 2}, 1, ["weights of step 2 were put back", "goes on from step 1"]),
    ],
)
def test_an_end_says_where_it_goes_on(
    stopped: str, kept: dict[int, int], saved: int | None, words: list[str]
) -> None:
    training: Any = SimpleNamespace(
        stopped=stopped, kept=kept, step=3, config=TrainConfig(steps=9), _saved=saved, _not_saved=[],
        checkpoints=Checkpoints("f"),
    )  # fmt: skip
    said = Training.ending(training)
    assert all(one in said for one in words)
    assert ("interrupted" in said) == (stopped == "interrupted")


# Steps


class Steps:
    """A learner that notes what is asked of it; its log is full after the second step."""

    def __init__(self) -> None:
        self.log, self.plateau, self.index = (
            SimpleNamespace(full=False),
            SimpleNamespace(waited=0),
            0,
        )
        self.shard, self.asked = None, list[tuple[Any, ...]]()

    def step(self, batch: Tensor, number: int, rows: int, share: float) -> str:
        self.log.full = number == 1
        self.plateau.waited = number
        return f"taken {number} of {len(batch)}, {rows}, {share:g}"

    def record(self, taken: str, times: dict[str, float], share: float) -> None:
        self.asked.append((taken, times["step"], times["tokens"], share))

    def catch_up(self, captured_at: str) -> None:
        self.asked.append(("read",))

    def place(self, x: Tensor) -> Tensor:
        return x

    def cut(self) -> None:
        pass

    def explain_out_of_memory(self, batch: Tensor) -> Any:
        return nullcontext()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A training of seven steps of four rows, of which none is learned; at 20 on the clock it began at 5."""
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: 20.0))
    found: Any = object.__new__(Training)
    found.config = TrainConfig(steps=7, batch_size=4, log_every=3, checkpoint_every=2)
    found.team = SimpleNamespace(alone=True, all=lambda mine: mine)
    found.control = SimpleNamespace(
        turn=lambda: nullcontext(True), stop_reason=None, paused_seconds=3.0
    )
    found.learners, found.data = [Steps()], SimpleNamespace(captured_at="")
    found.step = found.tokens = found.n_massive = 0
    found.kept, found.stopped, found._started, found._mark = {}, None, 5.0, (0, 2.0)
    found.done = []
    found._batches = lambda: iter([torch.ones(4, 2)] * 7)
    found._publish = lambda bar: found.done.append(("published", found.step))
    found._save = lambda: found.done.append(("saved", found.step))
    return found


def test_the_first_step_every_third_and_the_last_are_recorded(steps: Any) -> None:
    assert steps._steps(None) is None
    (learner,) = steps.learners
    assert [one for one in learner.asked if one != ("read",)] == [
        (f"taken {n} of 4, 4, 1", n + 1, 4 * (n + 1), 1.0) for n in (0, 2, 5, 6)
    ]
    assert learner.asked.index(("read",), 2) == 2  # the log was full between two records
    assert learner.asked.count(("read",)) == 5
    told = {kind: [step for one, step in steps.done if one == kind] for kind, _ in steps.done}
    assert told == {"published": [1, 3, 6, 7], "saved": [2, 4, 6, 7]}
    assert (steps.step, steps.tokens, steps._torn) == (7, 28, False)


def test_steps_end_with_the_data_a_plateau_or_a_stop(steps: Any) -> None:
    steps._batches = lambda: iter([torch.ones(4, 2)] * 5)
    assert (steps._steps(None), steps.step) == ("data ended", 5)
    assert steps._measured(SimpleNamespace(index=0, history=History())) == {"steps": 5}
    steps.stopped, steps.kept = "data ended", {0: 3}
    wanted = {"steps": 3, "of_steps": 7}
    assert steps._measured(SimpleNamespace(index=0, history=History())) == wanted
    steps.config = replace(steps.config, stop_on_plateau=3, steps=99)
    steps.learners[0].plateau.waited, steps.step = 2, 2
    assert (steps._steps(None), steps.step) == ("plateau", 4)
    steps.step, steps.control.stop_reason = 0, "stopped"
    steps.learners[0].plateau.waited = 0
    assert (steps._steps(None), steps.step) == ("stopped", 1)


def test_rows_in_a_second_are_those_since_the_last_record(steps: Any) -> None:
    """20 − 5 on the clock, 3 of them paused, and 2 at the last record: 10 seconds for 26 + 4 − 10 rows."""
    assert steps._elapsed() == 12
    steps.step, steps.tokens, steps._mark = 6, 26, (10, 2.0)
    assert steps._times(4) == {"step": 7, "tokens": 30, "tokens_per_second": 2, "seconds": 12}


def test_rows_of_a_massive_norm_are_counted_and_left_out(steps: Any) -> None:
    x = torch.ones(40, 4)
    x[[3, 9]] = 1e4
    for n in (2, 4):
        assert steps._without_massive(x).shape == (38, 4)
        assert steps.n_massive == n
    assert steps._without_massive(x[10:]).shape == (30, 4)
    steps.learners[0].n_massive = 7
    assert steps._n_massive == 11


def test_an_option_that_a_checkpoint_does_not_know_had_its_default() -> None:
    """A version that adds an option continues the runs of the version before."""
    config = TrainConfig(steps=30)
    older = config.to_json()
    del older["precision"]
    saved = {"config": older, "identity": {}, "identity_now": {}, "step": 3}
    check_same_run(saved, {}, config, Path("run"))
    with pytest.raises(ValueError, match="precision was 'auto', this call has 'float32'"):
        check_same_run(saved, {}, replace(config, precision="float32"), Path("run"))
    saved |= {"identity": {"k": 2}, "identity_now": {"k": 3}}  # as it began, as it was saved
    for k in (2, 3):
        check_same_run(saved, {"k": k}, config, Path("run"))
    with pytest.raises(ValueError, match="k was 2, this call has 4"):
        check_same_run(saved, {"k": 4}, config, Path("run"))
