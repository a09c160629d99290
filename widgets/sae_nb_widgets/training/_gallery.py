"""A few atoms redrawn while they are learned: as pixels, on their strongest picture, or as a token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sae_nb.figures import (
    current_theme as theme,
    format_count,
    format_duration,
    format_number,
    format_percent,
)
from sae_nb.summaries import AtomGallery, Probe, TrainingSummary, gallery_of_rows
from sae_nb_widgets.components import PictureGrid, TokenStrip
from sae_nb_widgets.pursuit import checked_shape, picture
from sae_nb_widgets.training._tracking import GOING

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb_widgets.training._tracking import Tracked


# -------------------------------------------------------------------------------------------------
# What a TrainingMonitor says: names of runs, where they are, what their buttons can change.


def distinct(runs: Sequence[Any]) -> list[Any]:
    """Return the runs, each once."""
    return list({id(run): run for run in runs}.values())


def saes(run: Any) -> list[Any]:
    """Return the SAEs of a run, also of a single one."""
    return list(run.sae) if isinstance(run.sae, Sequence) else [run.sae]


def run_name(run: Any, index: int) -> str:
    """Name a run in a menu."""
    return f"{index}: {', '.join(type(sae).__name__ for sae in saes(run))}"


def live_names(runs: Sequence[Any]) -> tuple[str, ...]:
    """Numbers besides the learning rate that every SAE of every run lets a training change."""
    named = [
        set(getattr(type(sae), "live_numbers", ()) or ())
        or {name for name in ("sparsity",) if hasattr(sae, name)}
        for run in runs
        for sae in saes(run)
    ]
    return tuple(sorted(set.intersection(*named))) if named else ()


def progress_html(summaries: Sequence[TrainingSummary]) -> str:
    """Return a bar for the run that is furthest from its end; it stays, so that nothing jumps."""
    known = [summary for summary in summaries if summary.steps]
    share = 100 * min((summary.last_step / summary.steps for summary in known), default=0.0)
    return (
        f'<div class="sae-nb-progress" role="progressbar" aria-label="steps done" '
        f'aria-valuenow="{share:.0f}"><div style="width:{share:.1f}%"></div></div>'
    )


def training_sentence(summaries: Sequence[TrainingSummary]) -> str:
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
    dead_fraction = float(summary.dead_fraction[-1])
    # A Raptor, which has no atoms, has none that are dead either.
    dead = (
        "" if math.isnan(dead_fraction) else f" · dead {format_percent(dead_fraction, of='atoms')}"
    )
    if summary.last_step < summary.steps:
        return f"Ended early, after {step} of {steps} steps in {spent}{r2}{dead}"
    return f"Done: {steps} steps in {spent}{r2}{dead}"


def failure(summary: TrainingSummary) -> str:
    """Say where and why a run failed, in one sentence."""
    after = f"after step {format_count(summary.last_step)}" if summary.last_step else "at its start"
    return f"{summary.name} failed {after}: {summary.error}"


# -------------------------------------------------------------------------------------------------
# A few atoms redrawn while they are learned: as pixels, on their strongest picture, or as a token.


SHARE_OF_THUMBNAIL = 0.62  # twelve side by side at 960 px


class TrainingGallery:
    """The gallery of a TrainingMonitor: what it reads, and the two widgets that show it."""

    def __init__(self, acts: Activations | None, picture_shape: tuple[int, ...] | None) -> None:
        self._probe = None if acts is None else Probe(acts)
        self._shape = picture_shape
        self.grid = PictureGrid(description="what some atoms stand for now", titled=True)
        self.strip = TokenStrip(description="where some atoms fire most now")
        self.gallery: AtomGallery | None = None
        for widget in self.widgets:
            widget.layout.display = "none"

    @property
    def widgets(self) -> tuple[PictureGrid, TokenStrip]:
        """What stands under the curves."""
        return self.grid, self.strip

    @property
    def reads_anything(self) -> bool:
        """Whether there is anything to show."""
        return self._shape is not None or self._probe is not None

    def look(self, tracked: Tracked, atoms: Sequence[int]) -> None:
        """Read the atoms between two steps of their training; touches no widget."""
        sae = tracked.sae
        if sae is None or not hasattr(sae, "dictionary") or not self.reads_anything:
            return
        frequency = tracked.frequency_now()  # takes the lock of the run by itself
        with tracked.run.lock:  # type: ignore[union-attr]
            if self._shape is not None:
                checked_shape(self._shape, int(sae.d_in))
                self.gallery = gallery_of_rows(sae, atoms, frequency)
            elif self._probe is not None:
                self.gallery = _in_eval_mode(self._probe, sae, atoms)

    def draw(self) -> None:
        """Show what was read."""
        gallery = self.gallery
        if gallery is None:
            return
        # The number alone fits under a thumbnail; the read-out says what it is.
        captions = [str(atom) for atom in gallery.atoms]
        words: dict[str, Any] = {"captions": captions, "places": [f"atom {c}" for c in captions]}
        strengths = [float(v) for v in gallery.strengths]
        if gallery.rows is not None and self._shape is not None:
            shape: Any = self._shape
            drawn = [
                picture(row, shape, float(np.abs(row).max()), signed=bool((row < 0).any()))
                for row in gallery.rows
            ]
            self.grid.show(np.stack(drawn), strengths=strengths, **words)
        elif gallery.pictures is not None:
            self.grid.show(gallery.pictures, heat=gallery.heat, strengths=strengths, **words)
        elif gallery.tokens:
            self.strip.show(
                gallery.tokens,
                [np.asarray(row, dtype=np.float32) for row in gallery.token_strengths],
                captions=captions,
                strengths=strengths,
            )
        self.grid.thumbnail = int(SHARE_OF_THUMBNAIL * theme().thumbnail_px)
        on_pictures = gallery.rows is not None or gallery.pictures is not None
        self.grid.layout.display = None if on_pictures else "none"
        self.strip.layout.display = None if gallery.tokens else "none"


def _in_eval_mode(probe: Probe, sae: Any, atoms: Sequence[int]) -> AtomGallery:
    """Encode as after training, and leave the SAE in the mode that its training has it in."""
    was_training = bool(sae.training)
    sae.eval()
    try:
        return probe.gallery(sae, atoms)
    finally:
        sae.train(was_training)


def evenly_spaced(n_atoms: int, n: int) -> tuple[int, ...]:
    """Return `n` atoms from all over a dictionary: the same ones at every look."""
    return tuple(int(i) for i in np.arange(min(n, n_atoms)) * n_atoms // max(min(n, n_atoms), 1))
