"""The Minkowski view → plotly figures: the decision pair, cosines of atoms, maps of atoms on a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Int

from sae_nb.figures import (
    FLOOR,
    category_style,
    fade,
    framed,
    heatmaps,
    line,
    number_of,
    plot_text,
    side_by_side,
    theme,
)
from sae_nb_studies.minkowski import DictionaryGeometry, ElsewhereScores

SQUARE_PX = 300
WIDE_PX = 320
ACCEPTED = {
    "type": "rect",
    "fillcolor": fade(theme.OKABE_ITO[2], 0.14),
    "line_width": 0,
    "layer": "below",
}
"""Look of the region in which both conditions are met."""

Scores = Mapping[str, tuple[Float[np.ndarray, " seeds"], Float[np.ndarray, " seeds"]]]


def decision_figure(
    scores: Mapping[str, Scores],
    *,
    nulls: Mapping[str, float],
    least_r2: float = 0.99,
    most_off: float = 2.5,
) -> go.Figure:
    """Draw 1 − R² against the distance of the corners from the data, one square per data set.

    The shaded corner is where R² and off-support are both good; the dashed line is the off-support of
    block archetypes fitted to a Gaussian.
    """
    left_over = [1 - r2 for models in scores.values() for r2, _ in models.values()]
    low = float(np.log10(max(min(map(np.min, left_over)), 1e-6))) - 0.3
    high = max(float(np.log10(max(map(np.max, left_over)))) + 0.3, 0.0)
    top = 1.1 * max(float(off.max()) for models in scores.values() for _, off in models.values())
    figure = side_by_side(
        [f"{plot_text(title)}: 1 − R²" for title in scores],
        y="off-support of corners",
        height=SQUARE_PX,
        margin=(46, 10, 34, 46),
    )
    figure.update_xaxes(type="log", range=[low, high], **_powers(low, high))
    figure.update_yaxes(range=[-0.04 * top, top])
    for column, (title, models) in enumerate(scores.items(), start=1):
        place = {"row": 1, "col": column}
        corner = {"x0": 10**low, "x1": 1 - least_r2, "y0": 0, "y1": most_off}
        null = {"x0": 10**low, "x1": 10**high, "y0": nulls[title], "y1": nulls[title]}
        figure.add_shape(**ACCEPTED, **corner, **place)
        figure.add_shape(type="line", line=FLOOR, **null, **place)
        for index, (model, (r2, off)) in enumerate(models.items()):
            colour, shape = category_style(index)
            figure.add_scatter(
                x=np.maximum(1 - np.asarray(r2), 10**low),
                y=off,
                mode="markers",
                name=plot_text(model),
                legendgroup=model,
                showlegend=column == 1,
                line={"color": colour},  # no line is drawn; a still picture takes its key from it
                marker={"color": colour, "symbol": shape, "size": 9},
                hovertemplate="1 − R² %{x:.2g}, off-support %{y:.2f}"
                f"<extra>{plot_text(model)}</extra>",
                **place,
            )
    return figure


def cosines_figure(geometries: Mapping[str, DictionaryGeometry]) -> go.Figure:
    """Draw histograms of the cosines of all pairs of atoms: learned dictionaries as lines, floors dashed."""
    floors = {"random": "dash", "near-Grassmannian": "dot"}
    learned = iter(range(len(geometries)))
    traces = []
    for name, found in geometries.items():
        share = found.counts / found.counts.sum()
        look: dict[str, Any] = {
            "colour": theme.CONTROL,
            "width": 1.6,
            "dash": floors.get(name, "solid"),
        }
        if name not in floors:
            look |= {"colour": theme.OKABE_ITO[next(learned) % len(theme.OKABE_ITO)], "width": 2}
        trace = line(
            name,
            (found.edges[1:] + found.edges[:-1]) / 2,
            np.where(share > 0, share, np.nan),
            hover="cosine %{x:.2f}: %{y:.2g} of pairs",
            **look,
        )
        traces.append(trace)
    low = min(float((g.counts[g.counts > 0] / g.counts.sum()).min()) for g in geometries.values())
    return framed(
        traces,
        x="cosine of two atoms",
        y="share of pairs",
        height=WIDE_PX,
        margin=(60, 10, 34, 46),
        xaxis_range=[-1, 1],
        yaxis={"type": "log", **_percents(low)},
    )


def elsewhere_figure(
    off_ratio: Float[np.ndarray, " n_atoms"],
    dependence: Float[np.ndarray, " n_atoms"],
    top: Int[np.ndarray, " n"],
) -> go.Figure:
    """Draw atoms' off-ratio against their dependence on the object; the corner is "elsewhere"."""
    chosen = np.zeros(len(off_ratio), dtype=bool)
    chosen[np.asarray(top)] = True
    known = np.isfinite(off_ratio) & np.isfinite(dependence)
    looks = (
        ("other atoms", ~chosen, theme.NEUTRAL, 5),
        ("top atoms of the class", chosen, theme.OKABE_ITO[1], 10),
    )
    figure = framed(
        [],
        x="off-ratio: fires beside the object",
        y="dependence on the object",
        height=WIDE_PX,
        margin=(56, 10, 34, 46),
        xaxis_range=[-0.02, 1.02],
        yaxis_range=[-1.1, 1.08],
    )
    figure.add_shape(
        **ACCEPTED, x0=ElsewhereScores.least, x1=1.02, y0=ElsewhereScores.least, y1=1.08
    )
    for name, which, colour, size in looks:
        atoms = np.flatnonzero(which & known)
        figure.add_scatter(
            x=off_ratio[atoms],
            # A few atoms that the object holds down far are drawn at the lower rim.
            y=np.maximum(dependence[atoms], -1.05),
            mode="markers",
            name=name,
            line={"color": colour},
            marker={"color": colour, "size": size, "line": {"color": theme.WHITE, "width": 0.5}},
            customdata=atoms,
            hovertemplate="atom %{customdata}: off %{x:.2f}, needs it %{y:.2f}<extra></extra>",
        )
    return figure


