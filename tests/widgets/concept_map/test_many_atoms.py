"""A map of more atoms than are drawn while it moves: search, lasso, filter, files and pages know all of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from PIL import Image
from sae_nb_widgets.components import packed
from sae_nb_widgets.concept_map import _close, _raster

from sae_nb.figures import to_svg

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
    """Leave nothing chosen or hidden."""
    yield
    panel.clear_selection()
    panel.filter = {}
    panel.color_by = "cluster"


def test_search_finds_an_atom_by_number_and_label(panel: sw.ConceptMap) -> None:
    """Whichever atoms are drawn while the map moves."""
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
    panel.map.hear({"kind": "lasso"}, [packed(inside)])
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


def test_nearly_all_atoms_are_in_a_group(panel: sw.ConceptMap) -> None:
    """Groups are looked for in a sample, and joined by the others."""
    record = panel.record
    assert record is not None
    assert len(record.clusters) > 100
    assert sum(len(cluster.points) for cluster in record.clusters) > 0.8 * N


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


def test_a_drawing_shows_all_points_as_one_image(panel: sw.ConceptMap) -> None:
    """Few marks, and under them an image that ends where the points end."""
    figure = panel.current_figure()
    assert figure is not None
    assert sum(len(trace.x or ()) for trace in figure.data) < 1000
    (image,) = figure.layout.images
    assert image.layer == "below"
    file = base64.b64decode(image.source.partition(",")[2])
    assert len(file) < 200_000
    pixels = np.asarray(Image.open(io.BytesIO(file)).convert("RGBA"))
    assert 0.02 < (pixels[..., 3] > 0).mean() < 0.9
    assert to_svg(figure).count("<image") == 1
    assert panel.static_chips().get("drawn") is None


def test_pixels_hold_the_points_that_lie_there() -> None:
    """A lone point covers three by three pixels of its colour; a crowd is darker; outside is nothing."""
    xy = np.array([[0.25, 0.25], *[[0.75, 0.75]] * 500, [5.0, 5.0]])
    colours = np.array([[200, 100, 0]] * len(xy), np.uint8)
    image = _raster.raster(xy, colours, np.zeros(2), np.ones(2))
    height, width = image.shape[:2]
    lone = image[height - 1 - int(0.25 * height), int(0.25 * width)]
    crowd = image[height - 1 - int(0.75 * height), int(0.75 * width)]
    assert lone.tolist() == [200, 100, 0, 255]
    assert crowd[3] == 255
    assert crowd[0] < 150
    assert int((image[..., 3] > 0).sum()) == 18


def test_density_is_that_of_the_points() -> None:
    """Where twice the points lie, it is never lighter."""
    generator = np.random.default_rng(1)
    xy = generator.beta(2, 5, (200_000, 2))
    colours = np.full((len(xy), 3), 200, np.uint8)
    image = _raster.raster(xy, colours, np.zeros(2), np.ones(2))
    counts, _, _ = np.histogram2d(1 - xy[:, 1], xy[:, 0], bins=(20, 20), range=((0, 1), (0, 1)))
    rows = np.array_split(np.arange(image.shape[0]), 20)
    columns = np.array_split(np.arange(image.shape[1]), 20)
    ink = 255.0 * (image[..., 3] > 0) - image[..., 0] * (image[..., 3] > 0)
    dark = np.array([[ink[np.ix_(r, c)].mean() for c in columns] for r in rows])
    order = np.argsort(counts.ravel())
    ranked = dark.ravel()[order]
    assert np.corrcoef(np.arange(400), np.argsort(np.argsort(ranked)))[0, 1] > 0.97
