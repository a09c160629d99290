"""SAEs of data with a hierarchy → plotly figures: cosines of atoms side by side, and curves by size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.figures import DOTTED, SYMBOLS, category_style, framed, heatmaps, line, named_ticks

HEIGHT_PX = 250


def likeness_figure(dictionaries: Mapping[str, Float[np.ndarray, "n_atoms d_in"]]) -> go.Figure:
    """Draw the cosines of all pairs of atoms, one square per dictionary, atoms in the same order.

    Parameters
    ----------
    dictionaries
        Unit atoms, by the title of their square.
    """
    rows = {title: np.asarray(atoms, dtype=np.float64) for title, atoms in dictionaries.items()}
    figure = heatmaps(
        {title: atoms @ atoms.T for title, atoms in rows.items()},
        ends=(-1, 1),
        signed=True,
        hover="atoms %{x}, %{y}: %{z:.2f}",
        bar="cosine",
        gap=0.03,
        height=HEIGHT_PX,
        margin=(30, 10, 8, 40),
    )
    figure.update_xaxes(showgrid=False)
    return figure.update_yaxes(autorange="reversed")


def curve_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_title: str,
    y_title: str,
    trained_at: float | None = None,
    y_range: tuple[float, float] | None = None,
) -> go.Figure:
    """Draw curves over a size, each with its own colour and marker; a dotted line at the size in training.

    Parameters
    ----------
    curves
        Sizes and values, by name.
    x_title, y_title
        Of the axes.
    trained_at
        The size in training; None draws no line.
    y_range
        Ends of the vertical axis; None fits them to the curves.
    """
    traces = [
        line(
            name,
            list(x),
            list(y),
            colour=category_style(index)[0],
            symbol=SYMBOLS[index % 3],
            hover="%{x}: %{y:.3f}",
        )
        for index, (name, (x, y)) in enumerate(curves.items())
    ]
    ticks = sorted({value for x, _ in curves.values() for value in x})
    figure = framed(traces, x=x_title, y=y_title, height=HEIGHT_PX, yaxis_range=y_range)
    figure.update_xaxes(named_ticks((f"{value:g}" for value in ticks), ticks, type="log"))
    if trained_at is not None:
        figure.add_vline(x=trained_at, line=DOTTED)
    return figure
