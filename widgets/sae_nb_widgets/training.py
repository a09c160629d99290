"""TrainingMonitor: a training seen while it runs, with the hands on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.summaries.training import TrainingHistory, TrainingSummary
from sae_nb_widgets.figures.training import training_figure, update_training_figure
from sae_nb_widgets.panel import Panel
from sae_nb_widgets.theming import (
    figure_widget,
    format_count,
    format_duration,
    format_number,
    format_percent,
)
from sae_nb_widgets.tracking import GOING, Redraws, Tracked, track


class TrainingMonitor(Panel):
    """Loss, R², L0, dead atoms, throughput and time left of trainings, live, with pause and stop.

    It draws in a thread of its own, at most every `interval` seconds and for a small share of the
    processor time, so the training hardly notices; without a browser everything works the same.

    Parameters
    ----------
    run
        A `TrainingRun`, a `TrainResult`, a list of records, or several of these in a list or in a
        mapping from names: then they are drawn over one another. None: the monitor is itself a
        listener, `sn.train(sae, data, listeners=monitor)`.
    interval
        Seconds between two redraws, at least.

    Raises
    ------
    TypeError
        If `run` is nothing that can be followed.
    traitlets.TraitError
        If `interval` is not positive.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> records = [SimpleNamespace(step=i, steps=20, loss=1 / i, r2=1 - 1 / i) for i in range(1, 21)]
    >>> monitor = TrainingMonitor(records)
    >>> monitor.record.best_step
    20
    >>> monitor.close()
    """

    question = "Is it learning, and what?"
    explanation = (
        "Every curve is measured on the training batch of that step; the strip shows on what share "
        "of recent rows each atom fired, and hollow atoms did not fire at all.",
        "Batches are small and were trained on: held-out numbers with their floors and controls come "
        "from sn.evaluate. A falling loss does not say that the atoms mean anything.",
        "Dead atoms and their revival: “Scaling and evaluating sparse autoencoders”, arXiv 2406.04093.",
    )
    stem = "training"
    needs_kernel = (
        "Pausing, stopping and the learning rate need a running kernel and were left out."
    )

    learning_rate = t.Float(1e-3, help="Peak of the schedule; a change acts on the running thread.")
    log_x = t.Bool(False, help="Draw the steps on a logarithmic axis.")
    acts_on = t.Int(-1, help="Which run the controls act on; -1 for all.")
    interval = t.Float(1.0, help="Seconds between two redraws, at least.")

    # What `close` reads, also of a monitor that was refused before it was built.
    _closed = True
    _runs: Sequence[Any] = ()
    _redraws: Redraws | None = None

    def __init__(self, run: Any = None, *, interval: float = 1.0, **kwargs: Any) -> None:
        self._tracked = track(run) if run is not None else []
        self._runs = _distinct([one.run for one in self._tracked if one.run is not None])
        self._summaries: list[TrainingSummary] = []
        self._drawn: Any = None
        self._following = False
        self._n_changes = 0
        super().__init__(interval=interval, chips=self._facts(), **kwargs)
        self._build_controls()
        self._picture = figure_widget()
        self._rebuild()
        self.observe(self._on_log_x, "log_x")
        self.observe(self._on_learning_rate, "learning_rate")
        self.observe(lambda _: self.refresh(), "acts_on")
        self.attach()

    # --- following --------------------------------------------------------------------------------

    def __call__(self, record: Any) -> None:
        """Take a record, as a listener of `train`: `sn.train(sae, data, listeners=monitor)`."""
        index = int(getattr(record, "sae", 0) or 0)
        mine = [one for one in self._tracked if one.run is None and one.index == index]
        if not mine:
            several = f"SAE {index}" if index else "run"
            mine = [Tracked(TrainingHistory(several), [], None, index)]
            self._tracked = [*self._tracked, *mine]
        mine[0].records.append(record)  # type: ignore[attr-defined]
        self.attach()
        self._on_record(record)

    @property
    def following(self) -> bool:
        """Whether it waits for more records."""
        return self._redraws is not None and self._redraws.alive

    def attach(self) -> None:
        """Follow the runs; nothing happens when they have ended or are followed already."""
        if self._closed or self.following:
            return
        if not any(one.state in GOING for one in self._tracked):
            return
        self._redraws = Redraws(self._draw_quietly, lambda: self.interval, self._running)
        for run in self._runs:
            run.add_listener(self._on_record)

    def detach(self) -> None:
        """Stop following; the picture stays as it is."""
        for run in self._runs:
            run.remove_listener(self._on_record)
        if self._redraws is not None:
            self._redraws.close()
            self._redraws = None

    def _on_record(self, _record: Any) -> None:
        # In the training thread, between two steps: nothing but a flag.
        redraws = self._redraws
        if redraws is not None:
            redraws.ask()

    def _draw_quietly(self) -> bool:
        with self.guarded("drawing the training"):
            self.refresh()
        return not self._closed and any(one.state in GOING for one in self._tracked)

    def _running(self) -> bool:
        return any(one.state == "running" for one in self._tracked)

    def refresh(self) -> None:
        """Draw the newest records now."""
        key = ([one.key for one in self._tracked], self.log_x, self.acts_on)
        if key == self._drawn or self._closed:
            return
        # Read before the panel is locked: counting waits for the training's step under way.
        summaries = [one.summary(log_x=self.log_x) for one in self._tracked]
        with self._drawing:
            if len(summaries) != len(self._summaries):
                self._rebuild(summaries)
            self._summaries, self._drawn = summaries, key
            update_training_figure(self._picture, summaries, axis="log" if self.log_x else "linear")
            self._follow_changes()
            self._draw_state()

    def wait(self, timeout: float = 60.0) -> None:
        """Return when no change is on its way, with the newest records drawn.

        Raises
        ------
        TimeoutError
            If a change still waits for the training after `timeout` seconds.
        """
        super().wait(timeout)
        self.refresh()

    # --- hands on ---------------------------------------------------------------------------------

    def pause(self) -> None:
        """Let no further step begin; returns when the one under way is done."""
        self._act("pause")
        self.refresh()

    def resume(self) -> None:
        """Go on after a pause."""
        self._act("resume")
        self.refresh()

    def stop(self) -> None:
        """End after the step under way; the SAE stays usable."""
        self._act("stop")
        self.refresh()

    def set(self, **numbers: float) -> None:
        """Change numbers of the chosen runs from their next step on, e.g. `learning_rate`.

        Parameters
        ----------
        numbers
            Names and values, as `TrainingRun.set` takes them.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As `TrainingRun.set`.
        """
        for run in self._chosen():
            run.set(**numbers)

    def _act(self, what: str) -> None:
        for run in self._chosen():
            if run.state in GOING:
                getattr(run, what)()

    def _chosen(self) -> list[Any]:
        if not self._runs:
            raise RuntimeError(
                "Controls act on a run in a thread, and there is none here. Start one with "
                "sn.start_training(…) and pass it to TrainingMonitor."
            )
        return list(self._runs) if self.acts_on < 0 else [self._runs[self.acts_on]]

    @t.validate("acts_on")
    def _acts_on_exists(self, proposal: t.Bunch) -> int:
        if not -1 <= proposal["value"] < len(self._runs):
            raise t.TraitError(
                f"`acts_on` must be one of {len(self._runs)} runs, counted from 0, or -1 for all, got "
                f"{proposal['value']}."
            )
        return int(proposal["value"])

    @t.validate("learning_rate", "interval")
    def _positive(self, proposal: t.Bunch) -> float:
        value = float(proposal["value"])
        if not 0 < value < float("inf"):
            raise t.TraitError(
                f"`{proposal['trait'].name}` must be positive and finite, got {value:g}."
            )
        return value

    def _on_learning_rate(self, change: t.Bunch) -> None:
        if not self._following:
            self._change("learning_rate", change["new"])

    def _change(self, name: str, value: float) -> None:
        """Change a number off the main thread: it waits for the step under way."""

        def done(_: None) -> None:
            self.say(f"{name.replace('_', ' ')} set to {format_number(value)}")

        self.run_async(
            lambda: self.set(**{name: value}), done, doing=f"changing {name}", channel=name
        )

    def _on_log_x(self, _: t.Bunch) -> None:
        with self.guarded("drawing the training"):
            self.refresh()

    # --- widgets ----------------------------------------------------------------------------------

    def _build_controls(self) -> None:
        self.buttons = {
            "pause": _button("pause", "pause", "Let no further step begin", self._press("pause")),
            "resume": _button("resume", "play", "Go on after a pause", self._press("resume")),
            "stop": _button("stop", "stop", "End after the step under way", self._press("stop")),
        }
        self._rate = ipw.FloatLogSlider(
            min=-6,
            max=-1,
            step=0.02,
            description="learning rate",
            readout_format=".2e",
            continuous_update=False,
            tooltip="Peak of the schedule; acts on the running thread from its next step on",
            style={"description_width": "initial"},
            layout=ipw.Layout(width="330px"),
        )
        self._log = ipw.Checkbox(
            description="log steps",
            indent=False,
            tooltip="Draw the steps on a logarithmic axis",
            layout=ipw.Layout(width="auto"),
        )
        self._target = ipw.Dropdown(
            options=[("all runs", -1), *((_run_name(r, i), i) for i, r in enumerate(self._runs))],
            description="acts on",
            tooltip="Which run the buttons and the learning rate act on",
            style={"description_width": "initial"},
            layout=ipw.Layout(width="240px"),
        )
        self._progress = ipw.HTML()
        with self._only_following():
            self.learning_rate = self._rate_in_force() or self.learning_rate
        t.link((self, "learning_rate"), (self._rate, "value"))
        t.link((self, "log_x"), (self._log, "value"))
        t.link((self, "acts_on"), (self._target, "value"))

    def _rebuild(self, summaries: Sequence[TrainingSummary] = ()) -> None:
        """Make the figure for as many runs as there are now."""
        found = list(summaries) or [one.summary(log_x=self.log_x) for one in self._tracked]
        strip = any(summary.frequency is not None for summary in found)
        built = training_figure(found, axis="log" if self.log_x else "linear", strip=strip)
        if len(self._picture.data):
            self._picture.data = ()
        self._picture.add_traces(built.data)
        self._picture.layout = built.layout
        self._summaries = found
        hands = [*self.buttons.values(), self._rate] if self._runs else []
        several = [self._target] if len(self._runs) > 1 else []
        self.arrange(
            controls=[*hands, *several, self._log],
            figure=[self._progress, self._picture],
            more=self._live_numbers(),
        )
        self._draw_state()

    def _live_numbers(self) -> list[ipw.Widget]:
        """Boxes for the numbers that the SAEs let a running training change, such as sparsity."""
        boxes = []
        for name in _live_names(self._runs):
            value = getattr(_saes(self._runs[0])[0], name)
            kind = ipw.IntText if isinstance(value, int) else ipw.FloatText
            box = kind(value=value, description=name, continuous_update=False)
            box.tooltip = f"Change {name} of the running training from its next step on"
            box.observe(lambda change, name=name: self._change(name, change["new"]), "value")
            boxes.append(box)
        return boxes

    def _press(self, what: str) -> Callable[[Any], None]:
        def on_click(_: Any) -> None:
            self.run_async(
                lambda: self._act(what), lambda _: self.refresh(), doing=what, channel="hands"
            )

        return on_click

    def _draw_state(self) -> None:
        states = {run.state for run in self._chosen()} if self._runs else set()
        self.buttons["pause"].disabled = "running" not in states
        self.buttons["resume"].disabled = "paused" not in states
        self.buttons["stop"].disabled = not states & {"running", "paused"}
        self._rate.disabled = not states & set(GOING)
        self._progress.value = _progress_html(self._summaries) if self._runs else ""
        failed = [summary for summary in self._summaries if summary.state == "failed"]
        if failed:
            with self.hold_trait_notifications():
                self.problem, self.status = True, _failure(failed[0])
        else:
            self.say(_sentence(self._summaries))

    def _follow_changes(self) -> None:
        """Move the slider when the learning rate was changed elsewhere."""
        n_changes = sum(len(run.changes) for run in self._runs)
        rate = self._rate_in_force()
        if n_changes != self._n_changes and rate is not None:
            with self._only_following():
                self.learning_rate = rate
        self._n_changes = n_changes

    def _rate_in_force(self) -> float | None:
        if not self._runs:
            return None
        run = self._chosen()[0]
        changed = [c.value for c in run.changes if c.name == "learning_rate"]
        if changed:
            return float(changed[-1])
        given = run.config.learning_rate
        return float(given if given is not None else _saes(run)[0].recipe().learning_rate)

    @contextmanager
    def _only_following(self) -> Iterator[None]:
        self._following = True
        try:
            yield
        finally:
            self._following = False

    def _facts(self) -> dict[str, str]:
        if not self._runs or len(self._tracked) != 1:
            return {"runs": format_count(len(self._tracked))} if len(self._tracked) > 1 else {}
        sae = _saes(self._runs[0])[0]
        facts = {"SAE": type(sae).__name__, "atoms": format_count(sae.n_atoms)}
        if getattr(sae, "hook_point", None):
            facts["hook point"] = str(sae.hook_point)
        return facts

    # --- taking it away ---------------------------------------------------------------------------

    @property
    def record(self) -> TrainingSummary | Mapping[str, TrainingSummary] | None:
        """What is drawn: the summary of the one run, or all by name."""
        self.refresh()
        if len(self._summaries) == 1:
            return self._summaries[0]
        return {summary.name: summary for summary in self._summaries} or None

    def restyle(self) -> None:
        """Redraw with the current theme's sizes."""
        super().restyle()
        if self._figure is not None:
            with self._drawing:
                self._rebuild()

    def close(self) -> None:
        """Stop following and free the panel; the training goes on."""
        self.detach()
        super().close()


