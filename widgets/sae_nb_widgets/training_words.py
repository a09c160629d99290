"""What a TrainingMonitor says: names of runs, where they are, what their buttons can change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sae_nb.summaries.training import TrainingSummary
from sae_nb_widgets.figures.theme import (
    format_count,
    format_duration,
    format_number,
    format_percent,
)
from sae_nb_widgets.tracking import GOING


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
