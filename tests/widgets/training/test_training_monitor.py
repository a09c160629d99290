"""TrainingMonitor follows a training without getting in its way, and its hands work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.panel import descendants
from sae_nb_widgets.training import _tracking
from sae_nb_widgets.training._figure import map_title, training_figure
from sae_nb_widgets.training._tracking import SHARE_OF_TIME, Redraws, track

import sae_nb as sn
from sae_nb.activations import Activations, Context
from sae_nb.summaries import Probe
from tests.widgets.made import Held, soon


def record(step: int, steps: int = 100, **given: Any) -> SimpleNamespace:
    """A record as the training loop makes it."""
    fields = {
        "step": step,
        "steps": steps,
        "tokens": step * 256,
        "seconds": step * 0.01,
        "loss": 1.0 / step,
        "r2": 1.0 - 1.0 / step,
        "l0": 16.0,
        "dead_fraction": 0.25,
        "tokens_per_second": 25_600.0,
        "learning_rate": 1e-3,
        "sae": 0,
    }
    return SimpleNamespace(**(fields | given))


class FakeRun:
    """A TrainingRun whose steps a test takes by hand."""

    def __init__(self, name: str = "TopK", n_saes: int = 1) -> None:
        made = type(name, (), {"n_atoms": 8, "k": 2, "hook_point": "resid_post.1"})
        saes = [made() for _ in range(n_saes)]
        for sae in saes:
            sae.recipe = lambda: SimpleNamespace(learning_rate=2e-3)
        self.sae = saes[0] if n_saes == 1 else saes
        self.histories: list[list[SimpleNamespace]] = [[] for _ in range(n_saes)]
        self.config = SimpleNamespace(learning_rate=None, steps=100)
        self.changes: tuple[SimpleNamespace, ...] = ()
        self.state, self.error, self.calls = "running", None, []
        self.callbacks: list[Callable[[Any], None]] = []

    def take(self, step: int, **given: Any) -> None:
        for index, history in enumerate(self.histories):
            history.append(record(step, sae=index, **given))
            for callback in tuple(self.callbacks):
                callback(history[-1])

    def add_callback(self, callback: Callable[[Any], None]) -> None:
        self.callbacks.append(callback)

    def remove_callback(self, callback: Callable[[Any], None]) -> None:
        if callback in self.callbacks:
            self.callbacks.remove(callback)

    def frequency(self, index: int = 0) -> torch.Tensor:
        return torch.tensor([0.5, 0.0, 0.1, 0.2, 0.0, 0.05, 0.3, 0.01])

    def pause(self) -> None:
        self.calls.append("pause")
        self.state = "paused"

    def resume(self) -> None:
        self.calls.append("resume")
        self.state = "running"

    def stop(self) -> None:
        self.calls.append("stop")
        self.state = "done"

    def set(self, **numbers: float) -> None:
        if self.state == "done":
            raise RuntimeError(
                "Numbers can be changed while a training runs, but this one is done."
            )
        self.calls.append(("set", numbers))
        self.changes += tuple(SimpleNamespace(name=n, value=v, step=0) for n, v in numbers.items())


@pytest.fixture
def run() -> FakeRun:
    """A run with three records."""
    made = FakeRun()
    for step in (1, 2, 3):
        made.take(step)
    return made


@pytest.fixture
def monitor(run: FakeRun) -> sw.TrainingMonitor:
    """A monitor of that run."""
    panel = sw.TrainingMonitor(run, interval=0.01)
    return panel


def drawn(panel: sw.TrainingMonitor, axis: str = "y") -> np.ndarray:
    """Values of the first curve on an axis, as on screen."""
    trace = next(trace for trace in panel.current_figure().data if trace.yaxis == axis)
    return np.asarray(trace.y)


# --- drawing --------------------------------------------------------------------------------------


def test_curves_show_the_records(monitor: sw.TrainingMonitor) -> None:
    """R², loss and dead atoms on screen are those of the records, shares in percent."""
    np.testing.assert_allclose(drawn(monitor, "y"), [0, 50, 200 / 3], rtol=1e-6)
    np.testing.assert_allclose(drawn(monitor, "y2"), [1, 1 / 2, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(drawn(monitor, "y3"), [25, 25, 25])


def test_three_curves_at_first_sight_the_rest_when_asked_for(monitor: sw.TrainingMonitor) -> None:
    """Speed, learning rate, strip and map are hidden until `everything` is set."""
    layout, height = monitor._picture.layout, monitor._picture.layout.height
    axes = [f"yaxis{i or ''}" for i in ("", *range(2, 8))]
    assert [layout[axis].visible for axis in axes] == [True] * 3 + [False] * 4
    assert [note.text for note in layout.annotations][3:] == [""] * 7
    monitor.everything = True
    assert [layout[axis].visible for axis in axes] == [True] * 7
    assert monitor._picture.layout.height > 2 * height


def test_new_records_are_drawn_without_being_asked(
    run: FakeRun, monitor: sw.TrainingMonitor
) -> None:
    """A record that arrives in another thread appears by itself."""
    threading.Thread(target=run.take, args=(4,)).start()
    assert soon(lambda: "Step 4 of 100" in monitor.status)
    assert len(drawn(monitor)) == 4


def test_last_state_is_drawn_when_the_run_ends(run: FakeRun, monitor: sw.TrainingMonitor) -> None:
    """The end of a run shows although no record announces it, and the thread then rests."""
    run.take(5)
    run.state = "done"
    assert soon(lambda: monitor.status.startswith("Ended early, after 5 of 100"))
    assert len(drawn(monitor)) == 4
    assert soon(lambda: not monitor.following)


class Clock:
    """A clock that a test moves: whoever asks how long the process has worked finds it further on."""

    def __init__(self, step: float = 0.0) -> None:
        self.worked, self.step = 0.0, step

    def thread_time(self) -> float:
        return self.worked

    def process_time(self) -> float:
        self.worked += self.step
        return self.worked

    def monotonic(self) -> float:
        return 0.0


def test_many_records_are_few_redraws(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for during a redraw is one redraw, after the interval."""
    monkeypatch.setattr(_tracking, "POLL_SECONDS", 60.0)  # it draws because it is asked
    done: list[str] = []
    drawing, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def draw() -> bool:
        done.append("draw")
        drawing.release()
        return go_on.acquire(timeout=60)

    def interval() -> float:
        done.append("interval")
        return 0.0

    redraws = Redraws(draw, interval, busy=lambda: False)
    redraws.ask()
    assert drawing.acquire(timeout=60)
    for _ in range(1000):
        redraws.ask()
    go_on.release(2)
    assert drawing.acquire(timeout=60)
    assert not drawing.acquire(timeout=0.2)
    redraws.close()
    assert done == ["draw", "interval"] * 2


