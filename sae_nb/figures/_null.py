"""A statistic's distribution where there is nothing to find, and its observed value."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from sae_nb.checks import Between, checked
from sae_nb.figures._plot_grids import FLOOR, framed
from sae_nb.figures.theme import CONTROL, NOVEL, fade, plot_text
from sae_nb.statistics import permutation_p

MOST_BINS = 40


@checked
def null_distribution(
    null: Float[np.ndarray, " n"],
    observed: float,
    *,
    level: Annotated[float, Between(0, 1, "()")] = 0.05,
    x: str = "statistic",
    height: float = 300,
) -> go.Figure:
    """Return histogram of a statistic under the null hypothesis, with the observed value and its p.

    p = (1 + number of null values that reach the observed one) / (1 + n): the observed value counts as
    one of the null. Values beyond the dashed line have p ≤ `level`; it is left out if n is too small
    for that.

    Parameters
    ----------
    null
        The statistic where there is nothing to find, from permutations or toys; finite.
    observed
        The observed value.
    level
        p at the dashed line.
    x
        Name of the statistic.
    height
        Of the figure, in pixels at scale 1.

    Raises
    ------
    ValueError: If the null is empty, or not finite.

    Example
    -------
    >>> figure = null_distribution(np.arange(99.0), 97.5)
    >>> [trace.name for trace in figure.data]
    ['null, n = 99', 'observed, p = 0.02', 'p = 0.05']
    """
    values = np.asarray(null, np.float64)
    if not len(values) or not np.isfinite([*values, observed]).all():
        raise ValueError(
            f"`null` and `observed` must be finite numbers, got {len(values)} of which "
            f"{int(np.isfinite(values).sum())} are finite, and {observed}. Leave out what has no value."
        )
    counts, edges = np.histogram(values, bins=min(MOST_BINS, max(8, math.isqrt(4 * len(values)))))
    p = float(permutation_p(values, observed))
    top = float(counts.max()) * 1.05
    bars = go.Bar(
        name=f"null, n = {len(values)}",
        x=(edges[:-1] + edges[1:]) / 2,
        y=counts,
        width=np.diff(edges),
        marker={"color": fade(CONTROL, 0.6)},
        hovertemplate="%{x:.3g}: %{y}<extra>null</extra>",
    )
    lines = [_upright(f"observed, p = {p:.3g}", observed, top, {"color": NOVEL, "width": 2.5})]
    allowed = math.floor(level * (1 + len(values)) + 1e-9)
    if allowed >= 1:
        reached = float(np.sort(values)[-allowed])
        lines.append(_upright(f"p = {level:g}", reached, top, FLOOR))
    return framed([bars, *lines], x=plot_text(x), y="how often", height=height, bargap=0)


def _upright(name: str, x: float, top: float, style: dict[str, object]) -> go.Scatter:
    return go.Scatter(
        name=name,
        x=[x, x],
        y=[0, top],
        mode="lines",
        line=style,
        hovertemplate=f"{x:.4g}<extra>{name}</extra>",
    )
