"""Steering records → one plotly figure: a row for each outcome, and below them effect and cost by dose.

Before is a tick, after a dot, filled where it lies clearly past what the random pushes give: a grey band
from the least to the most with the median in white.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sae_nb.figures import DOTTED, current_theme, fade, plot_text, template, theme, visible_token
from sae_nb.figures.theme import THIN_SPACE, format_number, format_percent
from sae_nb.steering import LEAST_CHANGE, SteeringCurve, SteeringRecipe, SteeringSummary
from sae_nb.steering.modes import MODES, UNITS
from sae_nb_widgets.steering._words import outcome_label

RANDOM, MEDIAN, BEFORE, AFTER, WORDS = range(5)
EFFECT_BAND, EFFECT_RANDOM, EFFECT_NEAREST, EFFECT, KL_BAND, KL_RANDOM, KL = range(5, 12)
CURVE_TRACES = range(EFFECT_BAND, KL + 1)

UP_COLOUR, DOWN_COLOUR = theme.NOVEL, theme.PREDICTED
NEAREST_COLOUR = theme.OKABE_ITO[7]
BEFORE_COLOUR = theme.NEUTRAL
BAND_COLOUR = fade(theme.CONTROL, 0.18)

THICK = 0.26  # thickness of a band, in rows
LONGEST_NAME = 18
WORDS_EM = 8.6
"""Room at the right for the numbers, in sizes of their font."""

LEAST_SHOWN = 1e-4
"""Probability at which the axis of the next token, by powers of ten, begins: what is below stands there."""

ROW_PX, FEWEST_ROWS = 27, 8
SPACE_PX = 96  # legend above, axis below
CURVE_PX = 230


def steering_figure(
    summary: SteeringSummary | None = None, curve: SteeringCurve | None = None
) -> go.Figure:
    """Draw the answer before, after, and under random pushes; curves below if given.

    `update_answer` and `update_curve` change it in place.
    """
    figure = go.Figure(
        [*_answer_traces(), *_curve_traces()],
        {
            "template": template(),
            "barmode": "overlay",
            "hovermode": "closest",
            "margin": {"l": 56, "t": 44, "b": 44},
            "legend": {"y": 1.0, "yref": "container", "yanchor": "top", "itemsizing": "constant"},
            "xaxis": {"domain": [0, 1], "anchor": "y", "zeroline": False},
            "yaxis": {"domain": [0, 1], "anchor": "x", "showgrid": False, "fixedrange": True},
            "xaxis2": {"domain": [0, 0.38], "anchor": "y2", "visible": False},
            "yaxis2": {
                "domain": [0, 0.3],
                "anchor": "x2",
                "visible": False,
                "zeroline": True,
                "zerolinecolor": theme.AXIS,
            },
            "xaxis3": {"domain": [0.64, 1], "anchor": "y3", "visible": False, "matches": "x2"},
            "yaxis3": {"domain": [0, 0.3], "anchor": "x3", "visible": False, "rangemode": "tozero"},
        },
    )
    update_answer(figure, summary)
    update_curve(figure, curve)
    return figure


def update_answer(figure: go.Figure, summary: SteeringSummary | None) -> None:
    """Draw another answer, or none, into a figure of `steering_figure`; a widget sends one message."""
    if summary is None:
        with figure.batch_update():
            for trace in (RANDOM, MEDIAN, BEFORE, AFTER, WORDS):
                figure.data[trace].x = figure.data[trace].y = ()
            # Left to itself plotly numbers an axis that has nothing on it.
            for axis in (figure.layout.xaxis, figure.layout.yaxis):
                axis.tickvals = axis.ticktext = ()
        return
    rows = np.arange(len(summary.names), dtype=np.float32)
    labels, drawn = _labels(summary.names, summary.outcome), summary.controls
    ends = np.vstack([drawn, summary.before])
    past = (summary.after < ends.min(axis=0) - LEAST_CHANGE) | (
        summary.after > ends.max(axis=0) + LEAST_CHANGE
    )
    low, middle, high = (
        _places(values, summary.outcome)
        for values in (drawn.min(axis=0), np.median(drawn, axis=0), drawn.max(axis=0))
    )
    with figure.batch_update():
        band = figure.data[RANDOM]
        band.base, band.x, band.y = low.tolist(), high - low, rows
        band.name = f"{len(drawn)} random pushes, least to most"
        for trace, x in (
            (MEDIAN, middle),
            (BEFORE, _places(summary.before, summary.outcome)),
            (AFTER, _places(summary.after, summary.outcome)),
        ):
            figure.data[trace].x, figure.data[trace].y = x, rows
        hovers = _hover_rows(labels, summary)
        for trace in (RANDOM, BEFORE, AFTER):
            figure.data[trace].customdata = hovers
        after = figure.data[AFTER]
        after.marker.color = after.marker.line.color = turned_colour(summary.recipe)
        after.marker.symbol = ["circle" if one else "circle-open" for one in past]
        words = figure.data[WORDS]
        words.y, words.text = rows, _change_words(summary)
        words.textfont.size = current_theme().font_px
        shown = [f"<b>{name}</b>" if one else name for name, one in zip(labels, past, strict=True)]
        words.x = np.full(len(rows), _set_answer_axes(figure, summary, shown), dtype=np.float32)


def update_curve(
    figure: go.Figure, curve: SteeringCurve | None, name_of: Callable[[int], str] = str
) -> None:
    """Draw effect and cost below the bars, or remove them; `name_of` names an atom."""
    with figure.batch_update():
        _share_height(figure, curve is not None)
        # An SAE of one atom, such as a direction's, has no nearest.
        alone = curve is not None and not np.isfinite(curve.nearest_cosine)
        for index in CURVE_TRACES:
            figure.data[index].visible = curve is not None and not (
                alone and index == EFFECT_NEAREST
            )
        if curve is None:
            return
        response, x = curve.response, curve.strengths.astype(np.float32)
        for band, middle, line, control, values in (
            (EFFECT_BAND, EFFECT_RANDOM, EFFECT, response.control, response.effect),
            (KL_BAND, KL_RANDOM, KL, response.control_kl, response.kl),
        ):
            _set(figure.data[band], *_band(x, control))
            _set(figure.data[middle], x, _quantile(control, 0.5))
            _set(figure.data[line], x, values)
        _set(figure.data[EFFECT_NEAREST], x, curve.nearest_effect)
        nearest = plot_text(name_of(curve.nearest_atom))
        figure.data[
            EFFECT_NEAREST
        ].name = f"nearest atom {nearest} (cos {format_number(curve.nearest_cosine, digits=2)})"
        _set_curve_axes(figure, curve)


def mark_strength(figure: go.Figure, strength: float | None) -> None:
    """Mark the strength that is shown in the bars, in the curves below."""
    lines = [] if strength is None else [_upright(strength, axis) for axis in ("2", "3")]
    figure.layout.shapes = lines


class CurveView:
    """The dose–response curve under the bars of `plot`: it stays as long as it is of what is shown there."""

    def __init__(self, plot: go.FigureWidget, name_of: Callable[[int], str]) -> None:
        self._plot, self._name_of = plot, name_of
        self.curve: SteeringCurve | None = None

    def show(self, curve: SteeringCurve | None, strength: float | None = None) -> None:
        """Draw another curve with a strength marked on it, or none."""
        self.curve = curve
        self.draw()
        mark_strength(self._plot, strength)

    def draw(self) -> None:
        """Draw the curve with the names and the sizes of now."""
        update_curve(self._plot, self.curve, self._name_of)

    def follow(self, summary: SteeringSummary, target: str) -> None:
        """Mark another answer's strength; take the curve away if it is of another question."""
        if self.curve is None:
            return
        about = not target or self.curve.target_name == summary.target_name
        if about and _without_strength(self.curve.recipe) == _without_strength(summary.recipe):
            mark_strength(self._plot, summary.recipe.strength)
        else:
            self.show(None)


