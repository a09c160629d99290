"""ConceptMap: every click, lasso, key and control is a trait or a method; no browser needed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.components._point_map import packed, unpacked
from sae_nb_widgets.concept_map import _panel as module, _runs as runs

from tests.widgets.made import HOSTILE, FakeTopK as AnyTopK, descendants, picture_acts

N_ATOMS = 40
FakeTopK = partial(AnyTopK, N_ATOMS)


def places() -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = 10 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    return (centres[np.arange(N_ATOMS) % 4] + generator.normal(0, 0.2, (N_ATOMS, 2))).astype("f4")


def made(**given: Any) -> sw.ConceptMap:
    given.setdefault("labels", {3: HOSTILE, 5: "sea"})
    panel = sw.ConceptMap(FakeTopK(), picture_acts(12), xy=given.pop("xy", places()), **given)
    panel.wait()
    return panel


@pytest.fixture
def panel() -> sw.ConceptMap:
    """A map on which nothing is selected: it opens on a region."""
    one = made()
    one.clear_selection()
    return one


def xy_of(panel: sw.ConceptMap) -> np.ndarray:
    return np.frombuffer(panel.map.chart.xy, np.float32).reshape(-1, 2)


def lines_of(panel: sw.ConceptMap) -> np.ndarray:
    return np.frombuffer(panel.map.chart.lines, np.float32).reshape(-1, 2, 2)


def ringed(panel: sw.ConceptMap) -> list[int]:
    return np.frombuffer(panel.map.chart.chosen, np.int32).tolist()


def lasso(panel: sw.ConceptMap, points: list[int], *, add: bool = False) -> None:
    inside = np.zeros(panel.map.chart.n_points, bool)
    inside[points] = True
    panel.map.receive({"kind": "lasso", "add": add}, [packed(inside)])


def click(panel: sw.ConceptMap, point: int) -> None:
    panel.map.receive({"kind": "choose", "point": point})


def test_the_map_is_there_at_once_with_its_clusters(panel: sw.ConceptMap) -> None:
    """Saved coordinates are used; four groups are found; the question of the panel is answered."""
    record = panel.record
    assert record is not None
    assert record.layout == "saved"
    assert np.allclose(xy_of(panel), places())
    assert len(record.clusters) == 4
    assert panel.color_by == "cluster"
    assert not panel.problem
    assert panel.chips["layout"] == "saved"
    assert panel.map.chart in list(descendants(panel))
    assert "FigureWidget" not in {
        base.__name__ for w in descendants(panel) for base in type(w).__mro__
    }


@pytest.mark.slow
def test_a_click_shows_the_atom_and_outlines_it(panel: sw.ConceptMap) -> None:
    """The trait, the ring, the facts, the neighbours; a linked panel follows."""
    other = sw.AtomBrowser(FakeTopK(), picture_acts(12))
    t.link((panel, "atom"), (other, "atom"))
    click(panel, 5)
    assert panel.atom == other.atom == 5
    assert panel.map.chart.current == 5
    assert "sea" in panel.cards.facts.value
    expected = panel.atlas.neighbours("atoms")[0][5, :5].tolist()
    assert list(panel.cards.near.atoms) == expected
    panel.cards.near.selected = 1
    assert panel.atom == expected[1]


def test_a_lasso_fills_the_table(panel: sw.ConceptMap) -> None:
    """Points become atoms, the table lists them with label and frequency, rings outline them."""
    lasso(panel, [1, 3, 5])
    assert panel.selected == (1, 3, 5)
    cells = {row[0]: row for row in panel.cards.table.cells}
    assert set(cells) == {"1", "3", "5"}
    assert cells["5"][1] == "sea"
    assert "%" in cells["5"][2]
    assert ringed(panel) == [1, 3, 5]
    assert panel.selection is not None
    assert panel.selection.shared
    panel.cards.table.selected = 0
    assert panel.atom == int(panel.cards.table.cells[0][0])


def test_search_selects_what_answers(panel: sw.ConceptMap) -> None:
    """By label, by number; ← and → go round; Esc ends it; nothing found is said."""
    panel.search = "SEA"
    assert panel.atom == 5
    assert panel.selected == (5,)
    panel.search = "17"
    assert panel.atom == 17
    panel.selected = (2, 9, 30)
    panel.atom = 2
    panel.press("ArrowLeft")
    assert panel.atom == 30
    panel.press("Escape")
    assert panel.selected == ()
    assert panel.search == ""
    panel.search = "no such thing"
    assert "No atom matches" in panel.status
    assert not panel.problem


def test_a_search_rings_the_strongest_twenty() -> None:
    """Of more than twenty atoms found the first twenty are selected, and the panel says out of how many."""
    panel = made(labels=dict.fromkeys(range(30), "love"))
    panel.search = "love"
    assert len(panel.selected) == len(ringed(panel)) == 20
    assert "20 of 30 atoms" in panel.status
    assert [row[0] for row in panel.cards.table.cells] == [str(atom) for atom in panel.selected]
    panel.clear_selection()
    panel.finder.search("love")
    assert panel.selected == ()
    panel.finder.take(2)
    assert panel.atom == panel.selected[0] == panel.finder.found.atoms[2]


@pytest.mark.slow
def test_it_opens_on_a_named_region(panel: sw.ConceptMap) -> None:
    """Lit, selected and named in the title; not where an atom was asked for; another atom lights all again."""
    one = made()
    region = next(c for c in one.record.clusters if one.atom in c.points)
    assert one.filter == {"cluster": (region.name,)}
    assert one.selected == tuple(region.points.tolist())
    assert region.name in one.headline
    outside = next(i for i in range(N_ATOMS) if i not in one.selected)
    one.atom = outside
    assert (one.selected, one.filter) == ((), {})
    assert made(atom=outside).selected == panel.selected == ()
    one.seed = 1
    one.wait(timeout=240)  # UMAP compiles first
    assert one.selected == ()


def test_an_entry_of_the_key_lights_its_region_alone(panel: sw.ConceptMap) -> None:
    """Its atoms are selected and what they share is said; the others stay, faint; again, and all is lit."""
    chart, (region, *_) = panel.map.chart, panel.record.clusters
    style = chart.legend[0][0]
    chart.off = [i for i in range(len(chart.palette)) if i != style]
    assert panel.selected == tuple(region.points.tolist())
    assert panel.atom in region.points
    assert region.name in panel.headline
    assert chart.shown == b""
    assert len(panel.cards.together.values) == len(panel.cards.alike.values) == 2
    assert "No input" not in panel.answer + panel.reasons
    chart.off = []
    assert (panel.selected, panel.filter, panel.headline) == ((), {}, "")
    panel.filter = {"cluster": (region.name,)}
    panel.clear_selection()
    assert (panel.selected, panel.filter, chart.off) == ((), {}, [])


def test_a_column_colours_the_points() -> None:
    """Numbers by the one sequential map, unknown ones hollow; words as categories."""
    kinds = ["sea" if i % 2 else "land" for i in range(N_ATOMS)]
    panel = made(columns={"score": np.arange(N_ATOMS), "kind": kinds})
    panel.color_by = "score"
    styles = np.frombuffer(panel.map.chart.styles, np.uint8).astype(int)
    assert (np.diff(styles) >= 0).all()
    assert styles[0] < styles[-1]
    assert panel.map.chart.bar[0] == "score"
    panel.color_by = "frequency"
    assert panel.map.chart.styles[N_ATOMS - 1] == 0
    assert panel.map.chart.palette[0]["shape"] == "ring"
    assert all("%" in text for _, text in panel.map.chart.bar[1:])
    panel.color_by = "kind"
    assert set(panel.map.chart.styles) == {1, 2}
    assert [text for _, text in panel.map.chart.legend] == ["land (20)", "sea (20)"]
    with pytest.raises(t.TraitError, match=r"`color_by` must be one of .*'score'.*got 'hue'"):
        panel.color_by = "hue"
    assert panel.color_by == "kind"
    panel.filter = {"kind": ("sea",)}
    np.testing.assert_array_equal(panel.shown, np.arange(N_ATOMS) % 2 == 1)
    panel.select(np.array([1, 3]))
    assert panel.selected == (1, 3)


def test_atoms_without_a_name_are_not_called_anything() -> None:
    panel = sw.ConceptMap(FakeTopK(), picture_acts(12).x, xy=places())
    panel.wait()
    panel.select([1, 3])
    assert "called" not in panel.answer


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nearest", "co-active"])
def test_edges_leave_the_selection_only(panel: sw.ConceptMap, kind: str) -> None:
    """Every line begins at a selected atom; without one they lead to the nearest of the atom that is shown."""
    here = places()[panel.atom]
    assert len(lines_of(panel)) == panel.answer.count("atom ") - 1 == 1
    assert panel.map.chart.hint.startswith("Ring: the chosen atom, with lines to its nearest.")
    assert all(np.allclose(line[0], here) for line in lines_of(panel))
    panel.selected = (1, 2)
    panel.edges = kind
    lines = lines_of(panel)
    assert len(lines)
    ends = places()[[1, 2]]
    for line in lines:
        assert any(np.allclose(line[i], end) for i in (0, 1) for end in ends)


def test_two_dictionaries_side_by_side() -> None:
    """The second one faint, partners joined, the rest ringed; the facts beside a random control."""
    first, second = FakeTopK(), FakeTopK()
    order = torch.randperm(N_ATOMS, generator=torch.Generator().manual_seed(5))
    second.dictionary = first.dictionary[order].clone()
    second.dictionary[:4] = FakeTopK(seed=9).dictionary[:4]
    panel = sw.ConceptMap(first, picture_acts(12), other=second, xy=np.tile(places(), (2, 1)))
    panel.wait()
    assert panel.record.match is not None
    assert panel.map.chart.others == b""
    panel.compare_atoms()
    assert panel.compare
    assert len(panel.map.chart.others) == 8 * N_ATOMS
    joined = len(lines_of(panel))
    assert joined == panel.record.match.same.sum() >= N_ATOMS - 8
    assert len(panel.map.chart.ringed) // 4 == N_ATOMS - joined
    assert "random" in panel.map.facts.value
    assert "stability" in panel.colours


@pytest.mark.slow
def test_buttons_are_events(panel: sw.ConceptMap) -> None:
    """The same atom can be opened twice; steering takes the selection."""
    opened, steered = [], []
    panel.observe(lambda change: opened.append(change["new"]), "opened")
    panel.observe(lambda change: steered.append(change["new"]), "steered")
    panel.atom = 7
    panel.press("Enter")
    panel.open_atom()
    assert [atom for atom in opened if atom >= 0] == [7, 7]
    panel.steer_atoms()
    panel.selected = (3, 4)
    panel.steer_atoms()
    assert [atoms for atoms in steered if atoms] == [(7,), (3, 4)]


@pytest.mark.slow
@pytest.mark.parametrize("show", ["samples", "tokens"])
def test_samples_and_tokens_can_be_shown(panel: sw.ConceptMap, show: str) -> None:
    """A switch; a lasso lists the atoms that fire there more; the atom colours its strength."""
    panel.layout_by = "pca"
    panel.show = show
    panel.wait()
    n = 12 if show == "samples" else 12 * 18
    assert len(panel.record.ids) == n
    assert not panel.problem
    lasso(panel, [0, 1, 2])
    assert panel.marked == (0, 1, 2)
    assert panel.selected == ()
    assert panel.cards.table.headers == ["atom", "name", "× usual", "of rows"]
    panel.color_by = "atom"
    before = panel.map.chart.styles
    panel.atom = 9
    assert panel.map.chart.styles != before
    panel.show = "atoms"
    panel.wait()
    assert panel.marked == ()
    assert len(panel.record.ids) == N_ATOMS


def test_a_dictionary_alone_is_a_map() -> None:
    """No activations: neighbours and labels, no frequency, no shared inputs; tokens are refused."""
    panel = sw.ConceptMap(FakeTopK().dictionary, xy=places(), labels={5: "sea"})
    panel.wait()
    assert "frequency" not in panel.colours
    panel.selected = (5, 6)
    assert panel.cards.table.headers == ["atom", "name"]
    assert panel.inputs.widget.layout.display == "none"
    assert panel.cards.joint.layout.display == "none"
    panel.edges = "co-active"
    assert "no activations" in panel.status
    with pytest.raises(t.TraitError, match="pass `acts`"):
        panel.show = "tokens"


class FakeProcess:
    """A UMAP process that ends when told to, with a layout or with an error."""

    stage = ("laying out", 0.4)

    def __init__(self, answer: np.ndarray | Exception, done: bool) -> None:
        self.answer, self.done, self.closed = answer, done, False

    def wait(self) -> np.ndarray:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> None:
        self.closed = True


def unfolding(monkeypatch: pytest.MonkeyPatch, process: FakeProcess) -> sw.ConceptMap:
    monkeypatch.setattr(runs, "start_umap", lambda *_: process)
    monkeypatch.setattr(module.ConceptAtlas, "kept", lambda *_: None)
    return sw.ConceptMap(FakeTopK(), picture_acts(12))


@pytest.mark.slow
def test_umap_runs_elsewhere_while_pca_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """PCA at once, progress in the status line, UMAP when it is there, its process closed."""
    process, seen = FakeProcess(places(), done=False), []
    panel = unfolding(monkeypatch, process)
    panel.observe(lambda change: seen.append(change["new"]), "status")
    assert panel.record.layout == "pca"
    assert np.allclose(xy_of(panel), panel.atlas.pca("atoms"))
    while not any("40.0" in text for text in seen):
        assert panel.busy
    process.done = True
    panel.wait()
    assert panel.record.layout == "umap"
    assert np.allclose(xy_of(panel), places())
    assert process.closed


@pytest.mark.slow
def test_a_umap_that_fails_leaves_pca_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture stays usable; the status line names the failure."""
    panel = unfolding(monkeypatch, FakeProcess(RuntimeError("No module named 'umap'."), done=True))
    panel.wait()
    assert panel.problem
    assert panel.record.layout == "pca"
    panel.atom = 4
    assert panel.map.chart.current == 4


