"""Sites of crosscoders' atoms → plotly figures: relative norms of their parts at two sites."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.figures import DOTTED, category_style, framed, line

HEIGHT_PX = 250
BINS = 20
EDGES = (0.1, 0.9)
"""An atom below the first, or above the second, is called exclusive."""


def difference_figure(differences: Mapping[str, Float[np.ndarray, " n_atoms"]]) -> go.Figure:
    """Draw a histogram of atoms by relative norm, one outline per crosscoder; exclusive beyond dotted lines.

    Parameters
    ----------
    differences
        Results of `difference()`, by the name of the crosscoder.
    """
    traces = []
    for index, (name, values) in enumerate(differences.items()):
        counts, edges = np.histogram(np.asarray(values), bins=BINS, range=(0, 1))
        # An outline: every bin has two corners.
        traces.append(
            line(
                name,
                np.repeat(edges, 2)[1:-1],
                np.repeat(counts, 2),
                colour=category_style(index)[0],
                hover="relative norm %{x:.2f}: %{y} atoms",
            )
        )
    figure = framed(
        traces, x="0: first model alone · ½: both · 1: second alone", y="atoms", height=HEIGHT_PX
    )
    for edge in EDGES:
        figure.add_vline(x=edge, line=DOTTED)
    return figure.update_xaxes(range=[-0.01, 1.01])