def _button(text: str, icon: str, tooltip: str, action: Callable[[Any], None]) -> ipw.Button:
    button = ipw.Button(
        description=text, icon=icon, tooltip=tooltip, layout=ipw.Layout(width="auto")
    )
    button.on_click(action)
    return button


def _distinct(runs: Sequence[Any]) -> list[Any]:
    return list({id(run): run for run in runs}.values())


def _saes(run: Any) -> list[Any]:
    return list(run.sae) if isinstance(run.sae, Sequence) else [run.sae]


def _run_name(run: Any, index: int) -> str:
    return f"{index}: {', '.join(type(sae).__name__ for sae in _saes(run))}"


def _live_names(runs: Sequence[Any]) -> tuple[str, ...]:
    """Numbers besides the learning rate that every SAE of every run lets a training change."""
    named = [
        set(getattr(type(sae), "live_numbers", ()) or ())
        or {name for name in ("sparsity",) if hasattr(sae, name)}
        for run in runs
        for sae in _saes(run)
    ]
    return tuple(sorted(set.intersection(*named))) if named else ()


def _progress_html(summaries: Sequence[TrainingSummary]) -> str:
    """Return a bar for the run that is furthest from its end; it stays, so that nothing jumps."""
    known = [summary for summary in summaries if summary.steps]
    share = 100 * min((summary.last_step / summary.steps for summary in known), default=0.0)
    return (
        f'<div class="sae-nb-progress" role="progressbar" aria-label="steps done" '
        f'aria-valuenow="{share:.0f}"><div style="width:{share:.1f}%"></div></div>'
    )