def test_slow_redraws_come_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a training runs, drawing takes no more than its share of the processor time."""
    clock, began, cost = Clock(step=0.01), list[float](), 1.0
    monkeypatch.setattr(_tracking, "time", clock)
    monkeypatch.setattr(_tracking, "POLL_SECONDS", 0.0)

    def draw() -> bool:
        began.append(clock.worked)
        clock.worked += cost
        return len(began) < 4

    redraws = Redraws(draw, lambda: 0.0)
    assert soon(lambda: not redraws.alive)
    assert len(began) == 4
    assert np.diff(began).min() >= cost / SHARE_OF_TIME


def test_ended_training_is_not_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once nothing runs, the last state comes after the interval, however slow drawing is."""
    clock, n_drawn = Clock(), 0
    monkeypatch.setattr(_tracking, "time", clock)  # that stands still: who waits for it never draws

    def draw() -> bool:
        nonlocal n_drawn
        n_drawn += 1
        clock.worked += 3600.0
        return n_drawn < 2

    redraws = Redraws(draw, lambda: 0.01, busy=lambda: False)
    assert soon(lambda: not redraws.alive)
    assert n_drawn == 2


def test_strip_sorts_atoms_and_shows_dead_ones_hollow(monitor: sw.TrainingMonitor) -> None:
    """Living atoms come by falling frequency, dead ones after them with a hollow marker."""
    alive, dead = (trace for trace in monitor.current_figure().data if trace.yaxis == "y7")
    assert list(alive.customdata) == [0, 6, 3, 2, 5, 7]
    np.testing.assert_allclose(alive.y, [50, 30, 20, 10, 5, 1], rtol=1e-6)
    assert sorted(dead.customdata) == [1, 4]
    assert (alive.marker.symbol, dead.marker.symbol) == ("circle", "circle-open")
    assert max(dead.y) < min(alive.y)


