"""ConceptMap: every click, lasso, key and control is a trait or a method; no browser needed."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.components import packed, unpacked
from sae_nb_widgets.concept_map import _panel as module, _runs as runs
from sae_nb_widgets.concept_map._figure import placed_words
from sae_nb_widgets.concept_map._map_view import landmarks, words_on
from sae_nb_widgets.panel import descendants, theme

from sae_nb.sessions import Annotations
from tests.widgets.made import HOSTILE, FakeTopK as AnyTopK, contrast, picture_acts

N_ATOMS = 40
FakeTopK = partial(AnyTopK, N_ATOMS)


def places() -> np.ndarray:
    """Coordinates of the atoms: four blobs."""
    generator = np.random.default_rng(0)
    centres = 10 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    return (centres[np.arange(N_ATOMS) % 4] + generator.normal(0, 0.2, (N_ATOMS, 2))).astype("f4")


def made(**given: Any) -> sw.ConceptMap:
    """A panel on pictures with given coordinates, everything measured."""
    given.setdefault("labels", {3: HOSTILE, 5: "sea"})
    panel = sw.ConceptMap(FakeTopK(), picture_acts(12), xy=given.pop("xy", places()), **given)
    panel.wait()
    return panel


@pytest.fixture
def panel() -> sw.ConceptMap:
    """A panel, closed afterwards."""
    one = made()
    return one


def xy_of(panel: sw.ConceptMap) -> np.ndarray:
    """Where the points on the canvas are."""
    return np.frombuffer(panel.map.chart.xy, np.float32).reshape(-1, 2)


def lines_of(panel: sw.ConceptMap) -> np.ndarray:
    """Both ends of every line on the canvas."""
    return np.frombuffer(panel.map.chart.lines, np.float32).reshape(-1, 2, 2)


def ringed(panel: sw.ConceptMap) -> list[int]:
    """Points with a ring around them."""
    return np.frombuffer(panel.map.chart.chosen, np.int32).tolist()


def lasso(panel: sw.ConceptMap, points: list[int], *, add: bool = False) -> None:
    """What the browser sends when a lasso is closed."""
    inside = np.zeros(panel.map.chart.n_points, bool)
    inside[points] = True
    panel.map.hear({"kind": "lasso", "add": add}, [packed(inside)])


def click(panel: sw.ConceptMap, point: int) -> None:
    """What the browser sends when a point is clicked."""
    panel.map.hear({"kind": "choose", "point": point})


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


def test_a_lasso_with_shift_adds_and_nonsense_selects_nothing(panel: sw.ConceptMap) -> None:
    """What is already selected stays; unknown messages and points change nothing."""
    for nonsense in ({"kind": "something else"}, "nonsense", {"kind": "choose", "point": N_ATOMS}):
        panel.map.hear(nonsense)
    assert panel.selected == ()
    lasso(panel, [1, 2])
    lasso(panel, [2, 7], add=True)
    assert panel.selected == (1, 2, 7)
    lasso(panel, [4])
    assert panel.selected == (4,)
    lasso(panel, [])
    assert panel.selected == ()


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


def test_sizes_follow_a_number(panel: sw.ConceptMap) -> None:
    """Area goes with energy, or all are alike."""
    energy = panel.record.columns["energy"].values
    size = np.frombuffer(panel.map.chart.sizes, np.uint8)
    assert size[np.nanargmax(energy)] == size.max() > size.min()
    panel.size_by = "equal"
    assert panel.map.chart.sizes == b""


@pytest.mark.parametrize("kind", ["nearest", "co-active"])
def test_edges_leave_the_selection_only(panel: sw.ConceptMap, kind: str) -> None:
    """Every line begins at a selected atom; without one they lead to the nearest of the atom that is shown."""
    here = places()[panel.atom]
    assert len(lines_of(panel)) == 3
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
    assert f"{joined} of {N_ATOMS} atoms are in both" in panel.answer
    assert "random" in panel.map.facts.value
    assert "stability" in panel.colours


def test_without_a_second_dictionary_there_is_nothing_to_compare(panel: sw.ConceptMap) -> None:
    """Rule, given, do; the event is still told."""
    with pytest.raises(t.TraitError, match="needs a second dictionary"):
        panel.compare = True
    panel.selected = (1, 2)
    panel.compare_atoms()
    assert panel.compared == (1, 2)


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


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_atoms_are_no_error(n: int) -> None:
    """Nothing to unfold, nothing to join."""
    panel = sw.ConceptMap(torch.eye(n, 4))
    panel.wait()
    panel.edges = "nearest"
    panel.selected = tuple(range(n))
    assert not panel.problem
    assert len(panel.record.ids) == n


@pytest.mark.parametrize(("trait", "wrong"), [("selected", (0, 99)), ("marked", (1,))])
def test_what_is_not_on_the_map_is_refused(panel: sw.ConceptMap, trait: str, wrong: Any) -> None:
    """And the panel stays as it was."""
    before = getattr(panel, trait)
    with pytest.raises(t.TraitError):
        setattr(panel, trait, wrong)
    assert getattr(panel, trait) == before


class FakeProcess:
    """A UMAP process that ends when told to, with a layout or with an error."""

    stage = ("laying out", 0.4)

    def __init__(self, answer: np.ndarray | Exception, done: bool) -> None:
        self.answer, self.done, self.closed = answer, done, False

    def wait(self) -> np.ndarray:
        """The layout, or the error."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