def _without_strength(recipe: SteeringRecipe) -> SteeringRecipe:
    """Return what a dose–response curve is about: everything but how strong."""
    parts = recipe.scaled(1 / recipe.strength).others if recipe.strength else recipe.others
    others = tuple((atom, float(f"{amount:.4g}")) for atom, amount in parts)
    return replace(recipe, strength=0.0, others=others, seed=0, mode="add", target_kl=None)


def unit_words(recipe: SteeringRecipe) -> str:
    """Name the unit of the strength axis."""
    words = UNITS[recipe.unit].words
    if recipe.others:
        return f"strength of atom {recipe.atom}, others in proportion, {words}"
    return words if "strength" in words else f"strength, {words}"


def turned_colour(recipe: SteeringRecipe) -> str:
    """Return the colour of an atom that is turned up, or down, as texts and sliders have it."""
    neutral = MODES[recipe.mode].neutral or 0.0
    return DOWN_COLOUR if recipe.strength < neutral else UP_COLOUR


def figure_height(n_rows: int, *, curve: bool) -> int:
    """Return height in CSS pixels of bars for `n_rows` outcomes, and of the curves."""
    scale = current_theme().font_px / 13
    return int(scale * (SPACE_PX + ROW_PX * max(n_rows, FEWEST_ROWS) + CURVE_PX * curve))


