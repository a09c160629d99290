"""Pictures of notebook 09: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
from sae_nb_lessons.figures import bands_figure, moments_figure, time_curves_figure

from sae_nb.figures import theme, to_svg


def test_bands_are_the_two_energies_and_the_borders() -> None:
    """Stacked, in the colours of the parts; tokens are data, never markup."""
    energy = np.array([[1.0, 2.0], [3.0, 0.5], [0.0, 4.0]])
    figure = bands_figure(energy, borders=[1, 2], tokens=["a", "<b>", "c"])
    predicted, novel, borders = figure.data
    assert (predicted.marker.color, novel.marker.color) == (theme.PREDICTED, theme.NOVEL)
    assert np.allclose(predicted.y, energy[:, 0])
    assert np.allclose(novel.y, energy[:, 1])
    assert list(borders.x) == [0.5, 0.5, None, 1.5, 1.5, None]
    assert "<b>" not in predicted.text
    assert "novel" in to_svg(figure)


def test_a_null_is_dashed_in_the_colour_of_its_curve() -> None:
    """And the parts keep their own colours."""
    curves = {
        name: ([1, 2], [0.5, 0.4]) for name in ("predicted", "planted", "planted, order lost")
    }
    figure = time_curves_figure(curves, x_title="x", y_title="y")
    assert figure.data[0].line.color == theme.PREDICTED
    assert [trace.line.dash for trace in figure.data] == ["solid", "solid", "dash"]
    assert figure.data[1].line.color == figure.data[2].line.color


def test_squares_stand_side_by_side_with_their_borders() -> None:
    """One heat map and one line each, on axes of their own."""
    matrices = {"one": np.eye(4), "two": -np.eye(4)}
    figure = moments_figure(matrices, borders=[2])
    kinds = [trace.type for trace in figure.data]
    assert kinds == ["heatmap", "scatter", "heatmap", "scatter"]
    assert {trace.xaxis for trace in figure.data} == {"x", "x2"}
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
