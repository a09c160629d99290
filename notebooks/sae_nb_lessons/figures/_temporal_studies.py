"""Time in activations → plotly figures: energies of both parts, curves over time, squares of likeness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.figures import (
    DOTTED,
    SYMBOLS,
    broken,
    category_style,
    framed,
    heatmaps,
    line,
    plot_text,
    theme,
)

HEIGHT_PX = 230
COLOURS = {"predicted": theme.PREDICTED, "novel": theme.NOVEL, "TopK": theme.CONTROL}


def bands_figure(
    energy: Float[np.ndarray, "time 2"],
    *,
    borders: Sequence[int] = (),
    tokens: Sequence[str] | None = None,
    y_title: str = "energy",
) -> go.Figure:
    """Draw the energy of the predicted and the novel part of each token, one on top of the other.

    Parameters
    ----------
    energy
        Of predicted and novel, token by token.
    borders
        Tokens at which an event begins: a dotted line before each.
    tokens
        Their text, shown on hovering.
    y_title
        Of the vertical axis.
    """
    values = np.asarray(energy, dtype=np.float64)
    names = None if tokens is None else [plot_text(token) for token in tokens]
    traces: list[go.Bar | go.Scatter] = [
        go.Bar(
            x=np.arange(len(values)),
            y=column,
            name=name,
            marker={"color": COLOURS[name], "line": {"width": 0}},
            text=names,
            textposition="none",
            showlegend=True,
            hovertemplate=("%{text} · " if names else "token %{x} · ")
            + f"{name} %{{y:.3g}}<extra></extra>",
        )
        for name, column in (("predicted", values[:, 0]), ("novel", values[:, 1]))
    ]
    if borders:
        traces.append(_borders(borders, 0.0, float(values.sum(axis=1).max()), legend=True))
    return framed(
        traces,
        x="token",
        y=y_title,
        height=HEIGHT_PX,
        margin=(60, 12, 30, 44),
        barmode="stack",
        bargap=0.08,
        xaxis_showgrid=False,
    )


def time_curves_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x_title: str, y_title: str
) -> go.Figure:
    """Draw curves over time or lag; the two parts have their own colours everywhere.

    Parameters
    ----------
    curves
        Places and values, by name. A curve whose name ends in "order lost" is dashed, in the colour before it.
    x_title, y_title
        Of the axes.
    """
    index, colour = -1, theme.CONTROL
    traces = []
    for name, (x, y) in curves.items():
        dashed = name.endswith("order lost")
        if not dashed:
            index += 1
            colour = COLOURS.get(name, category_style(index)[0])
        trace = line(
            name,
            list(x),
            list(y),
            colour=colour,
            symbol=SYMBOLS[index % 3],
            dash="dash" if dashed else "solid",
            hover="%{x}: %{y:.3g}",
            showlegend=True,
        )
        traces.append(trace)
    return framed(traces, x=x_title, y=y_title, height=HEIGHT_PX, margin=(60, 12, 34, 44))


def moments_figure(
    matrices: Mapping[str, Float[np.ndarray, "time time"]], *, borders: Sequence[int] = ()
) -> go.Figure:
    """Draw the cosines between all tokens, one square per kind of code; events show as blocks.

    Parameters
    ----------
    matrices
        Cosines, by the title of their square.
    borders
        Tokens at which an event begins.
    """
    figure = heatmaps(
        {title: np.asarray(cosines, dtype=np.float64) for title, cosines in matrices.items()},
        ends=(-1, 1),
        signed=True,
        hover="tokens %{x}, %{y}: %{z:.2f}",
        bar="cosine",
        over={
            title: [_borders(borders, -0.5, len(cosines) - 0.5, legend=False)]
            for title, cosines in (matrices.items() if borders else ())
        },
        height=1.15 * HEIGHT_PX,
        margin=(34, 10, 10, 40),
    )
    figure.update_xaxes(showgrid=False, zeroline=False)
    return figure.update_yaxes(showgrid=False, zeroline=False, autorange="reversed")


def _borders(borders: Sequence[int], low: float, high: float, *, legend: bool) -> go.Scatter:
    """Draw dotted lines before the tokens at which an event begins."""
    x, y = broken([(border - 0.5, low), (border - 0.5, high)] for border in borders)
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line=DOTTED,
        name="event begins",
        showlegend=legend,
        hoverinfo="skip",
    )
