"""A map of more atoms than are drawn while it moves: search, lasso, filter, files and pages know all of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from sae_nb_widgets.components._point_map import packed
from sae_nb_widgets.concept_map import _close

pytestmark = pytest.mark.slow

N = 70_000


@pytest.fixture(scope="module")
def panel() -> Iterator[sw.ConceptMap]:
    """Seventy thousand atoms of width 8 in two hundred groups, laid out where their groups are."""
    generator = np.random.default_rng(0)
    own = generator.integers(0, 200, N)
    xy = generator.normal(0, 9, (200, 2))[own] + generator.normal(0, 0.3, (N, 2))
    centres = torch.from_numpy(generator.normal(size=(200, 8)))[torch.from_numpy(own)]
    rows = centres + 0.3 * torch.from_numpy(generator.normal(size=(N, 8)))
    made = sw.ConceptMap(
        rows.float(),
        xy=xy.astype(np.float32),
        labels={69_123: "cat", 5: "<b>dog</b>"},
        columns={"score": np.arange(N)},
        atom=17,
    )
    made.wait(300)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def clear(panel: sw.ConceptMap) -> Iterator[None]:
    yield
    panel.clear_selection()
    panel.filter = {}
    panel.color_by = "cluster"


def test_search_finds_an_atom_by_number_and_label(panel: sw.ConceptMap) -> None:
    panel.search = "cat"
    assert panel.atom == 69_123
    panel.search = "68999"
    assert panel.atom == 68_999
    assert panel.selected == (68_999,)


def test_an_atom_has_its_nearest_of_all(panel: sw.ConceptMap) -> None:
    """The card and the sentence name those of largest cosine among seventy thousand."""
    panel.atom = 4321
    cosines = torch.nn.functional.cosine_similarity(
        panel.atlas.dictionary, panel.atlas.dictionary[4321], dim=1
    )
    cosines[4321] = -1
    assert panel.atlas.nearest("atoms", 4321)[0][0] == int(cosines.argmax())
    assert panel.answer.startswith("Nearest to atom 4321")
    assert f"{int(cosines.argmax())}" in panel.answer
    panel.edges = "nearest"
    assert len(panel.map.chart.lines) == 5 * 16
    panel.edges = "none"


def test_a_lasso_selects_every_atom_inside(panel: sw.ConceptMap) -> None:
    """Sixty thousand bits are sixty thousand atoms; the table says of how many it lists the first."""
    inside = np.zeros(N, bool)
    inside[3:60_003] = True
    panel.map.receive({"kind": "lasso"}, [packed(inside)])
    assert panel.selected == tuple(range(3, 60_003))
    assert "60" in panel.answer
    assert panel.selection is not None
    assert len(panel.selection.atoms) == 60_000
    with pytest.raises(Exception, match="must be"):
        panel.selected = (*range(2000), N)


def test_a_filter_counts_all(panel: sw.ConceptMap) -> None:
    """A range of a column keeps every atom in it."""
    panel.filter = {"score": (1000, 64_999)}
    assert int(panel.shown.sum()) == 64_000


def test_a_page_holds_every_atom_and_says_its_own_script(
    panel: sw.ConceptMap, tmp_path: Path
) -> None:
    """All places and styles are in it, labels as text, and an image of all for readers without script."""
    file = tmp_path / "map.html"
    panel.to_html(file)
    text = file.read_text(encoding="utf-8")
    places = base64.b64encode(panel.map.chart.xy).decode()
    assert places in text
    still = text.partition("<noscript>")[2].partition("</noscript>")[0]
    assert "data:image/png;base64," in still
    assert "<b>dog</b>" not in text
    assert len(text) < 3_000_000
    record = panel.record
    assert record is not None
    named = _close.every_name(record, panel.atlas, panel.names)
    assert named == {69_123: "atom 69123 cat", 5: "atom 5 <b>dog</b>"}
