"""A map of archetypes: the polygon is drawn, named and taken away, and refused where there is none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from sae_nb_widgets.concept_map._detail import groups_sentence
from sae_nb_widgets.concept_map._styles import look_of

from sae_nb.architectures import Archetypal
from sae_nb.atoms import Cluster, Column


@pytest.mark.slow
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


def test_a_group_without_a_name_is_counted_and_not_called_by_a_number() -> None:
    """Neither in the key, where the styles of the others stay theirs, nor in the sentence on groups."""
    column = Column(
        name="cluster", meaning="cluster", values=np.array([0, 0, 0, 1, 1, 2, -1]),
        names=("group 1", "sea", "group 3"),
    )  # fmt: skip
    look = look_of(column, 7, {"group 1", "group 3"})
    assert look.legend == [[2, "sea (2)"], [0, "none (1)"]]
    assert look.rest == "and 2 without a name"
    assert look_of(column, 7).rest == ""
    groups = tuple(
        Cluster(name=name, points=np.arange(n), cosine=0.5, floor=0.1)
        for name, n in (("group 1", 3), ("sea", 2))
    )
    record = SimpleNamespace(clusters=groups, ids=np.arange(7), show="atoms")
    assert "2 groups, the largest: one of 3 and sea (2)." in groups_sentence(record)
