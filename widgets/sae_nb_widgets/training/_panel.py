"""TrainingMonitor: a training seen while it runs, with the hands on it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import traitlets as t

from sae_nb.activations import Activations
from sae_nb.checks import checked, shown
from sae_nb.figures.theme import format_count, format_number
from sae_nb.sessions import names_of
from sae_nb.training import TrainingHistory, TrainingSummary
from sae_nb_widgets.components._base import HTML
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import Whole, reacts
from sae_nb_widgets.panel._pages import LIVE_ONLY
from sae_nb_widgets.panel._theming import figure_widget
from sae_nb_widgets.training._controls import TrainingControls
from sae_nb_widgets.training._figure import training_figure, update_training_figure
from sae_nb_widgets.training._gallery import (
    TrainingGallery,
    distinct,
    evenly_spaced,
    failure,
    live_names,
    live_trait,
    progress_html,
    saes,
    training_answer,
    training_sentence,
    training_title,
)
from sae_nb_widgets.training._tracking import GOING, Redraws, Tracked, track


@checked
class TrainingMonitor(HasAtoms):
    """Loss, R², L0, dead atoms, throughput and time left of trainings, live, with pause and stop.

    It draws in a thread of its own, at most every `interval` seconds and for a small share of the
    processor time, so the training hardly notices; without a browser everything works the same.

    Parameters
    ----------
    run
        A `TrainingRun`, a `TrainResult`, a list of records, or several of these in a list or in a
        mapping from names: then they are drawn over one another. None: the monitor is itself a
        callback, `sn.train(sae, data, callbacks=monitor)`.
    acts
        Activations on which a gallery of atoms is read at every redraw: the picture or the tokens on
        which each fires most.
    held_out
        Activations that are not trained on: the R² of up to 2048 of their rows is the headline, and where the
        rows trained on are explained far better, the sentence says that they are memorised. None takes
        those of each run, `run.held_out`: a tenth of its samples, unless it was started otherwise.
    picture_shape
        (height, width) or (3, height, width) where the SAE's inputs are pixels: then the gallery
        shows the atoms themselves.
    interval
        Seconds between two redraws, at least.

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
        "“Explained” is the share of the variance of the activations that the atoms rebuild (R²; ★: its "
        "best): of the training batch of each step, and of rows that stay the same, which are not trained on "
        "where some are held out. “all plots” adds loss, dead atoms, atoms in use at a time (L0), speed, the "
        "learning rate now, how often each atom fires and how fast it turns: one that has stopped turning has "
        "been learned.",
        "“Stop at step” is said where held-out rows were explained best more than a fifth of the run ago, have "
        "lost more since than two looks differ by, and batches still gain; the step is chosen on the rows that "
        "it is scored on. Numbers with floors and controls come from sn.evaluate. A falling loss does not show "
        "that the atoms mean anything.",
        "Dead atoms and their revival: “Scaling and evaluating sparse autoencoders”, arXiv 2406.04093.",
    )
    stem = "training"
    needs_kernel = (
        "Pausing, stopping and the learning rate need a running kernel and were left out."
    )

    learning_rate = t.Float(1e-3, help="Peak of the schedule; a change acts on the running thread.")
    log_x = t.Bool(False, help="Draw the steps on a logarithmic axis.")
    everything = t.Bool(
        False, help="Draw every curve and all atoms, not only the first three curves."
    )
    acts_on = t.Int(-1, help="Which run the controls act on; -1 for all.")
    interval = t.Float(1.0, help="Seconds between two redraws, at least.")
    map_by = t.Enum(("frequency", "motion"), "frequency", help="What the map's colours mean.")
    n_gallery = Whole(24, 1, 200, help="Atoms in the gallery.")

    kept_traits = ("everything", "log_x", "map_by")

    # What `close` reads, also of a monitor that was refused before it was built.
    _runs: Sequence[Any] = ()
    _redraws: Redraws | None = None

    def __init__(
        self,
        run: Any = None,
        *,
        acts: Any = None,
        held_out: Any = None,
        picture_shape: tuple[int, ...] | None = None,
        interval: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self._tracked = track(run) if run is not None else []
        self._runs = distinct([one.run for one in self._tracked if one.run is not None])
        self._summaries: list[TrainingSummary] = []
        self._drawn: Any = None
        # Looks at the runs, numbered in the order in which they were taken: several threads draw.
        self._turns, self._counting, self._drawn_turn = itertools.count(1), threading.Lock(), 0
        self._following = False
        self._n_changes = 0
        for name, given in (("acts", acts), ("held_out", held_out)):
            if given is not None and not isinstance(given, Activations):
                raise TypeError(
                    f"`{name}` must be Activations, got {shown(given)}. Use sn.capture."
                )
        self._gallery = TrainingGallery(acts, picture_shape, held_out)
        super().__init__(interval=interval, chips=self._facts(), **kwargs)
        self._build()
        self.attach()

    def _build(self) -> None:
        self.learning_rate = self._rate_in_force() or self.learning_rate
        self.live_numbers = live_names(self._runs)
        if self.live_numbers:
            first = saes(self._runs[0])[0]
            self.add_traits(**{name: live_trait(name, first) for name in self.live_numbers})
            self.observe(lambda change: self._on_number(change["name"]), self.live_numbers)
        self.controls = TrainingControls(self, self._runs)
        self.buttons = self.controls.buttons
        self._progress = HTML()
        self._picture = figure_widget(training_figure([]))
        self.arrange(
            controls=self.controls.first,
            figure=[self._progress, self._picture, *self._gallery.widgets],
            more=self.controls.more,
        )
        self._summaries = [one.summary(log_x=self.log_x) for one in self._tracked]
        self._draw_figure()
        self._draw_state()

    @property
    def has_atoms(self) -> bool:
        """Whether there is an SAE whose atoms can be mapped."""
        return any(hasattr(one.sae, "dictionary") for one in self._tracked)

    # --- following --------------------------------------------------------------------------------

    def __call__(self, record: object) -> None:
        """Take a record, as a callback of `train`: `sn.train(sae, data, callbacks=monitor)`."""
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
            run.add_callback(self._on_record)

    def detach(self) -> None:
        """Stop following; the picture stays as it is."""
        for run in self._runs:
            run.remove_callback(self._on_record)
        if self._redraws is not None:
            self._redraws.close()
            self._redraws = None

    def _on_record(self, _record: object) -> None:
        # In the training thread, between two steps: nothing but a flag.
        redraws = self._redraws
        if redraws is not None:
            redraws.ask()

    def _draw_quietly(self) -> bool:
        # Asked before drawing: a run that ends meanwhile is drawn once more.
        going = any(one.state in GOING for one in self._tracked)
        with self.guarded("drawing the training"):
            self.refresh()
        return going and not self._closed

    def _running(self) -> bool:
        return any(one.state == "running" for one in self._tracked)

    @reacts("everything", "log_x", "map_by", "n_gallery", "acts_on", doing="drawing the training")
    def refresh(self) -> None:
        """Draw the newest records now."""
        n_changes = sum(len(run.changes) for run in self._runs)
        choices = (
            self.everything,
            self.log_x,
            self.acts_on,
            self.map_by,
            self.n_gallery,
            n_changes,
        )
        with self._counting:
            turn, key = next(self._turns), ([one.key for one in self._tracked], choices)
        with self._drawing:  # a drawing of the same that is under way is waited for
            if key == self._drawn or self._closed:
                return
        # Read before the panel is locked: counting waits for the training's step under way.
        summaries = [one.summary(log_x=self.log_x) for one in self._tracked]
        self._look_at_gallery()
        summaries = [
            self._gallery.on_fixed_rows(one, summary)
            for one, summary in zip(self._tracked, summaries, strict=True)
        ]
        with self._drawing:
            # Another thread has closed the panel or drawn what is newer meanwhile.
            if self._closed or turn < self._drawn_turn:
                return
            self._summaries, self._drawn, self._drawn_turn = summaries, key, turn
            self._draw_figure()
            self._draw_gallery()
            self._follow_changes()
            self._draw_state()

    def _draw_figure(self) -> None:
        update_training_figure(
            self._picture,
            self._summaries,
            axis="log" if self.log_x else "linear",
            map_by=self.map_by,
            shown=self._shown(),
            everything=self.everything,
        )

    def _draw_gallery(self) -> None:
        if not self._tracked:
            return
        one, several = self._tracked[self._shown()], len(self._tracked) > 1
        if hasattr(one.sae, "dictionary") and names_of(one.sae) is not self.names:
            self.names = names_of(one.sae)
        self._gallery.draw(self.names, one.name if several else "")

    def _shown(self) -> int:
        """Return whose atoms the map and the gallery show: those of the run that is acted on."""
        run = self._runs[self.acts_on] if self._runs and self.acts_on >= 0 else None
        mine = [i for i, one in enumerate(self._tracked) if run is None or one.run is run]
        return mine[0] if mine else 0

    def _look_at_gallery(self) -> None:
        if self._tracked:
            one = self._tracked[self._shown()]
            self._gallery.look(one, evenly_spaced(getattr(one.sae, "n_atoms", 0), self.n_gallery))
        for one in self._tracked:
            self._gallery.measure(one)

    def wait(self, timeout: float = 60.0) -> None:
        """Return when no change is on its way, with the newest records drawn.

        Raises
        ------
        TimeoutError: If a change still waits for the training after `timeout` seconds.
        """
        super().wait(timeout)
        self.refresh()

    # --- hands on ---------------------------------------------------------------------------------

    def pause(self) -> None:
        """Pause after the step under way; returns when that is done."""
        self._act("pause")
        self.refresh()

    def resume(self) -> None:
        """Continue after a pause."""
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
        TypeError, ValueError, RuntimeError: As `TrainingRun.set`.
        """
        for run in self._chosen():
            run.set(**numbers)

    def act(self, what: str) -> None:
        """Pause, resume or stop off the main thread, which may have to wait for the step under way."""
        self.run_async(
            lambda: self._act(what), lambda _: self.refresh(), doing=what, channel="hands"
        )

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

    @reacts("learning_rate", doing="changing learning_rate")
    def _on_learning_rate(self) -> None:
        self._on_number("learning_rate")

    def _on_number(self, name: str) -> None:
        if not self._following:
            self.change(name, getattr(self, name))

    def change(self, name: str, value: float) -> None:
        """Change a number off the main thread: it waits for the step under way."""
        doing = f"changing {name.replace('_', ' ')}"

        def work() -> Exception | None:
            try:
                self.set(**{name: value})
            except (TypeError, ValueError, RuntimeError) as error:
                return error
            return None

        def done(refused: Exception | None) -> None:
            if refused is None:
                self.say(f"{name.replace('_', ' ')} set to {format_number(value)}.")
            else:
                self._show_numbers_in_force()
                self.fail(refused, doing)

        self.run_async(work, done, doing=doing, channel=name)

    # --- what the controls show -------------------------------------------------------------------

    def _draw_state(self) -> None:
        self.headline = training_title(self._summaries)
        self.conclude(*training_answer(self._summaries))
        states = {run.state for run in self._chosen()} if self._runs else set()
        self.controls.show(states)
        self._progress.value = progress_html(self._summaries) if self._runs else ""
        going = any(summary.state in GOING for summary in self._summaries)
        (self._progress.remove_class if going else self._progress.add_class)(LIVE_ONLY)
        failed = [summary for summary in self._summaries if summary.state == "failed"]
        if failed:
            with self.hold_trait_notifications():
                self.problem, self.status = True, failure(failed[0])
        else:
            self.say(training_sentence(self._summaries))

    def _follow_changes(self) -> None:
        """Show numbers that were changed elsewhere."""
        n_changes = sum(len(run.changes) for run in self._runs)
        if n_changes != self._n_changes:
            self._show_numbers_in_force()
        self._n_changes = n_changes

    @reacts("acts_on", doing="showing the numbers of the run")
    def _show_numbers_in_force(self) -> None:
        rate = self._rate_in_force()
        if rate is None:
            return
        sae = saes(self._chosen()[0])[0]
        with self._only_following():
            self.learning_rate = rate
            for name in self.live_numbers:
                self.set_trait(name, getattr(sae, name))

    def _rate_in_force(self) -> float | None:
        if not self._runs:
            return None
        run = self._chosen()[0]
        changed = [c.value for c in run.changes if c.name == "learning_rate"]
        if changed:
            return float(changed[-1])
        given = run.config.learning_rate
        return float(given if given is not None else saes(run)[0].recipe().learning_rate)

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
        sae = saes(self._runs[0])[0]
        facts = {"trains": type(sae).__name__}
        if hasattr(sae, "n_atoms"):
            facts = {"SAE": type(sae).__name__, "atoms": format_count(sae.n_atoms)}
        if getattr(sae, "hook_point", None):
            facts["hook point"] = str(sae.hook_point)
        return facts

    # --- taking it away ---------------------------------------------------------------------------

    @property
    def record(self) -> TrainingSummary | Mapping[str, TrainingSummary] | None:
        """The drawn record: the summary of the one run, or all by name."""
        self.refresh()
        if len(self._summaries) == 1:
            return self._summaries[0]
        return {summary.name: summary for summary in self._summaries} or None

    def _rescale(self) -> None:
        self._draw_figure()
        self._draw_gallery()

    def close(self) -> None:
        """Stop following and free the panel; the training continues."""
        self.detach()
        super().close()
