"""A few atoms redrawn while they are learned: as pixels, on their strongest picture, or as a token."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Float

from sae_nb.evaluation import AtomGallery, FixedRows
from sae_nb.figures import current_theme as theme
from sae_nb.figures.theme import format_count, format_duration, format_number
from sae_nb.training import TrainingSummary
from sae_nb_widgets.components import PictureGrid, TokenStrip
from sae_nb_widgets.components._picture_grid import as_film
from sae_nb_widgets.panel._declaring import Number, Whole, show
from sae_nb_widgets.pursuit._detail import picture
from sae_nb_widgets.pursuit._runs import checked_shape
from sae_nb_widgets.training._figure import shortened
from sae_nb_widgets.training._tracking import GOING

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.atoms import AtomNames
    from sae_nb.training import TrainingRun
    from sae_nb_widgets.training._tracking import Tracked


# -------------------------------------------------------------------------------------------------
# What a TrainingMonitor says: names of runs, where they are, what their buttons can change.

T = TypeVar("T")

MEMORISED = 0.1
"""Of R², by which rows trained on are explained better than others: then they are memorised. Ours."""

MANY_PASSES = 20.0
"""Times that each row was drawn, from which a high R² of these rows says little. Ours."""

SEEN = 0.01
"""Gain of R² that can be seen on an axis from 0 to 1: two pixels of a curve. Ours."""


def distinct(runs: Sequence[TrainingRun]) -> list[TrainingRun]:
    """Return the runs, each once."""
    return list({id(run): run for run in runs}.values())


def saes(run: TrainingRun) -> list[SparseAutoencoder]:
    """Return the SAEs of a run, also of a single one."""
    return list(run.sae) if isinstance(run.sae, Sequence) else [run.sae]


def run_name(run: TrainingRun, index: int) -> str:
    """Name a run in a menu."""
    return f"{index}: {', '.join(type(sae).__name__ for sae in saes(run))}"


def live_names(runs: Sequence[TrainingRun]) -> tuple[str, ...]:
    """Return the numbers besides the learning rate that every SAE of every run lets a training change."""
    named = [
        set(getattr(type(sae), "live_numbers", ()) or ())
        or {name for name in ("sparsity",) if hasattr(sae, name)}
        for run in runs
        for sae in saes(run)
    ]
    return tuple(sorted(set.intersection(*named))) if named else ()


def live_trait(name: str, sae: SparseAutoencoder) -> Whole | Number:
    """Return a trait for a number that a training may change, with the ends that the training checks."""
    value, n_atoms = getattr(sae, name), int(sae.n_atoms)
    if isinstance(value, int):
        return Whole(value, 1, n_atoms, help=f"{name} of the running training.")
    most = n_atoms if name == "l0" else math.inf
    return Number(value, 0, most, help=f"{name} of the running training.")


def progress_html(summaries: Sequence[TrainingSummary]) -> str:
    """Return a bar for the run that is furthest from its end; it stays, so that nothing jumps."""
    known = [summary for summary in summaries if summary.steps]
    share = 100 * min((summary.last_step / summary.steps for summary in known), default=0.0)
    return (
        f'<div class="sae-nb-progress" role="progressbar" aria-label="steps done" style="max-width:none" '
        f'aria-valuenow="{share:.0f}"><div style="width:{share:.1f}%"></div></div>'
    )


def training_sentence(summaries: Sequence[TrainingSummary]) -> str:
    """State where the trainings are."""
    if not any(len(summary.step) for summary in summaries):
        return "Waiting for the first record."
    if len(summaries) == 1:
        return _one_sentence(summaries[0])
    going = [summary for summary in summaries if summary.state in GOING]
    if not going:
        return f"All {len(summaries)} runs have ended."
    left = [summary.seconds_left for summary in going if summary.seconds_left is not None]
    text = f"{len(going)} of {len(summaries)} runs still going"
    return f"{text} · {format_duration(max(left))} left" if left else text


def _one_sentence(summary: TrainingSummary) -> str:
    step, steps = format_count(summary.last_step), format_count(summary.steps)
    if summary.state == "running":
        left = summary.seconds_left
        return f"Step {step} of {steps}" + (f" · {format_duration(left)} left" if left else "")
    if summary.state == "paused":
        return f"Paused at step {step} of {steps}. Press resume to continue."
    if summary.state == "stopping":
        return f"Stopping at step {step} of {steps}."
    spent = format_duration(summary.seconds)
    if summary.last_step < summary.steps:
        return f"Ended early, after {step} of {steps} steps in {spent}."
    return f"Done: {step} steps in {spent}."


def training_title(summaries: Sequence[TrainingSummary]) -> str:
    """Return what the curve shows and what to do, of several which explains most; empty before it began."""
    begun = [summary for summary in summaries if len(summary.step)]
    if len(begun) < 2:
        return _verdict(begun[0]) if begun else ""
    ranked = sorted(begun, key=_explained, reverse=True)
    if _explained(ranked[0]) > _explained(ranked[1]):
        return f"{shortened(ranked[0].name)} explains most of {len(begun)} runs"
    return f"None of {len(begun)} runs explains more than the others"


def training_answer(summaries: Sequence[TrainingSummary]) -> tuple[str, str]:
    """Return how much is explained in words, with the numbers behind it; empty before it began."""
    begun = [summary for summary in summaries if len(summary.step)]
    if not begun:
        return "", ""
    best = max(begun, key=_explained)
    if len(begun) > 1:
        others = ", ".join(f"{s.name}: {_share(s.r2_now)}" for s in begun if s is not best)
        return f"Best of {len(begun)}: {best.name} {_learned(best)} ({others}).", _numbers(best)
    dead = float(best.dead_fraction[-1])
    who = "it" if math.isnan(dead) else "the SAE"  # a Raptor has no atoms
    steps = "1 step" if best.last_step == 1 else f"{format_count(best.last_step)} steps"
    parts = [f"After {steps} {who} {_learned(best)}"]
    if best.past_best and best.best_look is not None:
        step, r2 = best.best_look
        parts = [f"At step {format_count(step)} it explained {_share(r2)}. {parts[0]}"]
        parts.append(f"of the rows it trains on {_share(best.batch_r2)}, more than at that step")
    elif not math.isnan(dead):
        parts.append(f"{_share(dead, 2)} of its atoms are dead" if dead else "no atom is dead")
    return f"{'; '.join(parts)}.", _numbers(best)


def _explained(summary: TrainingSummary) -> float:
    return float(np.nan_to_num(summary.r2_now, nan=-np.inf))


def _learned(summary: TrainingSummary) -> str:
    r2, l0 = summary.r2_now, float(summary.l0[-1])
    with_atoms = "" if math.isnan(l0) else f" with {_plain(l0)} atoms at a time"
    if not r2 > 0:
        return f"explains none of the variance{_whose(summary)} yet{with_atoms}"
    return f"explains {_share(r2)} of the variance{_whose(summary)}{with_atoms}"


def _whose(summary: TrainingSummary) -> str:
    return " of rows it was not trained on" if summary.held_out else ""


def _verdict(summary: TrainingSummary) -> str:
    """State what the curve does and what to do: the first of these that its numbers allow."""
    going = summary.state in GOING
    if summary.held_out and summary.batch_r2 - summary.r2_now > MEMORISED:
        return f"Memorised: of the rows it trained on it explains {_share(summary.batch_r2)}"
    passes = summary.passes or 0
    if not summary.held_out and passes > MANY_PASSES and summary.r2_now > 1 - MEMORISED:
        return (
            f"Each row seen {format_count(round(passes))} times, none held out: perhaps memorised"
        )
    if summary.past_best and summary.best_look is not None:
        return f"Stop at step {format_count(summary.best_look[0])}: new rows gain nothing after it"
    if summary.flat_since is not None:
        since = f"Flat since step {format_count(summary.flat_since)}"
        return f"{since}: it can stop" if going else f"{since}: longer would hardly help"
    if summary.trend == "improving" and summary.gain < SEEN:
        slowly = f"slowly, lately by {_share(summary.gain, 2)}"
        return f"Improving {slowly}: let it run on" if going else f"Improved {slowly}"
    if summary.trend == "improving":
        return "Still improving: let it run on" if going else "Still improving at its end"
    if summary.trend == "worsening":
        return "Getting worse: try a lower learning rate"
    return "No clear trend yet: let it run on" if going else "It ended without a clear trend"


def _numbers(summary: TrainingSummary) -> str:
    parts = [
        f"R² {format_number(summary.r2_now)}"
        + (" on the same rows at every look" if summary.fixed_r2 is not None else "")
        + (
            f", held out (trained on: {format_number(summary.batch_r2)})"
            if summary.held_out
            else ""
        ),
        f"loss {format_number(float(summary.loss[-1]))}",
    ]
    best = summary.best_step if summary.best_look is None else summary.best_look[0]
    if best is not None:
        parts[0] += f" (best at step {format_count(best)})"
    speed = float(summary.tokens_per_second[-1])
    if not math.isnan(speed):
        parts.append(f"{format_count(round(speed))} rows per second")
    return " · ".join(parts)


def _share(fraction: float, digits: int = 3) -> str:
    """In percent, with as many digits as the picture has."""
    return f"{_plain(100 * float(fraction), digits)} %"


def _plain(value: float, digits: int = 2) -> str:
    """A few digits, and no zeros that say nothing: 93, 8, 0.4."""
    return f"{float(f'{value:.{digits}g}'):g}"


def failure(summary: TrainingSummary) -> str:
    """State where and why a run failed, in one sentence."""
    after = f"after step {format_count(summary.last_step)}" if summary.last_step else "at its start"
    return f"{summary.name} failed {after}: {summary.error}"


# -------------------------------------------------------------------------------------------------
# A few atoms redrawn while they are learned: as pixels, on their strongest picture, or as a token.


SHARE_OF_THUMBNAIL = 0.62  # twelve side by side at 960 px


class TrainingGallery:
    """The gallery of a TrainingMonitor: what it reads, and the two widgets that show it."""

    def __init__(
        self,
        acts: Activations | None,
        picture_shape: tuple[int, ...] | None,
        held_out: Activations | None = None,
    ) -> None:
        self._probe = None if acts is None else FixedRows(acts)
        self._held_out = None if held_out is None else FixedRows(held_out)
        self._of_runs: dict[int, FixedRows] = {}
        """Rows that a run itself does not train on, by the activations they are of."""

        self._film = {} if self._probe is None else as_film(self._probe.context)
        self._shape = picture_shape
        self.grid = PictureGrid(titled=True)
        self.strip = TokenStrip()
        self.gallery: AtomGallery | None = None
        self._fixed: dict[Tracked, list[tuple[int, float]]] = {}
        """Step and R² on the probe's rows at every look, by run."""

        self._bar = ""
        for widget in self.widgets:
            show(widget, False)

    @property
    def widgets(self) -> tuple[PictureGrid, TokenStrip]:
        """The widgets under the curves."""
        return self.grid, self.strip

    def _fixed_rows(self, tracked: Tracked) -> tuple[FixedRows | None, bool]:
        """Return the rows that R² is of at every look, and whether none of them is trained on."""
        kept = getattr(tracked.run, "held_out", None)
        if self._held_out is None and kept is not None:
            if id(kept) not in self._of_runs:
                self._of_runs[id(kept)] = FixedRows(kept)
            return self._of_runs[id(kept)], True
        return self._held_out or (self._probe if self._shape is None else None), bool(
            self._held_out
        )

    def look(self, tracked: Tracked, atoms: Sequence[int]) -> None:
        """Read the atoms between two steps of their training; touches no widget."""
        sae = tracked.sae
        if sae is None or not hasattr(sae, "dictionary") or not (self._shape or self._probe):
            return
        frequency = tracked.frequency_now()  # takes the lock of the run by itself
        with tracked.run.lock:  # type: ignore[union-attr]
            if self._shape is not None:
                checked_shape(self._shape, int(sae.d_in))
                self.gallery = _of_rows(sae, atoms, frequency)
                self._bar = "length" if frequency is None else "share of rows on which it fires"
            elif self._probe is not None:
                self.gallery = _in_eval_mode(sae, partial(self._probe.gallery, sae, atoms))

    def measure(self, tracked: Tracked) -> None:
        """Measure R² on the rows that stay the same, between two steps of the training."""
        sae, (fixed, _) = tracked.sae, self._fixed_rows(tracked)
        if sae is None or fixed is None or not hasattr(sae, "dictionary"):
            return
        with tracked.run.lock:  # type: ignore[union-attr]
            r2 = _in_eval_mode(sae, partial(fixed.explained, sae))
            step = int(getattr(tracked.run, "step", 0))
            looks = self._fixed.setdefault(tracked, [])
            looks[:] = [*(look for look in looks if look[0] < step), (step, r2)]

    def on_fixed_rows(self, tracked: Tracked, summary: TrainingSummary) -> TrainingSummary:
        """Return a summary with R² and trend of rows that stay the same, as far as they were read."""
        n_rows = getattr(tracked.run, "n_rows", None)
        drawn = tracked.records[-1].tokens if n_rows and len(tracked.records) else 0
        looks, (_, held_out) = self._fixed.get(tracked, ()), self._fixed_rows(tracked)
        return replace(
            summary.on_fixed_rows(looks, held_out=held_out),
            passes=drawn / n_rows if n_rows else None,
        )

    def draw(self, names: AtomNames, run: str = "") -> None:
        """Show the records read; `run` names the run, if there are several."""
        gallery = self.gallery
        if gallery is None:
            return
        of = f"{len(gallery.atoms)} atoms{f' of run {run}' if run else ''}"
        # The number alone fits under a thumbnail; the read-out says what it is.
        captions = [str(atom) for atom in gallery.atoms]
        places = [names.in_text(atom) for atom in gallery.atoms]
        words: dict[str, Any] = {"captions": captions, "places": places, "atoms": gallery.atoms}
        strengths = [float(v) for v in gallery.strengths]
        if gallery.rows is not None and self._shape is not None:
            shape: Any = self._shape
            drawn = [
                picture(row, shape, float(np.abs(row).max()), signed=bool((row < 0).any()))
                for row in gallery.rows
            ]
            self.grid.description = f"{of}, as images (bar: {self._bar})"
            self.grid.show(np.stack(drawn), strengths=strengths, **words)
        elif gallery.pictures is not None:
            self.grid.description = f"{of}, each where it fires most (bar: how strongly)"
            self.grid.show(
                gallery.pictures, heat=gallery.heat, strengths=strengths, **words, **self._film
            )
        elif gallery.tokens:
            self.strip.description = f"{of}, each where it fires most (bar: how strongly)"
            self.strip.show(
                gallery.tokens,
                [np.asarray(row, dtype=np.float32) for row in gallery.token_strengths],
                captions=[names.name(atom) for atom in gallery.atoms],
                strengths=strengths,
                atoms=gallery.atoms,
            )
        self.grid.thumbnail = int(SHARE_OF_THUMBNAIL * theme().thumbnail_px)
        on_pictures = gallery.rows is not None or gallery.pictures is not None
        show(self.grid, on_pictures)
        show(self.strip, bool(gallery.tokens))


def _in_eval_mode(sae: SparseAutoencoder, read: Callable[[], T]) -> T:
    """Encode as after training, and leave the SAE in the mode that its training has it in."""
    was_training = bool(sae.training)
    sae.eval()
    try:
        return read()
    finally:
        sae.train(was_training)


def evenly_spaced(n_atoms: int, n: int) -> tuple[int, ...]:
    """Return `n` atoms from all over a dictionary: the same ones at every look."""
    return tuple(int(i) for i in np.arange(min(n, n_atoms)) * n_atoms // max(min(n, n_atoms), 1))


def _of_rows(
    sae: SparseAutoencoder,
    atoms: Sequence[int],
    frequency: Float[np.ndarray, " n_atoms"] | None = None,
) -> AtomGallery:
    """Return the atoms themselves, for SAEs whose inputs are pixels."""
    rows = sae.dictionary[list(atoms)].detach().float().cpu().numpy().copy()
    strengths = np.linalg.norm(rows, axis=1) if frequency is None else frequency[list(atoms)]
    return AtomGallery(atoms=tuple(atoms), strengths=strengths, rows=rows)
