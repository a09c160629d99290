"""A training's history stays true when it is thinned for drawing."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sae_nb.training import TrainingHistory, TrainingSummary, _history as history
from sae_nb.training._history import MotionTracker
from tests.left_out import numbers_left_out


def record(step: int, **given: object) -> SimpleNamespace:
    """A record as the training loop makes it, every field derived from the step."""
    fields = {
        "step": step,
        "steps": 10_000,
        "tokens": step * 256,
        "seconds": step * 0.01,
        "loss": 1.0 / step,
        "r2": 1.0 - 1.0 / step,
        "l0": 16.0,
        "dead_fraction": 0.25,
        "tokens_per_second": 25_600.0,
        "learning_rate": 1e-3,
    }
    return SimpleNamespace(**(fields | given))


def summary_of(
    records: list[SimpleNamespace], state: str = "done", **given: object
) -> TrainingSummary:
    """What a panel draws of records."""
    history = TrainingHistory()
    history.extend(records)
    return history.summary(state=state, **given)


def test_history_reads_only_what_is_new() -> None:
    """A second extend does not touch the records that were read before."""
    records = [record(i) for i in range(1, 101)]
    history = TrainingHistory()
    history.extend(records)
    records[0].loss = 99.0
    records.append(record(101))
    history.extend(records)
    summary = history.summary(state="running")
    assert (summary.n_records, summary.loss[0]) == (101, 1.0)


@pytest.mark.slow
def test_history_starts_over_when_the_list_was_replaced() -> None:
    """A list shorter than what was read belongs to a new training."""
    history = TrainingHistory()
    history.extend([record(i) for i in range(1, 101)])
    history.extend([record(1, loss=7.0)])
    assert history.summary(state="running").loss.tolist() == [7.0]


def test_time_left_is_the_recent_pace_and_ignores_a_pause() -> None:
    """One pause of an hour does not turn ten seconds into hours."""
    records = [record(i, seconds=i * 0.01 + (3600.0 if i > 9_985 else 0)) for i in range(1, 9_991)]
    summary = summary_of(records, state="running")
    assert summary.seconds_left == pytest.approx(0.1, rel=1e-3)


def test_best_step_is_where_r2_was_highest() -> None:
    """The best step is found in all records, not only in those drawn; NaN and one lucky batch never win."""
    records = [record(i, r2=0.5) for i in range(1, 5_001)]
    for lasting in records[1_229:1_234]:
        lasting.r2 = 0.9
    records[2_000].r2 = float("nan")
    records[3_000].r2 = 0.99
    assert summary_of(records, max_points=50).best_step == 1_230


def test_missing_fields_become_nan_and_no_records_are_no_error() -> None:
    """A record of another loop, and a run that has not begun, can be drawn."""
    bare = summary_of([SimpleNamespace(step=3, loss=0.5)])
    assert np.isnan(bare.r2).all()
    assert (bare.best_step, bare.tokens) == (None, 0)
    empty = summary_of([], state="running")
    assert (empty.last_step, empty.seconds, empty.seconds_left) == (0, 0.0, None)


@pytest.mark.parametrize(
    ("r2", "trend", "since"),
    [
        (lambda i: 1 - 0.5 * 0.99**i, "improving", None),
        (lambda i: 0.9, "flat", 1),
        (lambda i: min(0.9, i / 300), "flat", 261),
        (lambda i: 0.9 - i / 1000, "worsening", None),
        (lambda i: 0.9 + 0.02 * (-1) ** i, "flat", 1),  # batches differ
        (lambda i: math.nan, "unknown", None),
    ],
)
def test_what_r2_does_now_by_hand(
    r2: Callable[[int], float], trend: str, since: int | None
) -> None:
    """Flat is a level last fifth, by medians of twentieths; the noise of batches is no trend."""
    summary = summary_of([record(i, r2=r2(i), loss=1 - r2(i)) for i in range(1, 401)])
    assert (summary.trend, summary.flat_since) == (trend, since)


def test_a_gain_over_the_last_fifth_is_measured() -> None:
    """Medians of twentieths, measured: TopK, 512 atoms, k 16, seed 0, on tiny-vit/resid_post.6, 400 steps."""
    unexplained = [
        *(0.2644, 0.1071, 0.0812, 0.0689, 0.0615, 0.0573, 0.0548, 0.0524, 0.0507, 0.0483),
        *(0.0458, 0.0437, 0.0427, 0.0428, 0.0420, 0.0398, 0.0387, 0.0368, 0.0348, 0.0344),
    ]
    rows = [record(i, r2=1 - unexplained[(i - 1) // 20], loss=1.0) for i in range(1, 401)]
    summary = summary_of(rows)
    assert summary.trend == "improving"
    assert summary.gain == pytest.approx(0.0398 - 0.0344)
    assert summary_of(rows[:4]).trend == "unknown"
    assert math.isnan(summary_of(rows[:4]).gain)


def test_nothing_gets_worse_while_the_loss_falls() -> None:
    """Batches that vary less are harder to explain: R² falls, and a lower learning rate would not help."""
    r2 = [0.9 - i / 1000 for i in range(1, 401)]
    falling = [record(i, r2=x, loss=0.84 - 0.002 * i) for i, x in enumerate(r2, start=1)]
    rising = [record(i, r2=x, loss=0.05 + 0.002 * i) for i, x in enumerate(r2, start=1)]
    assert summary_of(falling).trend == "unknown"
    assert summary_of(rising).trend == "worsening"
    # Parts of 20 records: the last two are worse than the fifth last by a twentieth, whatever came before.
    for late, trend in (([1, 1.06, 1.07], "worsening"), ([1.07, 1, 1.06], "unknown")):
        parts = [0.2 * by for by in (*[2] * 15, 1, 1.2, *late)]
        rows = [record(i, r2=1 - parts[(i - 1) // 20], loss=1.0) for i in range(1, 401)]
        assert summary_of(rows).trend == trend


def test_the_verdict_is_of_rows_that_stay_the_same() -> None:
    """Batches say that it gets worse, the fixed rows that it improves: they decide, from twenty looks on."""
    rows = [record(i, r2=0.9 - i / 1000, loss=0.1 + i / 1000) for i in range(1, 401)]
    summary = summary_of(rows)
    assert summary.trend == "worsening"
    assert summary.r2_now == pytest.approx(0.9 - 0.398)  # the median of the last five
    few = summary.on_fixed_rows([(10, 0.5), (400, 0.8)])
    assert (few.r2_now, few.trend) == (0.8, "worsening")
    many = summary.on_fixed_rows([(20 * i, 1 - 0.9**i) for i in range(1, 21)])
    assert many.trend == "improving"
    # A fifth more is unexplained at the last three.
    worse = many.on_fixed_rows([(i, 0.9 if i < 18 else 0.88) for i in range(1, 21)])
    assert (worse.trend, worse.gain) == ("worsening", pytest.approx(-0.02))
    assert summary.on_fixed_rows([]) is summary


@pytest.mark.parametrize(
    ("best", "last", "batch", "held_out", "past"),
    [
        (79, 0.5, 0.9, True, True),
        (80, 0.5, 0.9, True, False),  # the last fifth
        (79, 0.65, 0.9, True, False),  # looks differ by as much
        (79, 0.5, 0.1, True, False),  # batches are no better explained either
        (79, 0.5, 0.9, False, False),
    ],
)
def test_training_is_past_its_best(
    best: int, last: float, batch: float, held_out: bool, past: bool
) -> None:
    """At `best` of 100 steps the rows that stay were explained by 0.8, then by steps of 0.2 or so less and more."""
    after = np.resize([0.6, 0.75], 100 - best)
    after[-1] = last
    looks = [*((i, 0.3 + i / 1000) for i in range(1, best)), (best, 0.8)]
    looks += zip(range(best + 1, 101), after.tolist(), strict=True)
    rows = [record(i, r2=0.5 if i <= best else batch) for i in range(1, 101)]
    assert summary_of(rows).on_fixed_rows(looks, held_out=held_out).past_best == past
    assert not summary_of(rows).on_fixed_rows(looks[-19:], held_out=held_out).past_best


@pytest.mark.parametrize(
    ("axis", "kept"), [("linear", [1, 2, 3, 9, 11, 12]), ("log", [1, 2, 3, 5, 9, 12])]
)
def test_extremes_of_every_stretch_are_drawn(axis: str, kept: list[int]) -> None:
    """Two stretches of twelve steps: to 6 and from 7, or on powers of ten to 3 and from 4 (√12 = 3.46)."""
    loss = [5.0, 1, 9, 4, 8, 5, 5, 5, 0, 5, 7, 5]
    records = [record(i, loss=one) for i, one in enumerate(loss, 1)]
    assert summary_of(records, max_points=6, axis=axis).step.tolist() == kept
    assert len(summary_of(records, max_points=12, axis=axis).step) == 12
    # A resumed training repeats steps, and a loss that is no number is the highest.
    again = [
        record(i, loss=one)
        for i, one in zip([1, 2, 3, 4, 2, 3, 5, 6], [1, 1, 1, 1, 1, 1, 2, math.nan])
    ]
    assert summary_of(again, max_points=4).step.tolist() == [1, 6]
    assert numbers_left_out(TrainingHistory.summary) == {"max_points": 600}


@pytest.mark.parametrize(
    ("left", "trend", "gain"),
    [
        ([1.0, 1.0, 1.0, 1.0], "unknown", math.nan),
        ([0.5, 0.4, 0.4, 0.4, 0.4], "improving", 0.1),
        ([9.0, 0.5, 0.4, 0.4, 0.4, 0.4], "improving", 0.1),
        ([0.5, 0.4, 0.4, 0.4, 0.476], "unknown", 0.024),
        ([0.5, 0.4, 0.4, 0.4, 0.474], "improving", 0.026),
        ([0.5, 0.5, 0.5, 0.5, 0.9], "unknown", -0.4),
        ([-0.5, 0, 0, 0, -0.53], "improving", 0.03),
        ([-0.5, 0, 0, 0, -0.52], "unknown", 0.02),
    ],
)
def test_early_only_a_clear_gain_over_five_records_counts(
    left: list[float], trend: str, gain: float
) -> None:
    """By more than 5 % of what was unexplained."""
    found = summary_of([record(i, r2=1 - one) for i, one in enumerate(left, 1)])
    assert (found.trend, found.flat_since) == (trend, None)
    assert found.gain == pytest.approx(gain, nan_ok=True)


def turned(*degrees: float) -> torch.Tensor:
    """Rows of lengths 1, 2, …, at these angles."""
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    length = torch.arange(1.0, len(degrees) + 1)[:, None]
    return length * torch.stack([angle.cos(), angle.sin()], dim=1).float()


def test_atoms_turn_by_degrees_per_hundred_steps() -> None:
    """10, 20, 30 and 40 degrees in fifty steps; half of them turn by 50 at most, nine tenths by 74."""
    motion = MotionTracker()
    assert motion.summary() is None
    motion.look(turned(0, 0, 0, 90), 100)
    assert motion.summary() is None
    motion.look(turned(10, -20, 30, 130), 150)
    motion.look(turned(0, 0, 0, 0), 150)  # the same step: nothing
    found = motion.summary()
    assert found is not None
    np.testing.assert_allclose(found.per_atom, [20, 40, 60, 80], rtol=1e-5)
    assert (found.step.tolist(), found.median.tolist()) == ([150], [pytest.approx(50)])
    assert found.p90.tolist() == [pytest.approx(74)]
    motion.look(turned(190, 160, 210, -50), 350)  # all the way round, in 200 steps
    found = motion.summary()
    np.testing.assert_allclose(found.per_atom, [90, 90, 90, 90], rtol=1e-4)
    assert found.step.tolist() == [150, 350]
    # Steps that go back, and another number of atoms, begin anew.
    motion.look(turned(0, 0, 0, 0), 50)
    motion.look(turned(0, 0, 0), 60)
    assert motion.summary().step.tolist() == [150, 350]
    motion.look(turned(5, 5, 5), 70)
    np.testing.assert_allclose(motion.summary().per_atom, [50, 50, 50], rtol=1e-4)


def test_of_a_large_dictionary_some_atoms_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second one where eight numbers are too many by four; of more than three looks every second is kept."""
    monkeypatch.setattr(history, "MOST_NUMBERS", 4)
    monkeypatch.setattr(history, "MOST_LOOKS", 3)
    motion = MotionTracker()
    for step in range(5):
        motion.look(turned(*[10.0 * step] * 4), step)
    found = motion.summary()
    np.testing.assert_allclose(found.per_atom, [1000, np.nan, 1000, np.nan], rtol=1e-4)
    assert found.step.tolist() == [1, 3]
    monkeypatch.setattr(history, "MOST_NUMBERS", 8)
    whole = MotionTracker()
    for step in (0, 1):
        whole.look(turned(*[10.0 * step] * 4), step)
    assert np.isfinite(whole.summary().per_atom).all()
