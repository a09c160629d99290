"""Figure of notebook 05: every arm and seed is there, in the order of the means."""

from __future__ import annotations

import numpy as np
from sae_nb_lessons.figures import arms_figure

from sae_nb.figures import to_svg


def test_arms_stand_in_the_order_of_their_means() -> None:
    """One point per seed, and a line at the floor."""
    arms = {"shared": np.array([0.9, 0.94]), "free": np.array([0.5, 0.6])}
    figure = arms_figure(arms, floor=0.3, x_title="stability")
    bars, points, labels = figure.data
    assert list(bars.y) == ["free", "shared"]
    assert np.allclose(bars.x, [0.55, 0.92])
    assert list(points.x) == [0.5, 0.6, 0.9, 0.94]
    assert list(points.y) == ["free", "free", "shared", "shared"]
    assert list(labels.text) == ["free", "shared"]
    assert figure.layout.shapes[0].x0 == 0.3
    assert "shared" in to_svg(figure)
