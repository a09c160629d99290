"""Measured steering → figures: success against cost, effects by variant, bars of the illusion check."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from sae_nb.evaluation.fragility import Fragility
from sae_nb.evaluation.steering_quality import Arm, SteeringCurves
from sae_nb.evaluation.subspace_illusion import IllusionCheck
from sae_nb_widgets.figures.theme import CONTROL, CONTROL_DASH, NEUTRAL, NOVEL, OKABE_ITO, template

COLOURS = {
    "atom": NOVEL,
    "nearest atom": OKABE_ITO[3],
    "difference of means": OKABE_ITO[2],
    "rival": NEUTRAL,
}
WORDS = {"rival": "untrained SAE's choice"}
BARS = {
    "v": "the atom",
    "v_row": "its read part",
    "v_null": "its unread part",
    "full": "everything",
    "pca": "in 8 components",
}


def success_figure(curves: SteeringCurves) -> go.Figure:
    """Change of the target's log-odds against KL, with every random direction behind it.

    Parameters
    ----------
    curves
        From `steering_curves`.
    """
    traces = [_line(arm, CONTROL, i == 0) for i, arm in enumerate(curves.controls)]
    traces += [
        go.Scatter(
            name=WORDS.get(name, name),
            x=[0.0, *arm.kl],
            y=[0.0, *arm.shift.mean(axis=1)],
            mode="lines+markers",
            line={"color": COLOURS[name], "width": 2.5},
            marker={"size": 7, "color": COLOURS[name]},
            showlegend=True,
        )
        for name, arm in curves.arms.items()
        if name in COLOURS
    ]
    return _framed(traces, "KL(clean‖steered), nats", "Δ log-odds of the target")


def fluency_figure(curves: SteeringCurves) -> go.Figure:
    """Nats per token written and lost in reading, against KL: atom full, random dashed.

    Parameters
    ----------
    curves
        With texts.
    """
    fluent = [(curves.arms["atom"], NOVEL, "solid"), *_random_fluent(curves)]
    traces = []
    for arm, colour, dash in fluent:
        for part, symbol in (("written", "circle"), ("read", "square")):
            traces.append(
                go.Scatter(
                    name=f"{part}, {arm.name if dash == 'solid' else 'random'}",
                    x=list(arm.kl),
                    y=[getattr(f, part) for f in arm.fluency],
                    mode="lines+markers",
                    line={"color": colour, "dash": dash, "width": 2},
                    marker={"symbol": symbol, "size": 8, "color": colour},
                    showlegend=True,
                )
            )
    return _framed(traces, "KL(clean‖steered), nats", "nats per token")


def _random_fluent(curves: SteeringCurves) -> list[tuple[Arm, str, str]]:
    return [(arm, CONTROL, CONTROL_DASH) for arm in curves.controls if arm.fluency]


def fragility_figure(found: Fragility) -> go.Figure:
    """Every input's effect under every variant, with the random directions' band behind it.

    Parameters
    ----------
    found
        From `fragility_battery`.
    """
    band = np.quantile(found.controls, [0.05, 0.95], axis=0).mean(axis=2)
    names = list(found.variants)
    rng = np.random.default_rng(0)
    spread = rng.uniform(-0.16, 0.16, size=found.effects.shape)
    places = np.arange(len(names))[:, None] + spread
    traces = [
        go.Scatter(
            name="random 5 … 95 %",
            x=[v for i in range(len(names)) for v in (i - 0.3, i + 0.3, None)],
            y=[v for i in range(len(names)) for v in (edge[i], edge[i], None)],
            mode="lines",
            line={"color": CONTROL, "dash": CONTROL_DASH, "width": 2},
            showlegend=place == 0,
        )
        for place, edge in enumerate(band)
    ]
    traces.append(
        go.Scatter(
            name="one input",
            x=places.ravel(),
            y=found.effects.ravel(),
            mode="markers",
            marker={"color": NOVEL, "size": 6, "opacity": 0.6},
            line={"color": NOVEL},  # of the legend where the picture is drawn without a browser
            showlegend=True,
        )
    )
    figure = _framed(traces, "", "Δ log-odds of the target")
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=names, tickangle=-30)
    return figure


def illusion_figure(checks: Sequence[IllusionCheck], names: Sequence[str]) -> go.Figure:
    """Bars of the illusion check, one group per direction, with the random directions' quantile.

    Parameters
    ----------
    checks
        From `illusion_check`.
    names
        Of the directions.
    """
    keys = list(BARS)
    traces: list[go.Bar | go.Scatter] = [
        go.Bar(
            name=f"{name} ({check.light})",
            x=list(range(len(keys))),
            y=[check[key].value for key in keys],
            marker={"color": OKABE_ITO[i % 6]},
            showlegend=True,
        )
        for i, (check, name) in enumerate(zip(checks, names, strict=True))
    ]
    control = max(float(check["v"].control or 0.0) for check in checks)
    traces.append(
        go.Scatter(
            name="random 95 %",
            x=[-0.5, len(keys) - 0.5],
            y=[control, control],
            mode="lines",
            showlegend=True,
            line={"color": CONTROL, "dash": CONTROL_DASH, "width": 2},
        )
    )
    figure = _framed(traces, "", "share of the logit difference")
    figure.update_xaxes(tickvals=list(range(len(keys))), ticktext=[BARS[key] for key in keys])
    figure.update_layout(barmode="group", bargap=0.25)
    return figure


def _line(arm: Arm, colour: str, shown: bool) -> go.Scatter:
    return go.Scatter(
        name="random directions",
        x=[0.0, *arm.kl],
        y=[0.0, *arm.shift.mean(axis=1)],
        mode="lines",
        line={"color": colour, "dash": CONTROL_DASH, "width": 1.2},
        showlegend=shown,
        legendgroup="random",
    )


def _framed(traces: Sequence[go.Bar | go.Scatter], x: str, y: str) -> go.Figure:
    figure = go.Figure(list(traces))
    figure.update_layout(
        template=template(),
        margin={"l": 56, "r": 12, "t": 34, "b": 46},
        xaxis={"title": {"text": x}},
        yaxis={"title": {"text": y}},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure
