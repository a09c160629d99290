"""Words on and under a concept map: names of clusters and labels, the legend of categories."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.figures import current_theme, escape, format_count, format_percent, plot_text, theme
from sae_nb.summaries import ArchetypePlaces, Column, ConceptMapSummary
from sae_nb_widgets.concept_map._figure import JOINS, NAMES

# -------------------------------------------------------------------------------------------------
# The polygon of an archetypal map: its sides, and which archetype each corner is.


OUTSIDE, INWARDS = 0.08, 0.5


def draw_corners(figure: go.Figure, places: ArchetypePlaces | None) -> None:
    """Draw the polygon around the points, or nothing for None.

    Its sides take the place of the lines between partners, which such a map does not have.
    """
    if places is None:
        if figure.layout.annotations:
            figure.layout.annotations = ()
        return
    around = np.concatenate([places.corners, places.corners[:1]])
    with figure.batch_update():
        figure.data[JOINS].x, figure.data[JOINS].y = (
            np.ascontiguousarray(around[:, 0]),
            np.ascontiguousarray(around[:, 1]),
        )
        figure.data[JOINS].visible = True
    figure.layout.annotations = [
        {
            "x": float(x),
            "y": float(y + OUTSIDE * np.sign(y)),
            # Inwards from corners at the sides, where nothing may be beyond them.
            "xanchor": "right" if x > INWARDS else "left" if x < -INWARDS else "center",
            "text": f"archetype {archetype}",
            "showarrow": False,
            "font": {"size": current_theme().font_px},
        }
        for (x, y), archetype in zip(places.corners, places.archetypes.tolist(), strict=True)
    ]


def corner_words(places: ArchetypePlaces, n_candidates: int) -> str:
    """Say how much of the atoms the corners hold."""
    share = format_percent(float(places.held.mean()))
    return (
        f"The corners are the {len(places.archetypes)} archetypes of most weight among {n_candidates}; they "
        f"hold {share} of it, and an atom lies where its weights on them balance."
    )


# -------------------------------------------------------------------------------------------------
# Words on and under a concept map: names of clusters and labels, the legend of categories.


MOST_NAMES = 16
MOST_IN_LEGEND = 10
NAME_CHARACTERS = 26
# A little less than what a panel of 960 px gives the map: names that fit here fit there.
NOMINAL_PX = (540, 450)


def draw_names(figure: go.Figure, record: ConceptMapSummary, column: Column | None) -> None:
    """Write names on the map: of clusters at their middle, of labelled points above them."""
    names, places = map_names(record, column)
    beside = column is not None and column.name == "label"
    with figure.batch_update():
        trace = figure.data[NAMES]
        trace.x, trace.y = places[:, 0].copy(), places[:, 1].copy()
        trace.text = [plot_text(name) for name in names]
        trace.textposition = "top center" if beside else "middle center"
        trace.textfont.size = current_theme().font_px


def map_names(
    record: ConceptMapSummary, column: Column | None
) -> tuple[list[str], Float[np.ndarray, "m 2"]]:
    """Return names and where to write them, none over another."""
    wanted = _wanted_names(record, column)
    low, high = record.xy.min(axis=0), record.xy.max(axis=0)
    # Pixels per unit of a map that is drawn to one scale in both directions.
    scale = float(min(np.array(NOMINAL_PX) / np.maximum(high - low, 1e-9)))
    size, kept = current_theme().font_px, []
    taken: list[tuple[Any, Any]] = []
    for name, place in wanted:
        text = name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…"
        half = np.array([0.3 * size * len(text) + 4, 0.75 * size])
        # A name at the rim is moved inwards, so that it is not cut off.
        inside = np.minimum(half[0], 0.5 * scale * (high - low)[0]) / scale
        place = np.array([np.clip(place[0], low[0] + inside, high[0] - inside), place[1]])
        middle = (place - low) * scale
        if any((np.abs(middle - m) < half + h).all() for m, h in taken):
            continue
        taken.append((middle, half))
        kept.append((text, place))
        if len(kept) == MOST_NAMES:
            break
    places = np.array([place for _, place in kept], np.float32).reshape(-1, 2)
    return [name for name, _ in kept], places


def _wanted_names(
    record: ConceptMapSummary, column: Column | None
) -> list[tuple[str, Float[np.ndarray, " 2"]]]:
    if column is not None and column.names is not None and column.name == "label":
        first: dict[int, int] = {}
        for point in np.flatnonzero(column.values >= 0).tolist():
            first.setdefault(int(column.values[point]), point)
        return [(column.names[i], record.xy[first[i]]) for i in sorted(first)]
    spell = column is not None and column.name == "cluster"
    return [
        (cluster.name, np.median(record.xy[cluster.points], axis=0))
        for i, cluster in enumerate(record.clusters)
        if spell or cluster.name != f"cluster {i + 1}"
    ]


HALO = (
    f"<style>.sae-nb-panel .scatterlayer .textpoint text {{ paint-order: stroke; stroke-width: 3px; "
    f"stroke-linejoin: round; stroke: var(--jp-layout-color1, {theme.WHITE}); stroke-opacity: 0.8; }}</style>"
)
"""Names on the map are read over points of every colour."""


OUTLINES = {
    "circle": "M6 2a4 4 0 1 0 .01 0z",
    "square": "M2 2h8v8H2z",
    "diamond": "M6 1l5 5-5 5-5-5z",
    "triangle-up": "M6 1l5 9H1z",
    "cross": "M4.5 1h3v3.5H11v3H7.5V11h-3V7.5H1v-3h3.5z",
    "x": "M3 1l3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z",
    "star": "M6 1l1.5 3.4 3.7.4-2.8 2.5.8 3.7L6 9.1 2.8 11l.8-3.7L.8 4.8l3.7-.4z",
    "triangle-down": "M6 11L1 2h10z",
}


def _legend_entry(shape: str, colour: str, text: str) -> str:
    sign = f'<path fill="{colour}" d="{OUTLINES[shape]}"/>'
    svg = f'<svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">{sign}</svg>'
    return f'<span class="sae-nb-keep" dir="auto">{svg} {text}</span>'


def legend_html(column: Column | None) -> str:
    """Return the categories with their colour, shape and size, as HTML; none for numbers."""
    if column is None or column.names is None:
        return HALO
    counts = np.bincount(column.values[column.values >= 0], minlength=len(column.names))
    parts = []
    for i, name in enumerate(column.names[:MOST_IN_LEGEND]):
        shape = theme.MARKERS[(i // len(theme.PALETTE)) % len(theme.MARKERS)]
        text = f"{escape(name)} ({escape(format_count(counts[i]))})"
        parts.append(_legend_entry(shape, theme.PALETTE[i % len(theme.PALETTE)], text))
    rest = len(column.names) - MOST_IN_LEGEND
    none = int((column.values < 0).sum())
    if rest > 0:
        parts.append(f"and {format_count(rest)} more")
    if none:
        parts.append(_legend_entry("circle", theme.UNKNOWN, f"none ({escape(format_count(none))})"))
    return f'{HALO}<div style="line-height:1.5">{" &ensp;".join(parts)}</div>'
