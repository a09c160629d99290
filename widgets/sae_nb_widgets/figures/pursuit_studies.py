"""Studies of encoders → plotly figures: true atoms named by coherence, and R² by number of atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.summaries.encoder_study import ENCODERS, EncoderStudy
from sae_nb.summaries.support_study import METHODS, SupportStudy
from sae_nb_widgets.figures.theme import CONTROL, CONTROL_DASH, OKABE_ITO, template, theme

STYLES: dict[str, tuple[str, str]] = {
    "one step": (OKABE_ITO[4], "square"),
    "one step, tied": (OKABE_ITO[4], "square"),
    "one step, fitted": (OKABE_ITO[1], "triangle-up"),
    "the SAE's encoder": (OKABE_ITO[1], "triangle-up"),
    "matching pursuit": (OKABE_ITO[2], "circle"),
    "orthogonal matching pursuit": (OKABE_ITO[3], "diamond"),
    "FISTA": (OKABE_ITO[0], "cross"),
}
"""Colour and marker of each encoder; its kin in the other study has the same."""

HEIGHT_PX = 330
X_TITLES = {
    "families": "cosine of two siblings",
    "common direction": "mean cosine of two atoms",
}


def support_figure(studies: Sequence[SupportStudy]) -> go.Figure:
    """Share of the true atoms that each encoder names, against coherence, side by side.

    Points are seeds, lines their means, the dashed line is random atoms.

    Parameters
    ----------
    studies
        One plot each.
    """
    figure = go.Figure()
    for i, study in enumerate(studies):
        x = np.asarray(study.coherences)
        axes = {"xaxis": _axis("x", i), "yaxis": _axis("y", i)}
        for method in METHODS:
            _add(figure, method, x, study.of(method), legend=i == 0, **axes)
        figure.add_scatter(
            x=x,
            y=study.floor.mean(axis=1),
            mode="lines",
            name="random atoms",
            line={"color": CONTROL, "dash": CONTROL_DASH, "width": 1.6},
            showlegend=i == 0,
            **axes,
        )
    _set_axes(figure, [X_TITLES[study.kind] for study in studies], "true atoms named", [0, 1.04])
    return figure


def encoder_figure(study: EncoderStudy) -> go.Figure:
    """R² of each encoder against the number of atoms; the dotted line is the k of the training.

    Parameters
    ----------
    study
        Of one SAE.
    """
    figure = go.Figure()
    x = np.asarray(study.ks)
    for encoder in ENCODERS:
        _add(figure, encoder, x, study.of(encoder)[:, None], legend=True, xaxis="x", yaxis="y")
    # Below zero a code is worse than none: how far below is left to hovering and the table.
    _set_axes(figure, ["atoms per activation, k"], "R²", [-0.1, 1.04])
    figure.update_xaxes(type="log", tickvals=list(study.ks), ticktext=[str(k) for k in study.ks])
    if study.trained_k is not None:
        figure.add_vline(x=study.trained_k, line={"color": "#808080", "width": 1.2, "dash": "dot"})
    return figure


def _axis(name: str, index: int) -> str:
    return name if index == 0 else f"{name}{index + 1}"


def _add(
    figure: go.Figure,
    name: str,
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, "n seeds"],
    *,
    legend: bool,
    **axes: Any,
) -> None:
    colour, symbol = STYLES[name]
    figure.add_scatter(
        x=x,
        y=y.mean(axis=1),
        mode="lines+markers",
        name=name,
        line={"color": colour, "width": 2},
        marker={"color": colour, "symbol": symbol, "size": 8},
        showlegend=legend,
        legendgroup=name,
        hovertemplate="%{y:.3f}<extra>" + name + "</extra>",
        **axes,
    )
    if y.shape[1] > 1:
        figure.add_scatter(
            x=np.repeat(x, y.shape[1]),
            y=y.ravel(),
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 4, "opacity": 0.6},
            showlegend=False,
            legendgroup=name,
            hoverinfo="skip",
            **axes,
        )


def _set_axes(figure: go.Figure, titles: Sequence[str], y_title: str, ends: list[float]) -> None:
    n, gap = len(titles), 0.1
    part = (1 - gap * (n - 1)) / n
    figure.update_layout(
        template=template(),
        height=int(HEIGHT_PX * theme().font_px / 13),
        margin={"l": 56, "r": 16, "t": 66, "b": 46},
        hovermode="closest",
        legend={"y": 1.0, "yref": "container", "yanchor": "top"},
    )
    for i, title in enumerate(titles):
        left = i * (part + gap)
        x, y = _axis("xaxis", i), _axis("yaxis", i)
        figure.update_layout(
            {
                x: {
                    "domain": [left, left + part],
                    "anchor": _axis("y", i),
                    "title": {"text": title},
                },
                y: {"anchor": _axis("x", i), "range": ends},
            }
        )
    figure.update_layout({"yaxis": {"title": {"text": y_title}}})