def test_best_r2_is_marked(run: FakeRun, monitor: sw.TrainingMonitor) -> None:
    """The star stands at the highest R² of all records."""
    run.take(4, r2=0.99)
    run.take(5, r2=0.1)
    monitor.refresh()
    scatters = (tr for tr in monitor.current_figure().data if tr.type == "scatter")
    star = next(tr for tr in scatters if tr.marker.symbol == "star")
    assert (list(star.x), star.y[0]) == ([4], pytest.approx(99))


def test_log_steps_change_the_axis_and_nothing_else(monitor: sw.TrainingMonitor) -> None:
    """The trait moves every step axis."""
    monitor.log_x = True
    layout = monitor.current_figure().layout
    assert {layout[f"xaxis{i or ''}"].type for i in ("", 2, 3, 4, 5, 6)} == {"log"}
    assert layout.xaxis7.type != "log"
    assert len(drawn(monitor)) == 3


def test_a_redraw_is_a_small_message() -> None:
    """One redraw of a run of 20 000 records sends less than 100 kB of arrays."""
    panel = sw.TrainingMonitor([record(i, 20_000) for i in range(1, 20_001)])
    arrays = [v for tr in panel.current_figure().data for v in (tr.x, tr.y) if v is not None]
    assert sum(np.asarray(values).nbytes for values in arrays) < 100_000


# --- several runs ---------------------------------------------------------------------------------


def test_several_runs_are_overlaid_with_a_legend() -> None:
    """Each run has its own colour, and the legend names every run once, escaped."""
    panel = sw.TrainingMonitor({"<b>a</b>": [record(1)], "b": [record(1), record(2)]})
    named = [trace for trace in panel.current_figure().data if trace.showlegend]
    assert [trace.name for trace in named] == ["&lt;b&gt;a&lt;/b&gt;", "b"]
    assert named[0].line.color != named[1].line.color
    assert set(panel.record) == {"<b>a</b>", "b"}


def test_saes_on_the_same_batches_have_curves_of_their_own() -> None:
    """One run of two SAEs gives two curves per plot."""
    run = FakeRun(n_saes=2)
    run.take(1)
    panel = sw.TrainingMonitor(run)
    assert len([tr for tr in panel.current_figure().data if tr.yaxis == "y2"]) == 2
    assert len(panel.record) == 2
    interleaved = sw.TrainingMonitor([record(i, sae=s) for i in (1, 2) for s in (0, 1)])
    assert [len(tr.y) for tr in interleaved.current_figure().data if tr.yaxis == "y2"] == [2, 2]


def test_controls_act_on_the_chosen_run_alone() -> None:
    """`acts_on` chooses; -1 is all."""
    runs = [FakeRun("TopK"), FakeRun("ReLU")]
    panel = sw.TrainingMonitor(runs)
    panel.acts_on = 1
    panel.pause()
    assert [run.calls for run in runs] == [[], ["pause"]]
    panel.acts_on = -1
    panel.stop()
    assert [run.calls for run in runs] == [["stop"], ["pause", "stop"]]
    with pytest.raises(t.TraitError, match=r"one of 2 runs, counted from 0, or -1 for all, got 2"):
        panel.acts_on = 2


# --- hands ----------------------------------------------------------------------------------------


def test_buttons_pause_resume_and_stop(run: FakeRun, monitor: sw.TrainingMonitor) -> None:
    """Buttons call the run, and only those that make sense can be pressed."""
    for name, can_next in (("pause", {"resume"}), ("resume", {"pause"}), ("stop", set())):
        assert not monitor.buttons[name].disabled
        monitor.buttons[name].click()
        monitor.wait()
        assert run.calls[-1] == name
        enabled = {other for other, button in monitor.buttons.items() if not button.disabled}
        assert enabled == (can_next | {"stop"} if can_next else set())