# --- traces ---------------------------------------------------------------------------------------


def _answer_traces() -> list[Any]:
    shown = {"hovertemplate": "%{customdata}<extra></extra>", "showlegend": True}
    tick = {"mode": "markers", "cliponaxis": False}
    return [
        go.Bar(
            orientation="h", width=THICK, marker={"color": theme.CONTROL, "line": {"width": 0}}, **shown
        ),
        go.Scatter(
            marker={"symbol": "line-ns", "size": 10, "line": {"width": 2, "color": theme.WHITE}},
            hoverinfo="skip", showlegend=False, **tick,
        ),
        go.Scatter(
            name="before",
            marker={"symbol": "line-ns", "size": 14, "line": {"width": 2.5, "color": BEFORE_COLOUR}},
            **shown, **tick,
        ),
        go.Scatter(
            name="after (filled: past all the grey)",
            marker={"size": 12, "color": UP_COLOUR, "line": {"width": 2, "color": UP_COLOUR}}, **shown, **tick,
        ),
        go.Scatter(
            mode="text",
            textposition="middle right",
            textfont={"size": current_theme().font_px},
            cliponaxis=False,
            hoverinfo="skip",
            showlegend=False,
        ),
    ]  # fmt: skip


def _curve_traces() -> list[Any]:
    dashed = {"color": theme.CONTROL, "dash": theme.CONTROL_DASH, "width": 1.6}
    strong = {"color": UP_COLOUR, "width": 2.2}
    effect = {"xaxis": "x2", "yaxis": "y2", "showlegend": False}
    cost = {"xaxis": "x3", "yaxis": "y3", "showlegend": False}
    band = {
        "mode": "lines",
        "fill": "toself",
        "fillcolor": BAND_COLOUR,
        "line": {"width": 0, "color": theme.CLEAR},
    }
    mine = {"mode": "lines+markers", "line": strong, "marker": {"color": UP_COLOUR}}
    shown = "strength %{x:.3g}<br>%{y:.3g}<extra>"
    return [
        go.Scatter(**band, **effect, hoverinfo="skip"),
        go.Scatter(
            mode="lines", line=dashed, hovertemplate=f"{shown}random, median</extra>", **effect
        ),
        go.Scatter(
            mode="lines+markers",
            line={"color": NEAREST_COLOUR, "width": 1.4},
            marker={"size": 5, "symbol": "square", "color": NEAREST_COLOUR},
            hovertemplate=f"{shown}nearest atom</extra>",
            **(effect | {"showlegend": True}),
        ),
        go.Scatter(hovertemplate=f"{shown}this atom</extra>", **mine, **effect),
        go.Scatter(**band, **cost, hoverinfo="skip"),
        go.Scatter(
            mode="lines", line=dashed, hovertemplate=f"{shown}random, median</extra>", **cost
        ),
        go.Scatter(hovertemplate=f"{shown}this atom</extra>", **mine, **cost),
    ]


def _set(trace: go.Scatter, x: np.ndarray, y: np.ndarray) -> None:
    trace.x, trace.y = x, np.asarray(y, dtype=np.float32)


def _quantile(control: np.ndarray, q: float) -> np.ndarray:
    if not len(control):
        return np.zeros(0)
    return np.quantile(control, q, axis=0)


