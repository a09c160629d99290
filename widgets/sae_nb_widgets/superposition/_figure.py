"""A toy bottleneck's record → one figure: two toys side by side; folded, WᵀW, room, neurons and atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sae_nb.evaluation import SuperpositionSummary
from sae_nb.figures import (
    category_style,
    colour_scale,
    current_theme,
    fade,
    named,
    number_of,
    on_axes,
    plot_title,
    template,
    theme,
)
from sae_nb.figures.theme import format_number, scaled

ATOM_COLOUR = theme.OKABE_ITO[5]
FEATURE_COLOURS = tuple(theme.OKABE_ITO[i] for i in (2, 3, 4, 6, 7))
"""Of five features: neither the sky blue of atoms nor the orange and blue of what has a sign."""
PLOT_PX, GAP_PX, TOP_PX, BOTTOM_PX, LEGEND_PX = 262, 84, 28, 52, 26
STRIP_PX, BETWEEN_PX, PAIR_PX = 76, 46, 270
"""Heights of a strip of moments, of the title under it, and of the plot of a toy next to another."""

TRACK, LOST = fade(theme.GREY, 0.16), fade(theme.GREY, 0.8)
"""Of moments at which a feature is not there, and at which one is there that is not kept."""

ATOMS = "atoms"
SHAPE = "shape"
NO_ROOM = "no room"
KEPT, OFTEN = "kept", "often"
"""Titles of a toy and of the strip above it."""

LANDMARKS = ((0.0, "0"), (0.4, "⅖"), (0.5, "½"), (1.0, "1"))
RING_AT = 1.5
REACH = 1.68
LEFT, RIGHT = [0.0, 0.44], [0.56, 1.0]
_HEIGHT = 2 * PLOT_PX + GAP_PX
_PAIR_HEIGHT = STRIP_PX + BETWEEN_PX + PAIR_PX
TOYS, STRIPS = [0.0, PAIR_PX / _PAIR_HEIGHT], [1 - STRIP_PX / _PAIR_HEIGHT, 1.0]
HALVES = ([0.0, 0.46], [0.54, 1.0])
UPPER, LOWER = [1 - PLOT_PX / _HEIGHT, 1 - 14 / _HEIGHT], [0.0, PLOT_PX / _HEIGHT]
CURSOR = "cursor"
BEST = {"neuron": "best neuron", "atom": "best atom", "random": "best random direction"}
"""The competitors in the fourth plot, and their names in the legend."""

BESIDE = " beside"
"""At the end of the names of traces of the second toy."""

TOY, OTHER_TOY, MOMENTS, OTHER_MOMENTS = 0, 4, 5, 6
"""Places of the two toys, and of the strips above them."""

N_MOMENTS = 40
"""Moments in a strip: enough for a feature that is there 3 % of the time to be seen."""

MOST_LABELLED = 12
"""Features that are numbered on axes and arrows; more would overlap."""


def superposition_figure(
    sweep: Sequence[SuperpositionSummary],
    chosen: int,
    beside: int | None = None,
    *,
    alone: bool = False,
) -> go.Figure:
    """Draw a toy and, `alone`, another `beside` it, or four views of the one among those of its sweep.

    Where its features live (arrows for two neurons, else lengths), what each reads of the others,
    how much room each has at every sparsity, and who tells each apart. The sweep has the sparsest
    last; an empty one gives empty axes.
    """
    n_features, n_hidden = sweep[0].directions.shape if sweep else (0, 2)
    flat, size = n_hidden == 2, current_theme().font_px + 1
    titles = [plot_title(i, text, size=size) for i, text in enumerate(_titles(n_features, flat))]
    pair = [
        plot_title(at, "", size=size) | {"name": f"{name}{beside}"}
        for beside, places in (("", (TOY, MOMENTS)), (BESIDE, (OTHER_TOY, OTHER_MOMENTS)))
        for name, at in zip((KEPT, OFTEN), places, strict=True)
    ]
    figure = go.Figure(
        _traces(n_features, flat) if sweep else [],
        dict(
            template=template(),
            margin={"l": 54, "r": 12, "t": TOP_PX, "b": BOTTOM_PX + scaled(2 * LEGEND_PX)},
            legend=_legend(0),
            legend2=_legend(1),
            hovermode="closest",
            barmode="group",
            bargap=0.3,
            annotations=[*pair, *titles, _waiting()],
            **_axes(n_features, flat),
        ),
    )
    if sweep:
        _draw_sweep(figure, sweep)
        update_superposition_figure(figure, sweep, chosen, beside)
    fold_superposition_figure(figure, alone, paired=beside is not None)
    return figure


def fold_superposition_figure(figure: go.Figure, alone: bool, *, paired: bool) -> None:
    """Show two toys (`paired`) or one, with their moments above them, or the four views of one."""
    layout = figure.layout
    shown = (
        {TOY, MOMENTS} | ({OTHER_TOY, OTHER_MOMENTS} if paired else set())
        if alone
        else {0, 1, 2, 3}
    )
    with figure.batch_update():
        layout.height = figure_height(alone=alone)
        layout.xaxis.domain = (HALVES[0] if paired else [0.0, 1.0]) if alone else LEFT
        layout.yaxis.domain = TOYS if alone else UPPER
        layout.xaxis6.domain = layout.xaxis.domain
        flat = "scaleanchor" in layout.yaxis
        for axis in (layout.xaxis, layout.yaxis):
            axis.showticklabels, axis.ticks = (
                not (alone and flat),
                "" if alone and flat else "outside",
            )
        layout.showlegend = not alone
        layout.margin.b = BOTTOM_PX + (0 if alone else scaled(2 * LEGEND_PX))
        for place in range(OTHER_MOMENTS + 1):
            suffix = number_of(place)
            layout[f"xaxis{suffix}"].visible = layout[f"yaxis{suffix}"].visible = place in shown
        for note in layout.annotations:
            note.visible = bool(note.name) == alone and (paired or BESIDE not in (note.name or ""))
        for trace in figure.data:
            at = int((trace.xaxis or "x")[1:] or 1) - 1
            trace.visible = at in shown and not (alone and trace.name == ATOMS)


def update_superposition_figure(
    figure: go.Figure,
    sweep: Sequence[SuperpositionSummary],
    chosen: int,
    beside: int | None = None,
    waiting: str = "",
) -> None:
    """Show another toy of the same sweep, or the atoms found meanwhile.

    `waiting` is shown in place of the bars, and names what they wait for.
    """
    record = sweep[chosen]
    n_features = len(record.directions)
    with figure.batch_update():
        _draw_toy(figure, record, "")
        if beside is not None:
            _draw_toy(figure, sweep[beside], BESIDE)
        named(figure, "gram").z = record.gram.astype(np.float32)
        cursor = named(figure, CURSOR)
        cursor.x, cursor.y = [chosen, chosen], [0.0, 1.08]
        _draw_atoms(figure, record)
        found = record.found
        nothing = np.full(n_features, np.nan)
        for name in ("neuron", "atom"):
            values = nothing if found is None else getattr(found, f"{name}_f1")
            _bars(figure, BEST[name], values, f"F1 of the {BEST[name]}")
        control = nothing if found is None else found.random_f1
        _draw_control(named(figure, BEST["random"]), control)
        figure.layout.annotations[-1].text = waiting


def figure_height(*, alone: bool = False) -> int:
    """Return height in CSS pixels at the current scale."""
    if alone:
        return scaled(_PAIR_HEIGHT) + TOP_PX + BOTTOM_PX
    return scaled(2 * PLOT_PX + GAP_PX + 2 * LEGEND_PX) + TOP_PX + BOTTOM_PX


def how_often(sparsity: float) -> str:
    """Return how often a feature is there, in words.

    >>> how_often(0.0), how_often(0.97), how_often(0.995)
    ('always there', 'there 3 % of the time', 'there 0.5 % of the time')
    """
    if not sparsity:
        return "always there"
    return f"there {100 * (1 - sparsity):.3g} % of the time"


def scale_texts(figure: go.Figure) -> None:
    """Give names and titles the size of the current scale."""
    size = current_theme().font_px
    with figure.batch_update():
        for trace in figure.data:
            if trace.type == "scatter" and trace.mode and "text" in trace.mode:
                trace.textfont.size = size
        for note in figure.layout.annotations:
            note.font.size = size + 1
        figure.layout.legend2.y = _legend(1)["y"]


# --- parts ----------------------------------------------------------------------------------------


def _titles(n_features: int, flat: bool) -> tuple[str, str, str, str]:
    # Short enough for columns of 230 pixels in the lecture scale.
    return (
        f"{n_features} features over two neurons" if flat else "length of each direction",
        "how much j leaks into i (WᵀW)",
        "room that each gets",
        "who finds the feature?",
    )


def _waiting() -> dict[str, Any]:
    """A note in the middle of the fourth plot, empty at first."""
    return plot_title(3, "", size=current_theme().font_px + 1) | {"y": 0.5, "yanchor": "middle"}


def _traces(n_features: int, flat: bool) -> list[Any]:
    control = {"color": theme.CONTROL, "width": 2, "dash": theme.CONTROL_DASH}
    labelled = [
        _bar(BEST["neuron"], theme.NEUTRAL, 3),
        _bar(BEST["atom"], ATOM_COLOUR, 3),
        _line(BEST["random"], control, 3),
    ]
    for trace in labelled:
        trace.showlegend = True
    return [
        *_toy_traces(n_features, flat, "", TOY, MOMENTS),
        *_toy_traces(n_features, flat, BESIDE, OTHER_TOY, OTHER_MOMENTS),
        *([_rings()] if flat else []),
        _gram(),
        # Arrows have the same colours, and their numbers.
        *(_curve(i, not flat and n_features <= MOST_LABELLED) for i in range(n_features)),
        _line(CURSOR, {"color": fade(theme.GREY, 0.4), "width": 6}, 2),
        *labelled,
    ]


def _toy_traces(n_features: int, flat: bool, beside: str, place: int, above: int) -> list[Any]:
    """What is drawn of one toy: its features among the neurons, and above them when each is there."""
    colours = [TRACK, LOST, *map(_colour, range(n_features))]
    last = len(colours)
    steps = [[(i + end) / last, colour] for i, colour in enumerate(colours) for end in (0, 1)]
    moments = go.Heatmap(
        name=f"{OFTEN}{beside}",
        colorscale=steps,
        zmin=0,
        zmax=last,
        showscale=False,
        xgap=1,
        ygap=2,
        hovertemplate="feature %{y}, at moments by chance<extra></extra>",
        **on_axes(above),
    )
    if not flat:
        return [_bar(f"lengths{beside}", theme.NEUTRAL, place), moments]
    edges = {"color": fade(theme.GREY, 0.6), "width": 1.5, "dash": "dot"}
    return [
        _line(f"{SHAPE}{beside}", edges, place),
        *(_arrow(feature, beside, place) for feature in range(n_features)),
        _no_room(beside, place),
        moments,
    ]


def _no_room(beside: str, place: int) -> go.Scatter:
    """A ring where the features lie that are not kept."""
    return go.Scatter(
        name=f"{NO_ROOM}{beside}",
        mode="markers+text",
        showlegend=False,
        marker={"symbol": "circle-open", "size": 13, "color": LOST, "line": {"width": 3}},
        textposition="top center",
        textfont={"size": current_theme().font_px},
        hoverinfo="skip",
        **on_axes(place),
    )


def _rings() -> go.Scatter:
    return go.Scatter(
        name=ATOMS,
        showlegend=False,
        mode="lines+markers",
        line={"color": ATOM_COLOUR, "width": 1.5, "dash": "dot"},
        marker={"symbol": "circle-open", "color": ATOM_COLOUR, "line": {"width": 2.5}},
        hovertemplate="atom %{customdata}<extra></extra>",
        **on_axes(0),
    )


def _gram() -> go.Heatmap:
    return go.Heatmap(
        name="gram",
        colorscale=colour_scale(signed=True),
        colorbar={"thickness": 9, "x": 0.93, "xanchor": "left", "outlinewidth": 0, "nticks": 5},
        xgap=1,
        ygap=1,
        hovertemplate="%{z:.2f} of feature %{x} leaks into output %{y}<extra></extra>",
        **on_axes(1),
    )


def _arrow(feature: int, beside: str, place: int) -> go.Scatter:
    colour = _colour(feature)
    return go.Scatter(
        name=f"arrow {feature}{beside}",
        mode="lines+markers+text",
        showlegend=False,
        line={"color": colour, "width": 3},
        marker={"color": colour, "size": [0, 9]},
        textposition="middle right",
        textfont={"size": current_theme().font_px},
        hovertemplate=f"feature {feature}<br>neuron 0: %{{x:.2f}}<br>neuron 1: %{{y:.2f}}"
        "<extra></extra>",
        **on_axes(place),
    )


def _colour(feature: int) -> str:
    """Return the colour of a feature; where there are many, two may be of one colour."""
    if feature < len(FEATURE_COLOURS):
        return FEATURE_COLOURS[feature]
    return category_style(feature)[0]


def _curve(feature: int, listed: bool) -> go.Scatter:
    colour = _colour(feature)
    return go.Scatter(
        name=f"feature {feature}",
        mode="lines+markers",
        showlegend=listed,
        legend="legend2",
        line={"color": colour, "width": 1.6},
        marker={"size": 5, "color": colour},
        hovertemplate=f"feature {feature}<br>sparsity %{{customdata}}<br>"
        "gets %{y:.2f} of a dimension<extra></extra>",
        **on_axes(2),
    )


def _line(name: str, line: dict[str, Any], place: int) -> go.Scatter:
    return go.Scatter(
        name=name, mode="lines", line=line, hoverinfo="skip", showlegend=False, **on_axes(place)
    )


def _bar(name: str, colour: str, place: int) -> go.Bar:
    return go.Bar(
        name=name, marker={"color": colour}, hoverinfo="text", showlegend=False, **on_axes(place)
    )


def _axes(n_features: int, flat: bool) -> dict[str, Any]:
    """Four small plots, placed by pixels so that titles and ticks keep their distance."""
    numbered = {"tickmode": "linear", "dtick": 1 if n_features <= MOST_LABELLED else 5}
    square = {"range": [-REACH, REACH], "zeroline": True, "zerolinecolor": theme.AXIS}
    square |= {"constrain": "domain", "constraintoward": "top", "nticks": 4, "fixedrange": True}
    plain = {"title": {"text": "feature"}, "fixedrange": True} | numbered
    first = square if flat else plain
    up = {"title": {"text": "neuron 1"}, "scaleanchor": "x"} if flat else {"rangemode": "tozero"}
    axes: dict[str, dict[str, Any]] = {
        "xaxis": first | ({"title": {"text": "neuron 0"}} if flat else {}),
        "yaxis": (first if flat else {"fixedrange": True}) | up,
        "xaxis2": {"title": {"text": "feature j"}, "constrain": "domain"} | numbered,
        "yaxis2": {"title": {"text": "output i"}, "scaleanchor": "x2", "constrain": "domain"}
        | numbered,
        "xaxis3": {"title": {"text": "sparsity: chance that a feature is off"}},
        "yaxis3": {"title": {"text": "dimensions per feature"}, "range": [-0.03, 1.08]},
        "xaxis4": plain | {"range": [-0.6, n_features - 0.4]},
        "yaxis4": {"title": {"text": "F1 (1: always right)"}, "range": [0, 1.02]},
    }
    axes["xaxis5"], axes["yaxis5"] = dict(axes["xaxis"]), axes["yaxis"] | {"title": {"text": ""}}
    if flat:
        axes["yaxis5"] |= {"scaleanchor": "x5", "showticklabels": False, "ticks": ""}
        axes["xaxis5"] |= {"showticklabels": False, "ticks": ""}
    for number in "67":
        axes[f"xaxis{number}"] = {"showticklabels": False, "ticks": "", "showgrid": False}
        axes[f"yaxis{number}"] = {
            "autorange": "reversed",
            "showgrid": False,
            "ticks": "",
        } | numbered
    # The key of its colours is next to the second.
    places = (
        *((LEFT, UPPER), ([RIGHT[0], 0.91], UPPER), (LEFT, LOWER), (RIGHT, LOWER)),
        (HALVES[1], TOYS),
        *((half, STRIPS) for half in HALVES),
    )
    for place, (across, along) in enumerate(places):
        suffix = number_of(place)
        axes[f"xaxis{suffix}"] |= {"domain": across, "anchor": f"y{suffix}", "fixedrange": True}
        axes[f"yaxis{suffix}"] |= {"domain": along, "anchor": f"x{suffix}", "fixedrange": True}
    # A map that stays square is given its ends, or plotly would draw more than there is.
    if n_features:
        axes["xaxis2"]["range"] = [-0.5, n_features - 0.5]
        axes["yaxis2"]["range"] = [n_features - 0.5, -0.5]
    return axes


def _legend(row: int) -> dict[str, Any]:
    """Draw the legend above the fourth plot, since under all plots it would run into the third: bars,
    then features.
    """
    return {
        "orientation": "h",
        "x": 0.0 if row else 1.0,
        "xanchor": "left" if row else "right",
        "y": row * scaled(LEGEND_PX) / figure_height(),
        "yref": "container",
        "yanchor": "bottom",
        "itemclick": False,
        "itemdoubleclick": False,
    }


def _draw_sweep(figure: go.Figure, sweep: Sequence[SuperpositionSummary]) -> None:
    """Draw the parts that do not change with the slider: the room at every sparsity, and landmarks."""
    place = np.arange(len(sweep))
    words = [format_number(record.sparsity, digits=2) for record in sweep]
    for feature in range(len(sweep[0].directions)):
        curve = named(figure, f"feature {feature}")
        curve.x, curve.customdata = place, words
        curve.y = np.array([record.dimensionality[feature] for record in sweep], np.float32)
    every = max(1, round(len(sweep) / 6))
    figure.layout.xaxis3.tickvals = place[::-1][::every]
    figure.layout.xaxis3.ticktext = [f"{record.sparsity:g}" for record in sweep[::-1][::every]]
    figure.layout.xaxis3.range = [-0.5, len(sweep) - 0.5]
    figure.layout.yaxis3.tickvals = [value for value, _ in LANDMARKS]
    figure.layout.yaxis3.ticktext = [word for _, word in LANDMARKS]
    strongest = max(float(np.abs(record.gram).max()) for record in sweep)
    gram = named(figure, "gram")
    gram.zmin, gram.zmax = -strongest, strongest
    bottom, top = figure.layout.yaxis2.domain
    gram.colorbar.y, gram.colorbar.len = (bottom + top) / 2, top - bottom


def _draw_toy(figure: go.Figure, record: SuperpositionSummary, beside: str) -> None:
    """Draw where a toy has its features, how many it keeps, and when each is there."""
    n_features, kept = len(record.directions), set(record.stored)
    if record.n_hidden == 2:
        _draw_arrows(figure, record, beside)
    else:
        lengths = np.linalg.norm(record.directions, axis=1)
        _bars(figure, f"lengths{beside}", lengths, "length")
    # The same order for every sparsity: what is rarer is there at fewer of the same moments, and as many are
    # drawn as the title says.
    moments_of = np.tile(np.arange(N_MOMENTS), (n_features, 1))
    order = np.random.default_rng(0).permuted(moments_of, axis=1) * n_features
    order += np.arange(n_features)[:, None]
    there = order < round((1 - record.sparsity) * order.size)
    code = [2 + feature if feature in kept else 1 for feature in range(n_features)]
    moments = named(figure, f"{OFTEN}{beside}")
    moments.z = (there * np.array(code)[:, None] + 0.5).astype(np.float32)
    notes = {note.name: note for note in figure.layout.annotations if note.name}
    notes[f"{KEPT}{beside}"].text = f"<b>{len(kept)} of {n_features}</b> kept"
    notes[f"{OFTEN}{beside}"].text = how_often(record.sparsity)


def _draw_arrows(figure: go.Figure, record: SuperpositionSummary, beside: str) -> None:
    kept = set(record.stored)
    for feature, (across, along) in enumerate(record.directions.tolist()):
        arrow = named(figure, f"arrow {feature}{beside}")
        arrow.x, arrow.y = [0.0, across], [0.0, along]
        arrow.text = ["", str(feature) if feature in kept else ""]
        arrow.line.color = arrow.marker.color = _colour(feature) if feature in kept else LOST
        arrow.marker.size = [0, 9 if feature in kept else 0]
        arrow.textposition = _outward(across, along)
    # Neighbours in angle are joined: the tips are the corners of a pentagon, a square, a line.
    ends = record.directions[list(record.stored)]
    corners = ends[np.argsort(np.arctan2(ends[:, 1], ends[:, 0]))]
    shape = named(figure, f"{SHAPE}{beside}")
    shape.x, shape.y = np.concatenate([corners, corners[:1]]).T
    lost = [str(i) for i in range(len(record.directions)) if i not in kept]
    ring, listed = named(figure, f"{NO_ROOM}{beside}"), len(lost) <= len(FEATURE_COLOURS)
    ring.x, ring.y = ([0.0], [0.0]) if lost else ([], [])
    ring.text = [f"{', '.join(lost) if listed else len(lost)}: no room"] if lost else []
    ring.textposition = "top center" if not len(ends) or ends[:, 1].sum() <= 0 else "bottom center"


def _draw_atoms(figure: go.Figure, record: SuperpositionSummary) -> None:
    if record.n_hidden != 2:
        return
    atoms = named(figure, ATOMS)
    found = record.found
    matched = () if found is None else found.matched
    ends = np.zeros((0, 2)) if found is None else found.atoms[list(matched)]
    # One line through the origin and out again per atom; gaps part them.
    rays = np.full((3 * len(ends), 2), np.nan)
    rays[0::3], rays[1::3] = 0.0, RING_AT * ends
    atoms.x, atoms.y = rays[:, 0], rays[:, 1]
    atoms.customdata = np.repeat(np.array(matched, dtype=int), 3)
    atoms.marker.size = [0, 11, 0] * len(ends)


def _outward(across: float, along: float) -> str:
    """Return the side of the tip for its number: away from the origin."""
    if abs(along) > abs(across):
        return "top center" if along > 0 else "bottom center"
    return "middle right" if across > 0 else "middle left"


def _draw_control(trace: go.Scatter, values: np.ndarray) -> None:
    """A dashed line across both bars of every feature."""
    middle = np.arange(len(values), dtype=float)
    ends = np.stack((middle - 0.42, middle + 0.42, np.full(len(values), np.nan)), axis=1)
    trace.x, trace.y = ends.ravel(), np.repeat(values, 3)


def _bars(figure: go.Figure, name: str, values: np.ndarray, what: str) -> None:
    trace = named(figure, name)
    trace.x = np.arange(len(values))
    trace.y = np.asarray(values, np.float32)
    trace.hovertext = [
        f"feature {i}: {what} {format_number(float(value))}" for i, value in enumerate(values)
    ]