def test_learning_rate_acts_on_the_run(run: FakeRun, monitor: sw.TrainingMonitor) -> None:
    """It begins at the recipe's, without setting it, and a change sets the run's."""
    assert monitor.learning_rate == pytest.approx(2e-3)
    assert run.calls == []
    monitor.learning_rate = 5e-4
    monitor.wait()
    assert run.calls == [("set", {"learning_rate": 5e-4})]


def test_slider_follows_a_change_made_elsewhere(run: FakeRun, monitor: sw.TrainingMonitor) -> None:
    """`run.set` in a cell moves the slider, and the slider does not set it again."""
    run.set(learning_rate=7e-5)
    run.take(4)
    monitor.refresh()
    assert monitor.learning_rate == pytest.approx(7e-5)
    assert len(run.calls) == 1


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_learning_rate_is_refused(
    bad: float, run: FakeRun, monitor: sw.TrainingMonitor
) -> None:
    """Before it reaches the run."""
    with pytest.raises(t.TraitError, match="must be positive and finite"):
        monitor.learning_rate = bad
    assert run.calls == []


def test_a_refused_number_of_a_running_training_goes_back() -> None:
    """Its field says the rule by its own name; what the training has is what it shows."""
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    run = sn.start_training(
        sn.TopK(d_in=8, n_atoms=16, k=2), x, sn.TrainConfig(steps=10**6, batch_size=32)
    )
    panel = sw.TrainingMonitor(run)
    panel.pause()
    field = next(one for one in panel.controls.live if one.description == "k")
    for typed in ("-3", "9999", "2.5", ""):
        field.value = typed
        assert field.value == "2"
        assert panel.status.startswith("k: whole numbers from 1 to 16;")
        assert panel.status.endswith("It stays at 2.")
    field.value = "3"
    panel.wait()
    assert (run.sae.k, panel.k, field.value) == (3, 3, "3")
    run.set(k=4)
    panel.refresh()
    assert (panel.k, field.value) == (4, "4")
    run.stop()
    run.wait(60)
    assert soon(lambda: not panel.following)
    panel.k = 5  # nobody listens any more
    panel.wait()
    assert "this one is done" in panel.status
    assert (panel.k, run.sae.k) == (4, 4)


def test_the_answer_says_what_was_learned_in_words() -> None:
    """What the curve does and what to do; share of the variance, atoms at a time, dead atoms."""
    rows = [record(i, r2=min(0.93, i / 50), l0=8.0, dead_fraction=0.02) for i in range(1, 101)]
    panel = sw.TrainingMonitor(rows)
    assert panel.answer == (
        "Flat since step 46: longer would hardly help. After 100 steps the SAE explains 93 % of the "
        "variance with 8 atoms at a time; 2 % of its atoms are dead."
    )
    assert "R² 0.930 (best at step 47)" in panel.numbers
    assert panel.status == "Done: 100 steps in 1.0\u2009s."
    untrained = sw.TrainingMonitor([record(1, r2=-0.5, dead_fraction=0.0)])
    assert "explains none of the variance yet with 16 atoms at a time" in untrained.answer
    assert "no atom is dead" in untrained.answer
    waiting = sw.TrainingMonitor([])
    assert waiting.answer == ""


def test_parts_that_show_one_of_several_runs_say_which() -> None:
    """The answer names the best run; map, motion and atoms that of the run that is chosen."""
    runs = {"small": FakeRun("TopK"), "<b>": FakeRun("ReLU")}
    runs["small"].take(1, r2=0.4)
    runs["<b>"].take(1, r2=0.6)
    panel = sw.TrainingMonitor(runs)
    assert panel.answer == (
        "Best of 2: <b> explains 60 % of the variance with 16 atoms at a time (small: 40 %). No clear "
        "trend yet: let it run on."
    )
    assert "&lt;b&gt;" in panel._answer_text.value
    title = panel.current_figure().layout.annotations[8].text
    assert map_title("frequency", "<b>").endswith("<br>run &lt;b&gt;")
    assert title in ("", map_title("frequency", "small"))
    panel.acts_on = 1
    assert panel._shown() == 1


