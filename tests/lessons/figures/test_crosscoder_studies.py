"""The figure of notebook 12: every atom is counted once, and where exclusives begin is marked."""

from __future__ import annotations

import numpy as np
from sae_nb_lessons.figures import difference_figure

from sae_nb.figures import to_svg


def test_every_atom_is_in_one_bin() -> None:
    """Ends included; one outline for each crosscoder, two dotted lines."""
    figure = difference_figure({"price": np.array([0.0, 0.02, 0.5, 1.0]), "none": np.full(3, 0.5)})
    price, none = figure.data
    assert sum(price.y) == 2 * 4
    assert sum(none.y) == 2 * 3
    assert list(price.y[:2]) == [2, 2]
    assert price.y[-1] == 1
    assert list(price.x[:3]) == [0, 0.05, 0.05]
    assert [shape.x0 for shape in figure.layout.shapes] == [0.1, 0.9]
    assert "price" in to_svg(figure)