def unfolding(monkeypatch: pytest.MonkeyPatch, process: FakeProcess) -> sw.ConceptMap:
    """A panel without coordinates whose UMAP is this process."""
    monkeypatch.setattr(runs, "start_umap", lambda *_: process)
    monkeypatch.setattr(module.ConceptAtlas, "kept", lambda *_: None)
    return sw.ConceptMap(FakeTopK(), picture_acts(12))


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


def test_a_umap_nobody_waits_for_is_not_complained_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another layout is chosen while UMAP runs: its process is closed, which is no error to show."""

    class Closing(FakeProcess):
        def close(self) -> None:
            super().close()
            self.answer, self.done = RuntimeError("it was closed"), True

    process = Closing(places(), done=False)
    panel = unfolding(monkeypatch, process)
    while panel.runs.process is not process:
        assert panel.busy
    panel.layout_by = "pca"
    panel.wait()
    assert process.closed
    assert not panel.problem
    assert "UMAP" not in panel.status
    assert panel.record.layout == "pca"


def test_a_umap_that_fails_leaves_pca_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture stays usable; the status line names the failure."""
    panel = unfolding(monkeypatch, FakeProcess(RuntimeError("No module named 'umap'."), done=True))
    panel.wait()
    assert panel.problem
    assert "No module named 'umap'" in panel.status
    assert panel.record.layout == "pca"
    panel.atom = 4
    assert panel.map.chart.current == 4


def test_labels_written_elsewhere_appear() -> None:
    """A browser that shares the labels writes one; the map's colours, search and names follow."""
    labels = Annotations(given={5: "sea"})
    panel = made(labels=labels)
    panel.color_by = "label"
    labels.write(7, "land")
    assert panel.record.columns["label"].text(7) == "land"
    assert "land (1)" in [text for _, text in panel.map.chart.legend]
    assert panel.map.chart.names[7] == "atom 7 land"
    assert "7 · land" in panel.map.chart.nearby_words
    panel.search = "land"
    assert panel.atom == 7
    panel.close()
    labels.write(8, "air")


def test_state_comes_back(panel: sw.ConceptMap) -> None:
    """By way of JSON, into a new panel of the same SAE."""
    panel.color_by, panel.edges, panel.atom, panel.selected = "frequency", "nearest", 6, (6, 7)
    panel.filter = {"frequency": (0.01, 1.0), "cluster": [panel.record.clusters[0].name]}
    panel.zoom_to([6])
    state = json.loads(json.dumps(panel.state()))
    again = made()
    again.restore(state)
    again.wait()
    assert (again.color_by, again.edges, again.atom) == ("frequency", "nearest", 6)
    assert again.selected == (6, 7)
    assert len(again.cards.table.cells) == 2
    assert again.shown.tolist() == panel.shown.tolist()
    assert again.view == panel.view


