"""Measured steering → figures: success against cost, effects by variant, bars of the illusion check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sae_nb_studies.evaluation import (
    Fragility,
    IllusionCheck,
    SteeringCurves,
)
from sae_nb.figures import broken, framed, line, named_ticks, theme

COLOURS = {
    "atom": theme.NOVEL,
    "nearest atom": theme.OKABE_ITO[3],
    "difference of means": theme.OKABE_ITO[2],
    "rival": theme.NEUTRAL,
}
WORDS = {"rival": "untrained SAE's choice"}
BARS = {
    "v": "the atom",
    "v_row": "its read part",
    "v_null": "its unread part",
    "full": "everything",
    "pca": "in 8 components",
}
RANDOM: dict[str, Any] = {"colour": theme.CONTROL, "dash": theme.CONTROL_DASH, "width": 1.2}
MARGIN = (56, 12, 34, 46)
KL = "KL(clean‖steered), nats"
CHANGE = "Δ log-odds of the target"


def success_figure(curves: SteeringCurves) -> go.Figure:
    """Draw the change of the target's log-odds against KL, with every random direction behind it."""
    looks = [
        ("random directions", arm, RANDOM | {"showlegend": i == 0, "legendgroup": "random"})
        for i, arm in enumerate(curves.controls)
    ]
    for name, colour in COLOURS.items():
        if name in curves.arms:
            look = {"colour": colour, "symbol": "circle", "size": 7, "width": 2.5}
            looks.append((WORDS.get(name, name), curves.arms[name], look | {"showlegend": True}))
    traces = [
        line(name, [0.0, *arm.kl], [0.0, *arm.shift.mean(axis=1)], **look)
        for name, arm, look in looks
    ]
    return framed(traces, x=KL, y=CHANGE, margin=MARGIN)


def fluency_figure(curves: SteeringCurves) -> go.Figure:
    """Draw nats per token, written and lost in reading, against KL: the atom solid, random ones dashed."""
    random = [(arm, theme.CONTROL, theme.CONTROL_DASH) for arm in curves.controls if arm.fluency]
    traces = [
        line(
            f"{part}, {arm.name if dash == 'solid' else 'random'}",
            list(arm.kl),
            [getattr(f, part) for f in arm.fluency],
            colour=colour,
            symbol=symbol,
            size=8,
            dash=dash,
            showlegend=True,
        )
        for arm, colour, dash in [(curves.arms["atom"], theme.NOVEL, "solid"), *random]
        for part, symbol in (("written", "circle"), ("read", "square"))
    ]
    return framed(traces, x=KL, y="nats per token", margin=MARGIN)


def fragility_figure(found: Fragility) -> go.Figure:
    """Draw every input's effect under every variant, with the random directions' band behind it."""
    band = np.quantile(found.controls, [0.05, 0.95], axis=0).mean(axis=2)
    names = list(found.variants)
    rng = np.random.default_rng(0)
    spread = rng.uniform(-0.16, 0.16, size=found.effects.shape)
    places = np.arange(len(names))[:, None] + spread
    traces = []
    for index, edge in enumerate(band):
        x, y = broken([(i - 0.3, height), (i + 0.3, height)] for i, height in enumerate(edge))
        look = RANDOM | {"width": 2, "showlegend": index == 0}
        traces.append(line("random 5 … 95 %", x, y, **look))
    inputs = go.Scatter(
        name="one input",
        x=places.ravel(),
        y=found.effects.ravel(),
        mode="markers",
        marker={"color": theme.NOVEL, "size": 6, "opacity": 0.6},
        line={"color": theme.NOVEL},  # of the legend where the picture is drawn without a browser
        showlegend=True,
    )
    figure = framed([*traces, inputs], y=CHANGE, margin=MARGIN)
    return figure.update_xaxes(named_ticks(names, tickangle=-45))


def illusion_figure(checks: Sequence[IllusionCheck], names: Sequence[str]) -> go.Figure:
    """Draw bars of the illusion check, one group per direction, with the random directions' quantile."""
    keys = list(BARS)
    bars = [
        go.Bar(
            name=f"{name} ({check.light})",
            x=list(range(len(keys))),
            y=[check[key].value for key in keys],
            marker={"color": theme.OKABE_ITO[i % 6]},
            showlegend=True,
        )
        for i, (check, name) in enumerate(zip(checks, names, strict=True))
    ]
    control = max(float(check["v"].control or 0.0) for check in checks)
    ends = [-0.5, len(keys) - 0.5]
    random = line("random 95 %", ends, [control, control], **(RANDOM | {"width": 2}))
    figure = framed(
        [*bars, random.update(showlegend=True)],
        y="share of the logit difference",
        margin=MARGIN,
        barmode="group",
        bargap=0.25,
    )
    return figure.update_xaxes(named_ticks(BARS[key] for key in keys))
