"""Promises of the frames that figures share: words stay words, and what is no number stays empty."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sae_nb.figures import heatmaps, image_sheet, line, named_ticks
from sae_nb.figures._axes import _ticks

HOSTILE = "<s>"


def test_names_are_text_wherever_they_are_drawn() -> None:
    """Names of lines, of places along an axis, of heat-maps and of ticks, and what hovering says."""
    figure = heatmaps({HOSTILE: np.eye(2)}, ends=(0, 1), hover="%{z}", bar="size")
    figure.update_xaxes(named_ticks([HOSTILE, "b"]))
    figure.add_trace(line(HOSTILE, [HOSTILE, "b"], [0, 1], colour="black", hover="%{y}"))
    figure.add_trace(line("upright", [0, 1], np.array([HOSTILE, "b"]), colour="black"))
    drawn = json.dumps(figure.to_plotly_json(), default=lambda array: np.asarray(array).tolist())
    assert HOSTILE not in drawn
    assert drawn.count("&lt;s&gt;") == 8


def test_cells_without_a_number_are_empty() -> None:
    """NaN, which is no JSON, becomes nothing; the other cells stay as they are."""
    cells = np.array([[1.0, np.nan], [np.inf, 4.0]])
    drawn = heatmaps({"": cells}, ends=(0, 4), hover="", bar="").data[0].z
    assert np.array_equal(drawn, np.array([[1.0, None], [None, 4.0]], dtype=object))
    json.dumps(np.asarray(drawn).tolist(), allow_nan=False)


def test_two_layers_have_no_tick_between_them() -> None:
    """Cells are numbered by whole numbers, on the page and in a picture; named ones keep their names."""
    figure = heatmaps({"": np.eye(2)}, ends=(0, 1), hover="", bar="")
    axes = figure.layout.xaxis, figure.layout.yaxis
    assert [axis.dtick for axis in axes] == [1, 1]
    assert [value for value, _ in _ticks(axes[1], -0.5, 1.5, False, [])] == [0, 1]
    figure.update_xaxes(named_ticks(["a", "b"]))
    assert [name for _, name in _ticks(axes[0], -0.5, 1.5, False, [])] == ["a", "b"]
    many = heatmaps({"": np.eye(40)}, ends=(0, 1), hover="", bar="")
    assert many.layout.xaxis.dtick is None


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 4, 5, 12])
def test_a_row_of_images_fits_a_notebook(n: int) -> None:
    """However many there are, none is cut off at the right; few are not blown up."""
    layout = image_sheet([[("", torch.zeros(3, 8, 8))] * n]).layout
    assert layout.width <= min(190 * n, 840)
    assert layout.width >= min(150 * n, 800)
