"""The column next to the report card: the meaning of the chosen metric, where libraries differ, and
what moves it most.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ipywidgets as ipw
import numpy as np

from sae_nb.evaluation import Definition, MovingSample
from sae_nb.figures import current_theme as theme
from sae_nb.figures.theme import escape, format_count, format_number
from sae_nb_widgets.components._base import HTML
from sae_nb_widgets.panel._pages import live_words
from sae_nb_widgets.report_card._record import ReportCardSummary, ReportCell
from sae_nb_widgets.report_card._words import metric_words, snapped

if TYPE_CHECKING:
    from sae_nb.activations import Activations


NOTHING_CHOSEN = "Click a row, or step with ↑ ↓, to see what it measures."
NO_EXAMPLE = (
    "No single input can be named: this number is read off the dictionary, needs the live model, or was "
    "measured elsewhere."
)
NO_ROWS = (
    "Pass the SAEs and activations, ReportCard(reports, saes=…, acts=…), to see the most influential "
    "input."
)
BETTER = {
    "higher": "Higher is better.",
    "lower": "Lower is better.",
    "one": "Close to 1 is better.",
    "none": "No good or bad direction.",
}
LONGEST_TEXT = 60
"""Tokens of a text that are shown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowExamples:
    """The details about a metric of one SAE."""

    sae: str
    """Name of the SAE."""

    moving: MovingSample | None
    """The sample without which it changes most."""

    elsewhere: Mapping[str, float]
    """Values of other libraries' formulas on the same rows, by id."""


class ReportCardDetail:
    """Three cards: definition, numbers, example."""

    def __init__(self) -> None:
        self._what = HTML()
        self._numbers = HTML()
        self._example = HTML()
        self.widgets: list[ipw.Widget] = [self._what, self._numbers, self._example]

    def show(self, summary: ReportCardSummary, metric: str, every: ReportCardSummary) -> None:
        """Show one row, and without one what the verdict on `every` measure rests on; the example follows
        when it is found.
        """
        self._example.value = ""
        if metric not in summary.metrics:
            self._what.value = "".join(_verdicts_html(every, sae) for sae in every.saes)
            self._numbers.value = live_words(NOTHING_CHOSEN)
            return
        self._what.value = _definition_html(metric, summary.definition(metric))
        self._numbers.value = "".join(_cell_html(cell) for cell in summary.row(metric))

    def show_example(self, found: RowExamples | None, acts: Activations | None) -> None:
        """Show what moves the row most."""
        title = '<div class="sae-nb-cardtitle"><b>most influential input</b></div>'
        if found is None:
            self._example.value = f"{title}<p>{escape(NO_ROWS)}</p>"
            return
        said = NO_EXAMPLE if found.moving is None else _moving_words(found)
        picture = "" if found.moving is None or acts is None else sample_html(acts, found.moving)
        self._example.value = f"{title}<p>{escape(said)}</p>{picture}{_elsewhere_html(found)}"


def _verdicts_html(card: ReportCardSummary, sae: str) -> str:
    """Name the measures of an SAE that beat floor and control, and those that do not."""
    title = f"“{sae}”: " if len(card.saes) > 1 else ""
    found = {"clear": "better than each floor and control there is", "not clear": "no better"}
    blocks = []
    for verdict, words in found.items():
        names = [
            metric_words(metric)
            for metric in card.metrics
            if (cell := card.cell(metric, sae)) is not None and cell.verdict == verdict
        ]
        if names:
            text, n = ", ".join(names), f" ({len(names)})"
            blocks.append(
                f'<div class="sae-nb-cardtitle"><b>{escape(title + words + n)}</b></div><p>{escape(text)}</p>'
            )
    return "".join(blocks)


def _definition_html(metric: str, definition: Definition) -> str:
    differs = getattr(definition, "differs", "")
    parts = [
        f'<div class="sae-nb-cardtitle"><b>{escape(metric_words(metric))}</b> '
        f"({escape(definition.id)})</div>",
        f"<p>{escape(definition.formula)}</p>",
        f"<p>{escape(BETTER[definition.better])} {escape(_floor_words(definition.floor))}</p>",
    ]
    if differs:
        parts.append(f"<p><b>Libraries differ.</b> {escape(differs)}</p>")
    return "".join(parts)


def _floor_words(floor: str) -> str:
    return "There is no floor to beat." if floor.startswith("none") else f"Floor: {floor}."


def _cell_html(cell: ReportCell) -> str:
    """One SAE: number, interval, and the verdict as a sentence."""
    m = cell.measurement
    low, high = m.interval
    spread = "" if math.isnan(low) else f" (95 %: {format_number(low)} … {format_number(high)})"
    worst, best = (format_number(snapped(end)) for end in cell.ends)
    scale = "" if math.isnan(cell.ends[0]) else f" The row runs from {worst} to {best}."
    cost = "" if math.isnan(m.seconds) else f"; {format_number(m.seconds)} s"
    return (
        f"<p><b>{escape(cell.sae)}</b>: {escape(format_number(m.value) + spread)}, "
        f"{escape(format_count(m.n))} {escape(m.unit)}{escape(cost)}. {escape(cell.reason + scale)}</p>"
    )


def _moving_words(found: RowExamples) -> str:
    moving = found.moving
    if moving is None:
        return NO_EXAMPLE
    times = abs(moving.without - moving.value) / max(moving.typical, 1e-300)
    without, value = (format_number(v, digits=4) for v in (moving.without, moving.value))
    return (
        f"Sample {moving.sample}: without it {found.sae} has {without} instead of {value}, "
        f"{format_number(times, digits=2)} times the usual effect of one sample."
    )


def _elsewhere_html(found: RowExamples) -> str:
    if not found.elsewhere:
        return ""
    lines = "".join(
        f'<div style="overflow-wrap:anywhere">{escape(name)}: <b>{escape(format_number(value))}</b></div>'
        for name, value in found.elsewhere.items()
    )
    return f'<div class="sae-nb-cardtitle"><b>by other libraries’ formulas</b></div>{lines}'


def sample_html(acts: Activations, moving: MovingSample) -> str:
    """Return the sample itself, picture or text, as HTML; empty where it is not known."""
    context = acts.context
    if context.pictures is not None:
        return _picture_html(np.asarray(context.pictures[moving.sample]))
    if not context.modality.is_text or context.token_ids is None:
        return ""
    ids = context.token_ids.sample(moving.sample).tolist()[:LONGEST_TEXT]
    text = "".join(context.names_of(ids))
    return f"<p>“{escape(text)}”</p>"


def _picture_html(pixels: np.ndarray) -> str:
    from PIL import Image

    values = pixels if pixels.dtype == np.uint8 else (255 * pixels.clip(0, 1)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values.transpose(1, 2, 0)).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    side = theme().thumbnail_px
    return (
        f'<img width="{side}" height="{side}" alt="the sample" '
        f'style="image-rendering:pixelated" src="data:image/png;base64,{data}"/>'
    )