def test_lectures_have_larger_maps(panel: sw.ConceptMap) -> None:
    """The canvas and its points grow, and shrink again."""
    before, size = panel.map.chart.height, panel.map.chart.size
    try:
        theme("lecture")
        assert panel.map.chart.height > before
        assert panel.map.chart.size > size
    finally:
        theme("normal")
    assert panel.map.chart.height == before


def test_every_mark_is_seen_on_light_and_on_dark_pages() -> None:
    """Colours of categories, of numbers and of what is not known have a contrast of at least 3."""
    panel = made(columns={"score": np.arange(N_ATOMS)})
    for column in ("cluster", "score", "frequency"):
        panel.color_by = column
        for style in panel.map.chart.palette:
            assert contrast(style["light"], (255, 255, 255)) >= 3, (column, style)
            assert contrast(style["dark"], (27, 27, 27)) >= 3, (column, style)


def test_names_do_not_lie_over_each_other(panel: sw.ConceptMap) -> None:
    """On the sheet of a picture without a browser: two of one place are moved apart, or one is left out."""
    words = [(*middle, f"a name {i}") for i, middle in enumerate(places()[:4].tolist())]
    assert len(placed_words(words, places())) == 4
    (_, one, _), (_, two, _) = placed_words([(0, 0, "one"), (1e-4, 0, "two")], places())
    assert abs(one - two) > 0
    crowd = placed_words([(0, 0, f"number {i}") for i in range(100)], places())
    assert 2 < len(crowd) < 100


def test_a_name_stands_beside_its_points() -> None:
    """Where there is room around a cluster its name covers none of it."""
    rng = np.random.default_rng(0)
    blob, corners = rng.normal(0, 1, (200, 2)), np.array([[-20.0, -12.0], [20.0, 12.0]])
    ((x, y, name),) = placed_words([(0.0, 0.0, "blob")], np.concatenate([blob, corners]))
    scale = 760 / 40  # pixels per unit
    apart = np.abs(blob - [x, y]) * scale
    assert name == "blob"
    assert not (apart < [0.3 * 13 * 4, 0.5 * 13]).all(axis=1).any()


def test_no_two_clusters_have_one_name() -> None:
    """Same words in all of them: labels of single atoms tell them apart, else where they are."""
    panel = made(labels={i: f"label {i % 4}" for i in range(0, N_ATOMS, 8)})
    names = [cluster.name for cluster in panel.record.clusters]
    assert len(set(names)) == len(names) == 4
    assert not any(name.startswith("cluster") for name in names)
    alone = sw.ConceptMap(FakeTopK().dictionary, xy=places())
    alone.wait()
    names = [cluster.name for cluster in alone.record.clusters]
    assert len(set(names)) == 4
    assert all(name.startswith("group ") for name in names)


# --- looking closer, filtering, the table ---------------------------------------------------------


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


def test_a_filter_hides_the_rest(panel: sw.ConceptMap) -> None:
    """By numbers and by categories; a lasso, the key and the histograms follow; {} shows all."""
    frequency = panel.atlas.catalogue.frequency
    middle = float(np.median(frequency))
    panel.filter = {"frequency": (middle, 1.0)}
    kept = unpacked(panel.map.chart.shown, N_ATOMS)
    assert kept.tolist() == (frequency >= middle).tolist()
    assert f"{kept.sum()} of {N_ATOMS} atoms are shown, by frequency" in panel.status
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


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"hue": (0, 1)}, "must name columns of the map"),
        ({"frequency": (1, 0)}, r"must be \(lowest, highest\)"),
        ({"cluster": ["no such"]}, "names in its key"),
    ],
)
def test_a_filter_that_fits_nothing_is_refused(
    panel: sw.ConceptMap, wrong: dict[str, Any], rule: str
) -> None:
    """Rule and given; what was shown stays."""
    with pytest.raises(t.TraitError, match=rule):
        panel.filter = wrong
    assert panel.filter == {}


