"""The figure of notebook 13: every dictionary has its point, what has one number alone a line."""

from __future__ import annotations

import math

from sae_nb_lessons.figures import trade_off_figure

from sae_nb.figures import to_svg


def test_points_and_lines() -> None:
    """A point without a number is left out; each has its colour; a line has its name."""
    points = {"TopK": (0.6, 0.9), "ReLU": (0.8, 0.7), "PCA": (math.nan, 0.8)}
    figure = trade_off_figure(points, {"PCA": 0.8}, x_title="stability", y_title="R²")
    assert [mark.name for mark in figure.data] == ["TopK", "ReLU"]
    assert [tuple(mark.y) for mark in figure.data] == [(0.9,), (0.7,)]
    assert len({mark.marker.color for mark in figure.data}) == 2
    assert figure.layout.shapes[0].y0 == 0.8
    assert figure.layout.annotations[0].text == "PCA"
    assert "TopK" in to_svg(figure)