def test_the_answer_says_what_is_to_be_done(run: FakeRun, monitor: sw.TrainingMonitor) -> None:
    """While it runs: wait, let it run on, stop it, or lower the learning rate."""
    assert monitor.answer.startswith("No clear trend yet: let it run on. After 3 steps")
    for i in range(4, 41):
        run.take(i, r2=i / 50)
    monitor.refresh()
    assert monitor.answer.startswith("Still improving: let it run on. After 40 steps")
    for i in range(41, 101):
        run.take(i, r2=0.975)
    monitor.refresh()
    assert monitor.answer.startswith("Flat since step")
    assert ": it can stop. After 100 steps" in monitor.answer
    for i in range(101, 131):
        run.take(i, r2=0.9 - i / 1000, loss=0.1 + i / 1000)
    monitor.refresh()
    assert monitor.answer.startswith("Getting worse: try a lower learning rate. After 130 steps")


def test_a_gain_that_nobody_sees_is_a_slow_one(run: FakeRun, monitor: sw.TrainingMonitor) -> None:
    """A curve from .968 to .975 looks flat: the sentence says by how much it still rises."""
    for i in range(4, 41):
        run.take(i, r2=1 - 1 / i)
    monitor.refresh()
    said = "Improving slowly, lately by 0.64 % of the variance: let it run on."
    assert monitor.answer.startswith(said)


def test_stop_without_a_run_says_what_to_do() -> None:
    """Finished records have no hands."""
    panel = sw.TrainingMonitor([record(1)])
    with pytest.raises(RuntimeError, match=r"Start one with sn\.start_training"):
        panel.stop()


# --- the real thing ---------------------------------------------------------------------------------


def test_real_run_is_followed_to_its_end() -> None:
    """Paused, tuned, resumed and ended: the panel shows what the run did, to the last record."""
    x = torch.randn(512, 16, generator=torch.Generator().manual_seed(0))
    # The first record waits for the panel, and the panel for it: neither may be over before the other.
    begun, made = threading.Event(), threading.Event()

    def meet(_: Any) -> None:
        begun.set()
        made.wait(60)

    run = sn.start_training(
        sn.TopK(d_in=16, n_atoms=32, k=4),
        x,
        sn.TrainConfig(steps=400, batch_size=64, log_every=10),
        callbacks=meet,
    )
    panel = sw.TrainingMonitor(run, interval=0.01)
    assert begun.wait(60)
    made.set()
    panel.pause()
    assert run.state == "paused"
    assert panel.status.startswith("Paused at step")
    panel.learning_rate = 2e-4
    panel.wait()
    assert [(change.name, change.value) for change in run.changes] == [("learning_rate", 2e-4)]
    panel.resume()
    result = run.wait(120)
    assert soon(lambda: not panel.following)
    assert panel.status.startswith("Done: 400 steps")
    assert panel.record.last_step == 400
    np.testing.assert_allclose(drawn(panel, "y")[-1], 100 * result.history[-1].r2, rtol=1e-5)
    assert panel.record.frequency.shape == (32,)


def test_a_drawing_under_way_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """`refresh` returns with the picture on screen, also when another thread is still drawing it."""
    records = [record(step, steps=4) for step in range(1, 4)]
    panel = sw.TrainingMonitor(records)
    panel.detach()
    slow = Held(panel._draw_figure)
    monkeypatch.setattr(panel, "_draw_figure", slow)
    records.append(record(4, steps=4))
    first, second = (threading.Thread(target=panel.refresh, daemon=True) for _ in range(2))
    first.start()
    assert slow.begun.wait(30)
    second.start()
    second.join(0.3)
    assert second.is_alive()
    slow.go.set()
    second.join(30)
    assert not second.is_alive()
    assert panel.record.last_step == 4
    first.join(30)


