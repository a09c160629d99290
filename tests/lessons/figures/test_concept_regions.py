"""Figure of notebook 04: a square per SAE, every concept in each, strengths as shares of the most."""

from __future__ import annotations

import numpy as np
from sae_nb_lessons.figures import region_figure
from sae_nb_lessons.figures._concept_regions import MOST_POINTS

from sae_nb.figures import to_svg


def test_every_sae_has_a_square_with_all_concepts() -> None:
    """A latent that is never on is drawn as such."""
    ticks, rng = np.linspace(-1, 1, 5), np.random.default_rng(0)
    points, concept = rng.normal(size=(200, 2)), np.arange(200) % 2
    strengths = {"SpaDE": 4 * np.eye(5), "silent": np.zeros((5, 5))}
    figure = region_figure(strengths, ticks, points, concept)
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [float(np.max(trace.z)) for trace in maps] == [1.0, 0.0]
    dots = [trace for trace in figure.data if trace.type == "scatter"]
    assert len(dots) == 4
    assert {len(trace.x) for trace in dots} == {MOST_POINTS}
    assert sum(bool(trace.showlegend) for trace in dots) == 2
    # Points stand in cells of the map: −1 is the first tick, 0 the third.
    assert np.allclose(np.asarray(dots[0].x), (points[concept == 0][:MOST_POINTS, 0] + 1) / 0.5)
    assert list(figure.layout.xaxis.tickvals) == [0, 2, 4]
    assert "silent" in to_svg(figure)
