"""Figures of notebook 08: every seed, floor and atom is there, on axes that say what they show."""

from __future__ import annotations

import numpy as np
import torch
from sae_nb_lessons.figures._minkowski import (
    cosines_figure,
    decision_figure,
    elsewhere_figure,
    maps_figure,
)

from sae_nb.figures import to_svg
from sae_nb.studies.minkowski import dictionary_geometry, geometry_floors

SCORES = {
    "sum": {"block": (np.array([0.999, 0.998]), np.array([1.4, 1.5]))},
    "Gaussian": {"block": (np.array([0.9, 1.0]), np.array([4.0, 4.2]))},
}


def test_every_seed_stands_in_the_square_of_its_data() -> None:
    """A perfect R² stays on the logarithmic axis; the null is a line in its own square."""
    figure = decision_figure(SCORES, nulls={"sum": 3.9, "Gaussian": 4.1})
    first, second = figure.data
    assert np.allclose(first.x, [0.001, 0.002])
    assert list(second.y) == [4.0, 4.2]
    assert (second.x > 0).all()
    assert (first.xaxis, second.xaxis) == ("x", "x2")
    lines = [shape for shape in figure.layout.shapes if shape.type == "line"]
    assert [(line.y0, line.xref) for line in lines] == [(3.9, "x"), (4.1, "x2")]
    assert "Gaussian: 1 − R²" in to_svg(figure)


def test_the_shaded_corner_is_where_both_are_good() -> None:
    """Up to the bounds given."""
    figure = decision_figure(SCORES, nulls={"sum": 1, "Gaussian": 1}, least_r2=0.9, most_off=2)
    box = next(shape for shape in figure.layout.shapes if shape.type == "rect")
    assert np.isclose(box.x1, 0.1)
    assert (box.y0, box.y1) == (0, 2)


def test_cosines_are_shares_and_floors_are_dashed() -> None:
    """All lines sum to 1 over their bins."""
    atoms = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    figure = cosines_figure({"mine": dictionary_geometry(atoms)} | geometry_floors(30, 8))
    assert [trace.name for trace in figure.data] == ["mine", "random", "near-Grassmannian"]
    assert [trace.line.dash for trace in figure.data] == ["solid", "dash", "dot"]
    assert all(np.isclose(np.nansum(trace.y), 1) for trace in figure.data)
    assert "%" in to_svg(figure)


def test_top_atoms_stand_out_and_silent_ones_are_left_out() -> None:
    """Each atom once, with its number."""
    off = np.array([0.1, 0.9, np.nan, 0.95])
    needs = np.array([0.5, -7.0, 1.0, 0.9])
    others, top = elsewhere_figure(off, needs, np.array([3])).data
    assert list(others.customdata) == [0, 1]
    assert list(top.customdata) == [3]
    assert min(others.y) >= -1.1


def test_maps_share_a_scale_and_show_the_object() -> None:
    """The first row is the top of the picture; names are escaped."""
    mask = np.zeros((3, 3), dtype=bool)
    mask[0, 2] = True
    figure = maps_figure({"a<b": np.eye(3), "gone": np.zeros((3, 3))}, mask)
    heat, dots, other, _ = figure.data
    assert (heat.zmax, other.zmax) == (1.0, 1.0)
    assert (list(dots.x), list(dots.y)) == ([2], [0])
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    assert "a&lt;b" in figure.layout.xaxis.title.text
