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
from sae_nb_widgets.training import _tracking
from sae_nb_widgets.training._tracking import SHARE_OF_TIME, Redraws

import sae_nb as sn
from sae_nb.activations import Activations, Context
from tests.widgets.made import soon

pytestmark = pytest.mark.slow


def record(step: int, steps: int = 100, **given: Any) -> SimpleNamespace:
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
    made = FakeRun()
    for step in (1, 2, 3):
        made.take(step)
    return made


@pytest.fixture
def monitor(run: FakeRun) -> sw.TrainingMonitor:
    panel = sw.TrainingMonitor(run, interval=0.01)
    return panel


def drawn(panel: sw.TrainingMonitor, axis: str = "y") -> np.ndarray:
    trace = next(trace for trace in panel.current_figure().data if trace.yaxis == axis)
    return np.asarray(trace.y)


def test_curves_show_the_records(monitor: sw.TrainingMonitor) -> None:
    """R², loss and dead atoms on screen are those of the records, shares in percent."""
    np.testing.assert_allclose(drawn(monitor, "y"), [0, 50, 200 / 3], rtol=1e-6)
    np.testing.assert_allclose(drawn(monitor, "y2"), [1, 1 / 2, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(drawn(monitor, "y3"), [25, 25, 25])


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


def test_strip_sorts_atoms_and_shows_dead_ones_hollow(monitor: sw.TrainingMonitor) -> None:
    """Living atoms come by falling frequency, dead ones after them with a hollow marker."""
    alive, dead = (trace for trace in monitor.current_figure().data if trace.yaxis == "y7")
    assert list(alive.customdata) == [0, 6, 3, 2, 5, 7]
    np.testing.assert_allclose(alive.y, [50, 30, 20, 10, 5, 1], rtol=1e-6)
    assert sorted(dead.customdata) == [1, 4]
    assert (alive.marker.symbol, dead.marker.symbol) == ("circle", "circle-open")
    assert max(dead.y) < min(alive.y)


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


def test_buttons_pause_resume_and_stop(run: FakeRun, monitor: sw.TrainingMonitor) -> None:
    """Buttons call the run, and only those that make sense can be pressed."""
    for name, can_next in (("pause", {"resume"}), ("resume", {"pause"}), ("stop", set())):
        assert not monitor.buttons[name].disabled
        monitor.buttons[name].click()
        monitor.wait()
        assert run.calls[-1] == name
        enabled = {other for other, button in monitor.buttons.items() if not button.disabled}
        assert enabled == (can_next | {"stop"} if can_next else set())


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
    assert (panel.k, run.sae.k) == (4, 4)


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


def test_train_takes_the_monitor_as_a_callback() -> None:
    """`sn.train(…, callbacks=monitor)` in a cell is drawn while the cell runs."""
    panel = sw.TrainingMonitor(interval=0.01)
    saes = [sn.TopK(d_in=16, n_atoms=32, k=k) for k in (2, 4)]
    x = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    config = sn.TrainConfig(steps=60, batch_size=64)
    results = sn.train(saes, x, config, callbacks=panel, progress=False)
    panel.wait()
    assert panel.status == "All 2 runs have ended."
    assert [len(result.history) for result in results] == [
        summary.n_records for summary in panel.record.values()
    ]


def test_closing_leaves_the_run_alone(run: FakeRun) -> None:
    """After close nothing listens any more, and the run goes on."""
    panel = sw.TrainingMonitor(run)
    assert len(run.callbacks) == 1
    panel.close()
    panel.close()
    assert run.callbacks == []
    assert run.calls == []
    run.take(9)


@pytest.fixture(scope="module")
def digits_run() -> Iterator[Any]:
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


def _rows(n: int, seed: int) -> Activations:
    x = torch.randn(n, 16, generator=torch.Generator().manual_seed(seed))
    samples = torch.arange(n)
    return Activations(
        x,
        sample=samples,
        position=torch.zeros_like(samples),
        context=Context(kind="rows", n_samples=n),
    )


def test_a_tenth_is_held_out_by_itself_and_the_sentence_says_memorised() -> None:
    """340 rows of noise: none but the training's own call is needed for the headline to be of other rows."""
    sae = sn.TopK(16, 128, k=4, generator=torch.Generator().manual_seed(0))
    how = {"steps": 300, "batch_size": 306, "learning_rate": 2e-2, "seed": 0}
    run = sn.start_training(sae, _rows(340, 0).x, **how)
    run.wait(120)
    assert (run.n_rows, len(run.held_out)) == (306, 34)
    monitor = sw.TrainingMonitor(run)
    monitor.refresh()
    summary = monitor._summaries[0]
    assert summary.held_out
    assert summary.r2_now == pytest.approx(sn.evaluate(sae, run.held_out).r2.value, abs=1e-4)
    assert summary.batch_r2 > summary.r2_now + 0.1
    assert monitor.headline.startswith("Memorised: of the rows it trained on it explains")
    monitor.close()
