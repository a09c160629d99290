"""DepthStrips: gaps, one cursor, phases; the same as HTML without script."""

from __future__ import annotations

import numpy as np
import pytest
import traitlets as t
from sae_nb_widgets.components._curves import Chart, Line
from sae_nb_widgets.components._depth_strips import DepthStrips


def shown() -> DepthStrips:
    strips = DepthStrips(description="over layers", own="this one")
    speed = Line(values=np.array([np.nan, 0.5, 0.25, 0.1]), name="this one")
    mean = Line(values=np.array([np.nan, 0.4, 0.2, 0.1]), name="cls <b>", colour="#CC79A7")
    floor = Line(values=np.full(4, 0.2), name="floor", dashed=True)
    strips.show(
        [Chart(title="speed", lines=[mean, speed]), Chart(title="ρ", lines=[floor])], cuts=(0, 1, 3)
    )
    return strips


def test_values_are_read_where_the_cursor_is() -> None:
    strips = shown()
    assert strips.n_layers == 3
    assert strips.value(1, 2) == 0.25
    assert np.isnan(strips.value(0, 0))


def test_the_cursor_stays_on_a_layer() -> None:
    """Beyond the last it is refused; fewer layers pull it back."""
    strips = shown()
    strips.cursor = 3
    with pytest.raises(t.TraitError, match="between 0 and 3"):
        strips.cursor = 4
    strips.show([Chart(title="short", lines=[Line(values=np.array([1.0, 2.0]))])])
    assert strips.cursor == 1
