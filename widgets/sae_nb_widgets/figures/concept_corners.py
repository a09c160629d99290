"""The polygon of an archetypal map: its sides, and which archetype each corner is."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from sae_nb.summaries.concept_map_archetypes import ArchetypePlaces
from sae_nb_widgets.figures.concept_map import JOINS
from sae_nb_widgets.figures.theme import format_percent, theme

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
            "font": {"size": theme().font_px},
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