def _band(x: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outline of the range from the 5th to the 95th percentile, there and back."""
    if not len(control) or not np.isfinite(control).all():
        return np.zeros(0), np.zeros(0)
    low, high = _quantile(control, 0.05), _quantile(control, 0.95)
    return np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]])


# --- words and axes -------------------------------------------------------------------------------


def _labels(names: Sequence[str], outcome: str) -> list[str]:
    """Return the names of rows; tokens that differ in the space before them alone show it."""
    short = [_label(name, outcome) for name in names]
    return [
        label if short.count(label) == 1 else plot_text(f"“{_cut(name)}”")
        for name, label in zip(names, short, strict=True)
    ]


def _label(name: str, outcome: str) -> str:
    return plot_text(outcome_label(_cut(name), outcome))


def _cut(name: str) -> str:
    text = visible_token(name)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"


def _value(value: float, outcome: str) -> str:
    if outcome == "state":
        return format_number(value, digits=2)
    return format_percent(value, digits=2) if value >= 0.001 else f"< 0.1{THIN_SPACE}%"


def _hover_rows(labels: list[str], summary: SteeringSummary) -> list[str]:
    def written(values: np.ndarray) -> list[str]:
        return [_value(float(value), summary.outcome) for value in values]

    drawn, n = summary.controls, len(summary.controls)
    columns = (
        labels, written(summary.before), written(summary.after), written(drawn.min(axis=0)),
        written(drawn.max(axis=0)), written(np.median(drawn, axis=0)),
    )  # fmt: skip
    return [
        f"{label}<br>before {before}<br>after {after}<br>{n} random pushes {low} to {high}, median {middle}"
        for label, before, after, low, high, middle in zip(*columns, strict=True)
    ]


def _change_words(summary: SteeringSummary) -> list[str]:
    """Before → after, at the right."""
    return [
        f" {_value(b, summary.outcome)} → {_value(a, summary.outcome)}"
        for b, a in zip(summary.before, summary.after, strict=True)
    ]


def _places(values: np.ndarray, outcome: str) -> np.ndarray:
    """Return where values stand on their axis: those of the next token by powers of ten."""
    placed = np.log10(np.maximum(values, LEAST_SHOWN)) if outcome == "next token" else values
    return np.asarray(placed, dtype=np.float32)


def _set_answer_axes(figure: go.Figure, summary: SteeringSummary, labels: list[str]) -> float:
    """Set both axes of the answer, and return where the numbers stand."""
    layout, outcome = figure.layout, summary.outcome
    titles = {
        "class": "probability",
        "next token": "probability of the very next token",
        "state": "cosine with the state before",
    }
    shown = np.concatenate([summary.before, summary.after, summary.controls.ravel()])
    layout.xaxis.title.text = titles[outcome]
    if outcome == "next token":
        ends, ticks = (LEAST_SHOWN, 1.0), [10.0**power for power in range(-4, 1)]
    else:
        ends = min(float(shown.min(initial=0.0)), 0.0), _round_up(float(shown.max(initial=0.0)))
        ticks = [round(ends[1] * fifth / 5, 6) for fifth in range(6)] if ends[0] == 0 else []
    low, high = (float(place) for place in _places(np.array(ends), outcome))
    room = high - low
    layout.xaxis.range = [low - 0.01 * room, high + 0.01 * room]
    layout.xaxis.tickvals = _places(np.array(ticks), outcome) if ticks else None
    layout.xaxis.ticktext = [_tick(tick, outcome) for tick in ticks] if ticks else None
    layout.yaxis.tickvals = np.arange(len(labels), dtype=np.float32)
    layout.yaxis.ticktext = labels
    layout.yaxis.range = [len(labels) - 0.4, -0.6]
    layout.margin.r = WORDS_EM * current_theme().font_px
    has_curve = bool(layout.yaxis2.visible)
    layout.height = figure_height(len(labels), curve=has_curve)
    return high + 0.01 * room


def _tick(value: float, outcome: str) -> str:
    return f"{value:g}" if outcome == "state" else f"{100 * value:g}{THIN_SPACE}%"


def _round_up(value: float) -> float:
    """End of the probability axis: one of few, so that it seldom jumps while a slider moves."""
    ends = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    return next((end for end in ends if value <= end), value)


def _share_height(figure: go.Figure, with_curve: bool) -> None:
    layout = figure.layout
    n_rows = len(layout.yaxis.ticktext or ())
    height = figure_height(n_rows, curve=with_curve)
    layout.height = height
    share = (
        CURVE_PX / (SPACE_PX + ROW_PX * max(n_rows, FEWEST_ROWS) + CURVE_PX) if with_curve else 0.0
    )
    layout.yaxis.domain = [1.35 * share, 1] if with_curve else [0, 1]
    for x, y in ((layout.xaxis2, layout.yaxis2), (layout.xaxis3, layout.yaxis3)):
        x.visible = y.visible = with_curve
        if with_curve:
            y.domain = [0, 0.95 * share]


def _set_curve_axes(figure: go.Figure, curve: SteeringCurve) -> None:
    layout = figure.layout
    log = curve.response.measure.startswith("log-probability")
    name = _label(curve.target_name, "next token" if log else "class")
    layout.yaxis2.title.text = f"change in {'log ' * log}P({name})"
    share = curve.response.measure.startswith("probability")
    layout.yaxis2.tickformat = ".2~%" if share else ""
    layout.yaxis3.title.text = "overall shift: KL, nats"
    for axis in (layout.xaxis2, layout.xaxis3):
        axis.title.text = unit_words(curve.recipe)
    if math.isnan(float(np.nanmax(curve.response.kl, initial=math.nan))):
        layout.yaxis3.title.text = "KL (not known here)"


def _upright(strength: float, axis: str) -> dict[str, Any]:
    return {
        "type": "line",
        "xref": f"x{axis}",
        "yref": f"y{axis} domain",
        "x0": strength,
        "x1": strength,
        "y0": 0,
        "y1": 1,
        "line": DOTTED,
    }
