"""The Minkowski view → plotly figures: the decision pair, cosines of atoms, where on a picture atoms fire."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Int

from sae_nb.minkowski.atom_geometry import DictionaryGeometry
from sae_nb.minkowski.places import ELSEWHERE
from sae_nb_widgets.figures.theme import (
    CONTROL,
    NEUTRAL,
    OKABE_ITO,
    category_style,
    colour_scale,
    plot_text,
    template,
    theme,
)

GAP = 0.05
SQUARE_PX = 300
WIDE_PX = 320
ACCEPTED = "rgba(0,158,115,0.14)"
"""Where both conditions are met."""

Scores = Mapping[str, tuple[Float[np.ndarray, " seeds"], Float[np.ndarray, " seeds"]]]


def decision_figure(
    scores: Mapping[str, Scores],
    *,
    nulls: Mapping[str, float],
    least_r2: float = 0.99,
    most_off: float = 2.5,
) -> go.Figure:
    """What is left unexplained against how far the corners are from the data, one square per data set.

    The shaded corner is where R² and off-support are both good; the dashed line is the off-support of
    block archetypes fitted to a Gaussian.

    Parameters
    ----------
    scores
        By title of the square and by model: R² and off-support of every seed.
    nulls
        Off-support of the Gaussian, by title.
    least_r2, most_off
        The shaded corner.
    """
    figure, n = go.Figure(), len(scores)
    part = (1 - GAP * (n - 1)) / n
    left_over = [1 - r2 for models in scores.values() for r2, _ in models.values()]
    low = float(np.log10(max(min(map(np.min, left_over)), 1e-6))) - 0.3
    high = max(float(np.log10(max(map(np.max, left_over)))) + 0.3, 0.0)
    top = 1.1 * max(float(off.max()) for models in scores.values() for _, off in models.values())
    for i, (title, models) in enumerate(scores.items()):
        number = "" if i == 0 else str(i + 1)
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
        _shade(figure, axes, low, least_r2, most_off)
        _dashes(figure, axes, (low, high), nulls[title])
        for place, (model, (r2, off)) in enumerate(models.items()):
            colour, shape = category_style(place)
            figure.add_scatter(
                x=np.maximum(1 - np.asarray(r2), 10**low),
                y=off,
                mode="markers",
                name=plot_text(model),
                legendgroup=model,
                showlegend=i == 0,
                line={"color": colour},  # no line is drawn; a still picture takes its key from it
                marker={"color": colour, "symbol": shape, "size": 9},
                hovertemplate="1 − R² %{x:.2g}, off-support %{y:.2f}<extra>" + model + "</extra>",
                **axes,
            )
        left = i * (part + GAP)
        x: dict[str, Any] = {"domain": [left, left + part], "anchor": f"y{number}"}
        x |= {"type": "log", "range": [low, high], **_powers(low, high)}
        x["title"] = {"text": f"{plot_text(title)}: 1 − R²"}
        y = {"anchor": f"x{number}", "range": [-0.04 * top, top], "showticklabels": i == 0}
        figure.update_layout({f"xaxis{number}": x, f"yaxis{number}": y})
    figure.update_layout(
        template=template(),
        height=_height(SQUARE_PX),
        margin={"l": 46, "r": 10, "t": 34, "b": 46},
        yaxis={"title": {"text": "off-support of corners"}},
    )
    return figure


def _shade(
    figure: go.Figure, axes: dict[str, str], low: float, least_r2: float, most_off: float
) -> None:
    box = {"x0": 10**low, "x1": 1 - least_r2, "y0": 0, "y1": most_off}
    references = {"xref": axes["xaxis"], "yref": axes["yaxis"]}
    figure.add_shape(
        type="rect", fillcolor=ACCEPTED, line={"width": 0}, layer="below", **box, **references
    )


def _dashes(
    figure: go.Figure, axes: dict[str, str], ends: tuple[float, float], height: float
) -> None:
    line = {"x0": 10 ** ends[0], "x1": 10 ** ends[1], "y0": height, "y1": height}
    references = {"xref": axes["xaxis"], "yref": axes["yaxis"]}
    dashes = {"color": CONTROL, "width": 1.6, "dash": "dash"}
    figure.add_shape(type="line", line=dashes, **line, **references)


def cosines_figure(geometries: Mapping[str, DictionaryGeometry]) -> go.Figure:
    """Cosines of all pairs of atoms: learned dictionaries as lines, floors dashed.

    Parameters
    ----------
    geometries
        By name; "random" and "near-Grassmannian" are drawn as floors.
    """
    figure, learned = go.Figure(), 0
    floors = {"random": "dash", "near-Grassmannian": "dot"}
    for name, found in geometries.items():
        share = found.counts / found.counts.sum()
        middle = (found.edges[1:] + found.edges[:-1]) / 2
        line = {"color": CONTROL, "width": 1.6, "dash": floors.get(name, "solid")}
        if name not in floors:
            line |= {"color": OKABE_ITO[learned % len(OKABE_ITO)], "width": 2}
            learned += 1
        figure.add_scatter(
            x=middle,
            y=np.where(share > 0, share, np.nan),
            mode="lines",
            name=plot_text(name),
            line=line,
            hovertemplate="cosine %{x:.2f}: %{y:.2g} of pairs<extra>" + name + "</extra>",
        )
    low = min(float((g.counts[g.counts > 0] / g.counts.sum()).min()) for g in geometries.values())
    figure.update_layout(
        template=template(),
        height=_height(WIDE_PX),
        margin={"l": 60, "r": 10, "t": 34, "b": 46},
        xaxis={"title": {"text": "cosine of two atoms"}, "range": [-1, 1]},
        yaxis={"title": {"text": "share of pairs"}, "type": "log", **_percents(low)},
    )
    return figure


def elsewhere_figure(
    off_ratio: Float[np.ndarray, " n_atoms"],
    dependence: Float[np.ndarray, " n_atoms"],
    top: Int[np.ndarray, " n"],
) -> go.Figure:
    """Where atoms fire when an object is there, against whether they need it; the corner is "elsewhere".

    Parameters
    ----------
    off_ratio, dependence
        Of every atom; NaN for silent ones.
    top
        Atoms that matter most to the class, drawn large.
    """
    figure = go.Figure()
    figure.add_shape(
        type="rect",
        x0=ELSEWHERE,
        x1=1.02,
        y0=ELSEWHERE,
        y1=1.08,
        fillcolor=ACCEPTED,
        line={"width": 0},
        layer="below",
    )
    chosen = np.zeros(len(off_ratio), dtype=bool)
    chosen[np.asarray(top)] = True
    known = np.isfinite(off_ratio) & np.isfinite(dependence)
    looks = (
        ("other atoms", ~chosen, NEUTRAL, 5),
        ("top atoms of the class", chosen, OKABE_ITO[1], 10),
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
            marker={"color": colour, "size": size, "line": {"color": "#ffffff", "width": 0.5}},
            customdata=atoms,
            hovertemplate="atom %{customdata}: off %{x:.2f}, needs it %{y:.2f}<extra></extra>",
        )
    figure.update_layout(
        template=template(),
        height=_height(WIDE_PX),
        margin={"l": 56, "r": 10, "t": 34, "b": 46},
        xaxis={"title": {"text": "off-ratio: fires beside the object"}, "range": [-0.02, 1.02]},
        yaxis={"title": {"text": "dependence on the object"}, "range": [-1.1, 1.08]},
    )
    return figure


def maps_figure(
    maps: Mapping[str, Float[np.ndarray, "rows columns"]],
    mask: Bool[np.ndarray, "rows columns"] | None = None,
) -> go.Figure:
    """Strengths over the patches of a picture, side by side on one scale; dots mark the object.

    Parameters
    ----------
    maps
        By title; the first row is the top of the picture.
    mask
        Patches covered by the object.
    """
    figure, n = go.Figure(), len(maps)
    part = (1 - GAP * (n - 1)) / n
    most = max(max(float(np.max(m)) for m in maps.values()), 1e-12)
    for i, (title, strength) in enumerate(maps.items()):
        number = "" if i == 0 else str(i + 1)
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
        figure.add_heatmap(
            z=strength,
            zmin=0,
            zmax=most,
            colorscale=colour_scale(),
            showscale=i == n - 1,
            colorbar={"title": {"text": "strength"}, "thickness": 10},
            name=title,
            hovertemplate="row %{y}, column %{x}: %{z:.2f}<extra>" + plot_text(title) + "</extra>",
            **axes,
        )
        if mask is not None:
            rows, columns = np.nonzero(mask)
            figure.add_scatter(
                x=columns,
                y=rows,
                mode="markers",
                name="digit",
                showlegend=i == 0,
                line={"color": OKABE_ITO[1]},
                marker={"color": OKABE_ITO[1], "size": 5},
                hoverinfo="skip",
                **axes,
            )
        left = i * (part + GAP)
        plain: dict[str, Any] = {
            "showgrid": False,
            "showticklabels": False,
            "zeroline": False,
            "ticks": "",
        }
        side = {"range": [-0.5, np.shape(strength)[1] - 0.5], "anchor": f"y{number}", **plain}
        side["constrain"] = "domain"  # patches stay square
        x = {"domain": [left, left + part], "title": {"text": plot_text(title)}, **side}
        y = {"range": [np.shape(strength)[0] - 0.5, -0.5], "anchor": f"x{number}", **plain}
        y |= {"scaleanchor": f"x{number}", "constrain": "domain"}
        figure.update_layout({f"xaxis{number}": x, f"yaxis{number}": y})
    figure.update_layout(
        template=template(),
        height=_height(SQUARE_PX),
        margin={"l": 10, "r": 10, "t": 34, "b": 40},
    )
    return figure


def _powers(low: float, high: float) -> dict[str, Any]:
    """Ticks of a logarithmic axis at powers of ten, written out: "100µ" is no share."""
    powers = range(math.ceil(low), math.floor(high) + 1)
    return {
        "tickvals": [10.0**power for power in powers],
        "ticktext": [f"{10.0**power:.{max(-power, 0)}f}" for power in powers],
    }


def _percents(low: float) -> dict[str, Any]:
    powers = range(math.ceil(math.log10(low)), 1)
    return {
        "tickvals": [10.0**power for power in powers],
        "ticktext": [f"{10.0 ** (power + 2):.{max(-power - 2, 0)}f} %" for power in powers],
    }


def _height(px: int) -> int:
    return int(px * theme().font_px / 13)
