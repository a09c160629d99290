"""Studies of encoders → plotly figures: true atoms named by coherence, and R² by number of atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.figures import DOTTED, FLOOR, framed, line, named_ticks, side_by_side, theme
from sae_nb_lessons.studies._encoder_study import ENCODERS
from sae_nb_lessons.studies._support_study import METHODS
from sae_nb_lessons.studies import (
    EncoderStudy,
    SupportStudy,
)

STYLES: dict[str, tuple[str, str]] = {
    "one step": (theme.OKABE_ITO[4], "square"),
    "one step, tied": (theme.OKABE_ITO[4], "square"),
    "one step, fitted": (theme.OKABE_ITO[1], "triangle-up"),
    "the SAE's encoder": (theme.OKABE_ITO[1], "triangle-up"),
    "matching pursuit": (theme.OKABE_ITO[2], "circle"),
    "orthogonal matching pursuit": (theme.OKABE_ITO[3], "diamond"),
    "FISTA": (theme.OKABE_ITO[0], "cross"),
}
"""Colour and marker of each encoder, the same for its counterpart in the other study."""

HEIGHT_PX = 330
MARGIN = (56, 16, 66, 46)
LEGEND: dict[str, Any] = {
    "hovermode": "closest",
    "legend": {"y": 1.0, "yref": "container", "yanchor": "top"},
}
X_TITLES = {
    "families": "cosine of two siblings",
    "common direction": "mean cosine of two atoms",
}


def support_figure(studies: Sequence[SupportStudy]) -> go.Figure:
    """Draw the share of the true atoms that each encoder names, against coherence, side by side.

    Points are seeds, lines their means, the dashed line is random atoms.

    Parameters
    ----------
    studies
        One plot each.
    """
    titles = [X_TITLES[study.kind] for study in studies]
    y_titles = ["true atoms named", *[""] * (len(studies) - 1)]
    figure = side_by_side(titles, y=y_titles, gap=0.1, height=HEIGHT_PX, margin=MARGIN)
    figure.update_layout(**LEGEND).update_yaxes(range=[0, 1.04])
    for column, study in enumerate(studies, start=1):
        x, shown = np.asarray(study.coherences), column == 1
        floor = go.Scatter(x=x, y=study.floor.mean(axis=1), mode="lines", name="random atoms",
                           line=FLOOR, showlegend=shown)  # fmt: skip
        traces = [one for name in METHODS for one in _curve(name, x, study.of(name), shown)]
        for trace in (*traces, floor):
            figure.add_trace(trace, row=1, col=column)
    return figure


def encoder_figure(study: EncoderStudy) -> go.Figure:
    """Draw the R² of each encoder against the number of atoms; the dotted line is the k of the training.

    Parameters
    ----------
    study
        Of one SAE.
    """
    x = np.asarray(study.ks)
    figure = framed(
        [one for name in ENCODERS for one in _curve(name, x, study.of(name)[:, None], True)],
        x="atoms per activation, k",
        y="R²",
        height=HEIGHT_PX,
        margin=MARGIN,
        # Below zero a code is worse than none: how far below is left to hovering and the table.
        yaxis_range=[-0.1, 1.04],
        **LEGEND,
    )
    figure.update_xaxes(named_ticks(study.ks, study.ks, type="log"))
    if study.trained_k is not None:
        figure.add_vline(x=study.trained_k, line=DOTTED)
    return figure


def _curve(
    name: str, x: Float[np.ndarray, " n"], y: Float[np.ndarray, "n seeds"], legend: bool
) -> list[go.Scatter]:
    """Draw the mean of the seeds as a line, and the seeds as points if there are several."""
    colour, symbol = STYLES[name]
    mean = line(name, x, y.mean(axis=1), colour=colour, symbol=symbol, size=8, hover="%{y:.3f}")
    seeds = go.Scatter(
        x=np.repeat(x, y.shape[1]),
        y=y.ravel(),
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 4, "opacity": 0.6},
        showlegend=False,
        legendgroup=name,
        hoverinfo="skip",
    )
    mean.update(showlegend=legend, legendgroup=name)
    return [mean, seeds] if y.shape[1] > 1 else [mean]