def _sentence(summaries: Sequence[TrainingSummary]) -> str:
    """Say where the trainings are."""
    if not any(len(summary.step) for summary in summaries):
        return "Waiting for the first record."
    if len(summaries) == 1:
        return _one_sentence(summaries[0])
    going = [summary for summary in summaries if summary.state in GOING]
    if not going:
        return f"All {len(summaries)} have ended."
    left = [summary.seconds_left for summary in going if summary.seconds_left is not None]
    text = f"{len(going)} of {len(summaries)} going on"
    return f"{text} · {format_duration(max(left))} left" if left else text


def _one_sentence(summary: TrainingSummary) -> str:
    step, steps = format_count(summary.last_step), format_count(summary.steps)
    if summary.state == "running":
        left = summary.seconds_left
        return f"Step {step} of {steps}" + (f" · {format_duration(left)} left" if left else "")
    if summary.state == "paused":
        return f"Paused at step {step} of {steps}. Resume goes on from there."
    if summary.state == "stopping":
        return f"Stopping at step {step} of {steps}."
    spent = format_duration(summary.seconds)
    r2 = f" · R² {format_number(float(summary.r2[-1]))}"
    dead = f" · dead {format_percent(float(summary.dead_fraction[-1]), of='atoms')}"
    if summary.last_step < summary.steps:
        return f"Ended early, after {step} of {steps} steps in {spent}{r2}{dead}"
    return f"Done: {steps} steps in {spent}{r2}{dead}"


def _failure(summary: TrainingSummary) -> str:
    """Say where and why a run failed, in one sentence."""
    after = f"after step {format_count(summary.last_step)}" if summary.last_step else "at its start"
    return f"{summary.name} failed {after}: {summary.error}"