def test_the_map_opens_on_a_named_atom_and_says_what_is_near(panel: sw.ConceptMap) -> None:
    """No number of an atom is alone where its name or what it fires on is known; groups are below the map."""
    assert panel.atom in (3, 5)  # those that a person has named come first
    assert panel.answer.startswith(("Nearest to “", "No atom is close to “"))
    groups = panel.record.clusters
    inside = sum(len(group.points) for group in groups)
    assert (
        f"{inside} of {N_ATOMS} atoms lie in {len(groups)} groups, the largest: "
        in panel.map.facts.value
    )
    assert "Mean cosine within a group" in panel.map.facts.value
    for atom in range(N_ATOMS):  # with a name and without one
        panel.atom = atom
        assert f"atom {panel.atom}" in panel.answer
        assert panel.answer.count("(") == panel.answer.count(")"), panel.answer


def test_landmarks_lie_apart_and_groups_without_a_word_are_not_written(
    panel: sw.ConceptMap,
) -> None:
    """Of atoms next to each other the surer is named; a group that has only a number says nothing."""
    record, kept = panel.record, np.ones(N_ATOMS, bool)
    found = landmarks(replace(record, clusters=()), [3, 3, 5], kept)
    assert found[0][2] == 3
    assert len({atom for _, _, atom in found}) == len(found)
    numbered = replace(
        record, clusters=tuple(replace(c, name=f"group {i}") for i, c in enumerate(record.clusters))
    )
    assert words_on(numbered, None) == []
    kept[3] = False
    assert 3 not in [atom for _, _, atom in landmarks(record, [3, 5], kept)]


def test_the_headline_follows_the_selection(panel: sw.ConceptMap) -> None:
    """What is selected heads the column and the answer; without a selection the atom does."""
    panel.atom = 5
    assert panel.answer.count("“sea” (atom 5)") == 1
    assert panel.numbers.startswith("Cosine ")
    assert panel.cards.headline.layout.display == "none"
    lasso(panel, [1, 3, 5])
    assert panel.answer.startswith("3 atoms selected")
    assert "3 atoms selected" in panel.cards.headline.value
    assert "random 3" in panel.numbers
    panel.press("Escape")
    assert "“sea” (atom 5)" in panel.answer


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


def test_files_are_named_after_what_they_show(panel: sw.ConceptMap) -> None:
    """The atom, or how many are selected: two exports of one map do not overwrite each other."""
    panel.atom = 5
    assert panel.export_name() == "concept_map_atom_5"
    panel.select([1, 3])
    assert panel.export_name() == "concept_map_2_atoms"


def test_a_large_map_is_shown_by_a_sample_where_there_is_no_script() -> None:
    """The fallback draws 600 of the points and says so; exports have them all."""
    n = 1500
    xy = np.random.default_rng(0).normal(size=(n, 2)).astype("f4")
    rows = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    panel = sw.ConceptMap(rows, xy=xy, columns={"score": np.arange(n)})
    panel.wait()
    panel.color_by = "score"
    assert "600 of 1" in panel._repr_mimebundle_()["text/html"]
    drawn = [trace for trace in panel.current_figure().data if trace.mode == "markers"]
    assert sum(len(trace.x) for trace in drawn) == n + 1  # the ring around the current atom
    assert "drawn" not in panel.static_chips()


def test_an_exported_page_has_the_map_itself(panel: sw.ConceptMap, tmp_path: Path) -> None:
    """Its script and every point, in tens of kilobytes; names are there; nothing of plotly is."""
    page = panel.to_html(tmp_path / "map.html").read_text(encoding="utf-8")
    assert "widget.render" in page
    assert "5 \\u00b7 sea" in page
    assert "<noscript" in page
    assert "Plotly" not in page
    assert len(page) < 400_000
    assert panel.map.chart.names[0] == panel.atlas.point_names("atoms")[0]


def test_a_picture_without_a_browser_has_colours_and_a_key(panel: sw.ConceptMap) -> None:
    """For numbers and for categories, whose names are words."""
    for colour in ("cluster", "frequency", "label"):
        panel.color_by = colour
        figure = panel.current_figure()
        assert any(trace.showlegend for trace in figure.data)
        assert "<script" not in json.dumps(figure.to_plotly_json(), default=str)
        assert len(panel.to_png()) > 3000
