"""Figures of notebook 03: every dictionary has its square, every curve its line, and a still picture."""

from __future__ import annotations

import numpy as np
import pytest
from sae_nb_lessons.figures import curve_figure, likeness_figure

from sae_nb.figures import to_svg


def test_every_dictionary_has_a_square_of_cosines() -> None:
    """On axes of its own, one scale for all."""
    turned = np.array([[1.0, 0.0], [0.6, 0.8]])
    figure = likeness_figure({"truth": np.eye(2), "learned": turned})
    first, second = figure.data
    assert np.asarray(first.z) == pytest.approx(np.eye(2))
    assert np.asarray(second.z)[0, 1] == pytest.approx(0.6)
    assert {(t.zmin, t.zmax) for t in figure.data} == {(-1, 1)}
    assert (first.xaxis, second.xaxis) == ("x", "x2")
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
    assert "learned" in to_svg(figure)


def test_curves_keep_their_points_and_mark_the_training() -> None:
    """One line each; the dotted line only where it was asked for."""
    curves = {"MP": ([1, 2, 4], [0.5, 0.7, 0.9]), "TopK": ([1, 2, 4], [0.4, 0.6, 0.5])}
    figure = curve_figure(curves, x_title="atoms", y_title="R²", trained_at=2)
    assert [trace.name for trace in figure.data] == ["MP", "TopK"]
    assert list(figure.data[1].y) == [0.4, 0.6, 0.5]
    assert figure.layout.shapes[0].x0 == 2
    assert list(figure.layout.xaxis.tickvals) == [1, 2, 4]
    assert not curve_figure(curves, x_title="atoms", y_title="R²").layout.shapes
    assert "atoms" in to_svg(figure)
