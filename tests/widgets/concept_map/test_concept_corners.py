"""A map of archetypes: the polygon is drawn, named and taken away, and refused where there is none."""

from __future__ import annotations

import pytest
import sae_nb_widgets as sw
import torch

from sae_nb.architectures import Archetypal

pytestmark = pytest.mark.slow


def test_an_archetypal_sae_has_a_polygon() -> None:
    """Sides and names of corners come with the layout and go with it; the status line says what is held."""
    points = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    sae = Archetypal(
        d_in=5, n_atoms=8, k=2, candidates=points, generator=torch.Generator().manual_seed(0)
    )
    panel = sw.ConceptMap(sae)
    panel.wait()
    panel.layout_by = "archetypes"
    panel.wait()
    assert panel.record.layout == "archetypes"
    assert panel.chips["layout"] == "archetypes"
    assert len(panel.map.chart.lines) == 3 * 16
    corners = [text for _, _, text in panel.map.chart.words if text.startswith("archetype ")]
    assert len(corners) == 3
    panel.color_by = "corner weight"
    assert not panel.problem
    panel.color_by, panel.layout_by = "cluster", "pca"
    panel.wait()
    assert len(panel.map.chart.lines) == len(panel.looking.nearest(panel.record)) * 16
    assert not any(text.startswith("archetype ") for _, _, text in panel.map.chart.words)
