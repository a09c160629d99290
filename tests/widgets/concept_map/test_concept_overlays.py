"""ConceptMap's overlays: the cone of a named direction and the dimension around each point."""

from __future__ import annotations

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch

N_ATOMS, D_IN = 48, 12


def atoms() -> torch.Tensor:
    rows = torch.randn(N_ATOMS, D_IN, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.normalize(rows, dim=1)


def directions() -> dict[str, torch.Tensor]:
    """One made of two atoms, one that turns away from all of them."""
    dictionary = atoms()
    return {"planted": 3 * dictionary[7] + dictionary[21], "other": -dictionary.mean(dim=0)}


def lines_of(panel: sw.ConceptMap) -> np.ndarray:
    return np.frombuffer(panel.map.chart.lines, np.float32).reshape(-1, 2, 2)


@pytest.fixture
def panel() -> sw.ConceptMap:
    one = sw.ConceptMap(atoms(), cones=directions())
    one.layout_by = "pca"
    one.wait()
    return one


def test_a_cone_joins_the_atoms_it_was_planted_of(panel: sw.ConceptMap) -> None:
    """The strongest is the thickest line; all of them start where the name stands, by weight."""
    assert panel.answer.startswith("No atom is close to atom 0")
    assert len(lines_of(panel)) == 0
    assert panel.map.chart.hint.startswith("Ring: the chosen atom. ")
    panel.cone = "planted"
    panel.wait()
    cone, record = panel.overlays.cone, panel.record
    assert cone is not None
    assert record is not None
    assert cone.atoms[:2].tolist() == [7, 21]
    assert cone.weights[0] == pytest.approx(3 * cone.weights[1], rel=0.02)
    lines, widths = lines_of(panel), panel.map.chart.widths
    assert np.allclose(lines[:, 1], record.xy[cone.atoms], atol=1e-5)
    middle = np.average(record.xy[cone.atoms], axis=0, weights=cone.weights)
    assert np.allclose(lines[:, 0], middle, atol=1e-5)
    assert widths[0] == max(widths) > widths[1]
    assert panel.map.chart.words[0][2] == "planted"


def test_what_is_left_stands_beside_random_directions(panel: sw.ConceptMap) -> None:
    """Bars of r(s), a dashed tick of the floor on each; the sentence says both."""
    panel.cone = "planted"
    panel.wait()
    cone = panel.overlays.cone
    assert cone is not None
    assert cone.r[1] < 1e-3 < 0.1 < cone.random_directions[1]
    assert panel.overlays.left.values == cone.r.tolist()
    assert [band[1] for band in panel.overlays.left.bands] == cone.random_directions.tolist()
    assert panel.overlays.atoms.values == cone.weights.tolist()
    assert "of random directions" in panel.answer
    assert "Thick lines" in panel.map.facts.value


def test_points_take_the_dimension_around_them() -> None:
    """Atoms in a plane have a lower one than those that point anywhere; the key has random atoms beside."""
    angles = torch.linspace(0, 1.5, 30, dtype=torch.float64)
    plane = torch.zeros(30, 40, dtype=torch.float64)
    plane[:, 0], plane[:, 1] = angles.cos(), angles.sin()
    plane += 1e-4 * torch.randn(30, 40, generator=torch.Generator().manual_seed(0)).double()
    anywhere = torch.randn(60, 40, generator=torch.Generator().manual_seed(1))
    one = sw.ConceptMap(torch.cat([plane.float(), anywhere]))
    one.layout_by = "pca"
    one.color_by = "local dimension"
    one.wait()
    assert one.record is not None
    values = one.record.columns["local dimension"].values
    assert np.median(values[:30]) < 2 < 5 < np.median(values[30:])
    assert "random atoms" in one.map.chart.bar[0]
    assert "local dimension" in one.cards.facts.value
    one.refresh()
    assert "local dimension" in one.record.columns


def test_only_atoms_nearer_than_chance_are_called_nearest() -> None:
    """Of twelve directions at right angles one is turned towards another: to that alone a line leads."""
    rows = torch.eye(12)
    rows[1, :2] = torch.tensor([0.8, 0.6])
    panel = sw.ConceptMap(rows)
    panel.layout_by, panel.atom = "pca", 0
    panel.wait()
    assert panel.answer == "Nearest to atom 0: atom 1."
    assert len(lines_of(panel)) == 1
    assert "0.80;" in panel.numbers
    panel.atom = 7
    panel.wait()
    assert panel.answer.startswith("No atom is close to atom 7")
    assert len(lines_of(panel)) == 0
