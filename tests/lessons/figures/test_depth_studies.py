"""Figures of notebook 07: every layer, phase and null is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sae_nb_lessons.figures._depth_studies import (
    evidence_figure,
    layers_figure,
    similarities_figure,
)

from sae_nb.dynamics import phase_evidence
from sae_nb.figures import to_svg

BLOCKS = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3))


def test_each_reading_has_a_square_and_each_phase_a_box() -> None:
    """Layers are counted from 1, and the boxes run between them."""
    figure = similarities_figure({"raw": BLOCKS, "centred": BLOCKS}, {"centred": (0, 3, 6)})
    raw, centred, boxes = figure.data
    assert (raw.name, centred.name, boxes.xaxis) == ("raw", "centred", "x2")
    assert list(raw.x) == [1, 2, 3, 4, 5, 6]
    corners = [(x, y) for x, y in zip(boxes.x, boxes.y, strict=True) if x is not None]
    assert set(corners) == {
        (a, b) for low in (0.5, 3.5) for a in (low, low + 3) for b in (low, low + 3)
    }
    assert "centred" in to_svg(figure)


def test_evidence_stands_beside_bands_without_phases() -> None:
    """Gain on the left, step at the cuts on the right, nine tenths of the draws as bars."""
    found = [phase_evidence(BLOCKS, k, draws=20) for k in (2, 3)]
    gain_bars, gains, step_bars, steps = evidence_figure({"planted": found}).data
    assert gains.y[0] == pytest.approx(1)
    assert steps.y[0] == pytest.approx(found[0].phases.contrast)
    assert steps.xaxis == "x2"
    assert gain_bars.y[:2] == pytest.approx(np.percentile(found[0].banded_gain, (5, 95)))
    assert step_bars.y[0] < steps.y[0]
    figure = evidence_figure({"of 2 and 3": found, "of 3": found[1:]})
    assert list(figure.layout.xaxis.tickvals) == [2, 3]


def test_layers_begin_at_one_and_floors_are_dashed() -> None:
    """Values as given."""
    figure = layers_figure(
        {"k = 2": np.array([0.9, 0.8])}, floors={"nothing": np.array([0.1, -0.2])}, y_title="R²"
    )
    line, floor = figure.data
    assert list(line.x) == [1, 2]
    assert list(line.y) == [0.9, 0.8]
    assert floor.line.dash == "dash"