def maps_figure(
    maps: Mapping[str, Float[np.ndarray, "rows columns"]],
    mask: Bool[np.ndarray, "rows columns"] | None = None,
) -> go.Figure:
    """Draw strengths over the patches of a picture, side by side on one scale; dots mark the object."""
    most = max(max(float(np.max(m)) for m in maps.values()), 1e-12)
    over = {}
    if mask is not None:
        over = {t: [_dots(*np.nonzero(mask), legend=i == 0)] for i, t in enumerate(maps)}
    figure = heatmaps(
        maps,
        ends=(0, most),
        hover="row %{y}, column %{x}: %{z:.2f}",
        bar="strength",
        over=over,
        gap=0.05,
        height=SQUARE_PX,
        margin=(10, 10, 34, 40),
    )
    plain = {"showgrid": False, "showticklabels": False, "zeroline": False, "ticks": ""}
    # Constrained: patches stay square.
    figure.update_xaxes(constrain="domain", **plain)
    figure.update_yaxes(constrain="domain", **plain)
    for place, strength in enumerate(maps.values()):
        rows, columns = np.shape(strength)
        figure.update_xaxes(range=[-0.5, columns - 0.5], col=place + 1)
        anchor = f"x{number_of(place)}"
        figure.update_yaxes(range=[rows - 0.5, -0.5], scaleanchor=anchor, col=place + 1)
    return figure


def _dots(
    rows: Int[np.ndarray, " n"], columns: Int[np.ndarray, " n"], *, legend: bool
) -> go.Scatter:
    return go.Scatter(
        x=columns,
        y=rows,
        mode="markers",
        name="digit",
        showlegend=legend,
        line={"color": theme.OKABE_ITO[1]},
        marker={"color": theme.OKABE_ITO[1], "size": 5},
        hoverinfo="skip",
    )


def _powers(low: float, high: float) -> dict[str, Any]:
    """Return ticks of a logarithmic axis at powers of ten, written out: "100µ" would not read as a share."""
    powers = range(math.ceil(low), math.floor(high) + 1)
    return {
        "tickvals": [10.0**power for power in powers],
        "ticktext": [f"{10.0**power:.{max(-power, 0)}f}" for power in powers],
    }


def _percents(low: float) -> dict[str, Any]:
    """Return the same ticks in percent."""
    powers = range(math.ceil(math.log10(low)), 1)
    return {
        "tickvals": [10.0**power for power in powers],
        "ticktext": [f"{10.0 ** (power + 2):.{max(-power - 2, 0)}f} %" for power in powers],
    }