@pytest.mark.slow
def test_zooming_in_names_the_points_and_shows_their_crops(panel: sw.ConceptMap) -> None:
    """`zoom_to` and `reset` do what wheel and double click do; few points are named one by one."""
    panel.zoom_to([5])
    low, high = panel.view[:2], panel.view[2:]
    inside = ((places() >= low) & (places() <= high)).all(axis=1)
    assert panel.map.chart.nearby == np.flatnonzero(inside).tolist()
    assert 5 in panel.map.chart.nearby
    assert panel.map.chart.view == list(panel.view)
    assert panel.map.chart.nearby_words[panel.map.chart.nearby.index(5)] == "5 · sea"
    assert panel.map.chart.sprite.startswith(b"\x89PNG")
    panel.reset()
    assert panel.view == ()
    assert panel.map.chart.view == []
    panel.map.chart.view = [0.0, 0.0, 1.0, 1.0]  # what the wheel does
    assert panel.view == (0.0, 0.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="must be atoms on the map"):
        panel.zoom_to([N_ATOMS])
    with pytest.raises(t.TraitError, match="low x, low y, high x, high y"):
        panel.view = (1, 0, 0, 1)


@pytest.mark.slow
def test_a_filter_hides_the_rest(panel: sw.ConceptMap) -> None:
    """By numbers and by categories; a lasso, the key and the histograms follow; {} shows all."""
    frequency = panel.atlas.catalogue.frequency
    middle = float(np.median(frequency))
    panel.filter = {"frequency": (middle, 1.0)}
    kept = unpacked(panel.map.chart.shown, N_ATOMS)
    assert kept.tolist() == (frequency >= middle).tolist()
    assert panel.map.brushes["frequency"].chosen
    assert sum(panel.map.brushes["frequency"].inside) == kept.sum()
    panel.map.brushes["frequency"].chosen = ()
    assert panel.filter == {}
    assert panel.map.chart.shown == b""
    panel.map.brushes["strength"].chosen = (0, 3)
    assert set(panel.filter) == {"strength"}
    panel.filter = {}
    panel.map.chart.off = [1]
    gone = panel.record.clusters[0]
    assert gone.name not in panel.filter["cluster"]
    assert np.flatnonzero(~panel.shown).tolist() == gone.points.tolist()
    panel.map.chart.off = []
    assert panel.shown.all()


def test_the_selection_is_a_table_that_sorts_and_leaves(
    panel: sw.ConceptMap, tmp_path: Path
) -> None:
    """By a column, and as a file with every number in full."""
    lasso(panel, [1, 3, 5])
    table = panel.cards.table
    table.sorted_by = (0, True)
    assert [table.cells[i][0] for i in table.order] == ["5", "3", "1"]
    assert set(table.atoms) == {1, 3, 5}
    panel.export_folder = str(tmp_path)
    panel.export_table()
    text = (tmp_path / "concept_map_3_atoms.csv").read_text(encoding="utf-8")
    header, *rows = text.splitlines()
    assert header.startswith("atom,label,frequency,strength")
    assert len(rows) == 3
    assert "(3 atoms)" in panel.status