def test_real_failure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that breaks leaves its reason in the status line."""
    sae = sn.TopK(d_in=16, n_atoms=32, k=4)
    whole = sae.training_loss

    def breaking(x: Any, silent: Any, dead_after: int, fraction: float) -> Any:
        if fraction >= 0.5:
            raise RuntimeError("the lights went out")
        return whole(x, silent, dead_after, fraction)

    monkeypatch.setattr(sae, "training_loss", breaking)
    run = sn.start_training(sae, torch.randn(64, 16), sn.TrainConfig(steps=40, batch_size=32))
    panel = sw.TrainingMonitor(run, interval=0.01)
    assert soon(lambda: run.state == "failed")
    panel.wait()
    assert panel.problem
    assert "the lights went out" in panel.status


def test_train_takes_the_monitor_as_a_callback() -> None:
    """`sn.train(…, callbacks=monitor)` in a cell is drawn while the cell runs."""
    panel = sw.TrainingMonitor(interval=0.01)
    assert panel.status == "Waiting for the first record."
    saes = [sn.TopK(d_in=16, n_atoms=32, k=k) for k in (2, 4)]
    x = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    config = sn.TrainConfig(steps=60, batch_size=64)
    results = sn.train(saes, x, config, callbacks=panel, progress=False)
    panel.wait()
    assert panel.status == "All 2 runs finished."
    assert [len(result.history) for result in results] == [
        summary.n_records for summary in panel.record.values()
    ]


# --- endings --------------------------------------------------------------------------------------


def test_failed_run_says_why_in_one_sentence(run: FakeRun, monitor: sw.TrainingMonitor) -> None:
    """The error is one line in the status line, marked as a problem, and inert."""
    run.error = FloatingPointError("The loss must stay finite,\n but is nan. <script>x</script>")
    run.state = "failed"
    assert soon(lambda: monitor.problem)
    assert "failed after step 3: The loss must stay finite, but is nan." in monitor.status
    assert "\n" not in monitor.status
    assert not [w for w in descendants(monitor) if "<script>" in str(getattr(w, "value", ""))]


def test_closing_leaves_the_run_alone(run: FakeRun) -> None:
    """After close nothing listens any more, and the run goes on."""
    panel = sw.TrainingMonitor(run)
    assert len(run.callbacks) == 1
    panel.close()
    panel.close()
    assert run.callbacks == []
    assert run.calls == []
    run.take(9)


def test_detached_monitor_does_not_draw_until_attached(run: FakeRun) -> None:
    """Detaching stops the redraws; attaching takes them up."""
    panel = sw.TrainingMonitor(run, interval=0.01)
    panel.detach()
    run.take(4)
    assert run.callbacks == []
    assert len(drawn(panel)) == 3
    panel.attach()
    assert soon(lambda: len(drawn(panel)) == 4)


@pytest.mark.parametrize("bad", [3, "run", [record(1), 3]])
def test_what_is_no_training_is_refused(bad: Any) -> None:
    """With what is possible instead."""
    with pytest.raises(
        TypeError, match=r"`run` must be a TrainingRun, a TrainResult, a list of rec"
    ):
        sw.TrainingMonitor(bad)


def test_figure_is_a_pure_function_of_its_summaries(monitor: sw.TrainingMonitor) -> None:
    """A figure made at once equals the one that was updated in place."""
    whole = training_figure([monitor.record])
    for ours, theirs in zip(whole.data, monitor.current_figure().data, strict=True):
        np.testing.assert_array_equal(ours.y, theirs.y)


# --- atoms while they are learned -----------------------------------------------------------------


@pytest.fixture(scope="module")
def digits_run() -> Iterator[Any]:
    """A TopK SAE that learns 8 × 8 digits, and has ended."""
    x = torch.as_tensor(sn.data.digits().images[:300]).flatten(1).float() / 255
    sae = sn.TopK(d_in=64, n_atoms=40, k=4, generator=torch.Generator().manual_seed(0))
    run = sn.start_training(sae, x, sn.TrainConfig(steps=10**6, batch_size=64, seed=0))
    yield run
    run.stop()
    run.wait(60)


def test_gallery_of_pixels_is_the_dictionary_now(digits_run: Any) -> None:
    """The pictures are the atoms as they are, and they change while the training goes on."""
    panel = sw.TrainingMonitor(digits_run, picture_shape=(8, 8), interval=0.05)
    assert soon(lambda: panel._gallery.gallery is not None, seconds=40)
    digits_run.pause()
    panel.refresh()
    first = panel._gallery.gallery
    rows = digits_run.sae.dictionary[list(first.atoms)]
    np.testing.assert_allclose(first.rows, rows.detach().numpy(), atol=1e-6)
    assert len(panel._gallery.grid.captions) == 24
    assert panel._gallery.grid.atoms == list(
        panel._gallery.gallery.atoms
    )  # pointing shows the card
    assert panel._gallery.grid.description == (
        "24 atoms, as images (bar: share of rows on which it fires)"
    )
    assert panel._gallery.grid.places[0] == panel.names.in_text(first.atoms[0]) == "atom 0"
    sprite, step = panel._gallery.grid.sprite, digits_run.step
    digits_run.resume()
    assert soon(lambda: digits_run.step > step + 20, seconds=40)
    assert soon(lambda: panel._gallery.grid.sprite != sprite, seconds=40)
    assert not panel.problem


def test_map_and_motion_are_of_the_run(digits_run: Any) -> None:
    """One cell per atom, dead ones are gaps; the curves of motion have a point per look."""
    panel = sw.TrainingMonitor(digits_run, interval=0.02)
    step = digits_run.step
    assert soon(lambda: digits_run.step > step + 20, seconds=40)
    assert soon(lambda: panel.record.motion is not None, seconds=40)
    digits_run.pause()
    panel.refresh()
    figure, summary = panel.current_figure(), panel.record
    cells = np.asarray(figure.data[0].z, dtype=float).ravel()
    assert np.isfinite(cells).sum() == int((summary.frequency > 0).sum())
    np.testing.assert_allclose(figure.data[1].y, summary.motion.median)
    assert (summary.motion.p90 >= summary.motion.median).all()
    panel.map_by = "motion"
    turned = np.asarray(panel.current_figure().data[0].z, dtype=float).ravel()
    per_atom = summary.motion.per_atom
    np.testing.assert_allclose(turned[: len(per_atom)], per_atom, atol=6e-4)
    assert figure.layout.yaxis9.visible is False
    digits_run.resume()


def test_gallery_of_activations_shows_where_atoms_fire() -> None:
    """On pictures the heat is the code; the SAE is left in the mode it was in."""
    pictures = torch.randint(0, 255, (3, 3, 8, 8), dtype=torch.uint8)
    context = Context(kind="vision", n_samples=3, pictures=pictures, patch_grid=(2, 2))
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    sample, position = torch.arange(3).repeat_interleave(4), torch.arange(4).repeat(3)
    acts = Activations(x, sample=sample, position=position, context=context)
    sae = sn.TopK(d_in=6, n_atoms=10, k=3, generator=torch.Generator().manual_seed(0)).train()
    gallery = Probe(acts).gallery(sae, (2, 5))
    codes = sae.encode(x).to_dense().abs()
    best = codes[:, 2].argmax()
    picture = int(sample[best])
    np.testing.assert_array_equal(gallery.pictures[0], pictures[picture].numpy())
    np.testing.assert_allclose(
        gallery.heat[0].ravel(), codes[sample == picture, 2].detach(), atol=1e-6
    )
    assert sae.training


def test_gallery_of_an_sae_that_reads_sequences_reads_every_sample_on_its_own() -> None:
    """Rows of many samples are not one long sequence."""
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    sample, position = torch.arange(3).repeat_interleave(4), torch.arange(4).repeat(3)
    acts = Activations.from_tensor(x, sample=sample, position=position)
    sae = sn.Temporal(d_in=6, n_atoms=12, k=3, generator=torch.Generator().manual_seed(0)).eval()
    alone = torch.cat([sae.encode(part).to_dense() for part in x.split(4)]).abs().amax(dim=0)
    gallery = Probe(acts).gallery(sae, range(12))
    np.testing.assert_allclose(gallery.strengths, alone.detach(), atol=1e-5)


def test_runs_are_added_to_a_shown_figure_and_the_best_is_ringed() -> None:
    """Nothing is rebuilt: traces that were there stay the same objects."""
    panel = sw.TrainingMonitor([record(1, l0=8.0, r2=0.7)], everything=True)
    before = panel._picture.data
    other = FakeRun()
    other.take(3, l0=8.0, r2=0.5)
    panel._tracked = [*panel._tracked, *track(other, "worse")]
    panel.refresh()
    after = panel._picture.data
    assert all(a is b for a, b in zip(before, after, strict=False))
    assert len(after) > len(before)
    now = [tr for tr in after if tr.yaxis == "y8" and tr.mode == "markers"]
    assert [tr.marker.line.width for tr in now] == [3, 0]
    assert panel._picture.layout.xaxis8.visible
