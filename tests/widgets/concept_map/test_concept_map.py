"""ConceptMap: every click, lasso, key and control is a trait or a method; no browser needed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets as ipw
import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.concept_map import (
    _figure as drawing,
    _panel as module,
    _runs as runs,
    _words as concept_map_words,
)
from sae_nb_widgets.panel import descendants, theme
from torch import Tensor

from sae_nb.activations import Activations, Context
from sae_nb.codes import SparseCodes
from sae_nb.sessions import Annotations

N_ATOMS, D_IN = 40, 8
HOSTILE = "<script>alert(1)</script>"


class FakeTopK:
    """The three largest correlations above zero; the last atom is dead."""

    hook_point, model_name = "resid_post.1", "fake"

    def __init__(self, seed: int = 0) -> None:
        rows = torch.randn(N_ATOMS, D_IN, generator=torch.Generator().manual_seed(seed))
        self.dictionary = torch.nn.functional.normalize(rows, dim=1)
        self.n_atoms, self.d_in = N_ATOMS, D_IN

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        """Keep the three largest positive entries of each row."""
        u = (x @ self.dictionary.T).relu()
        u[:, -1] = 0
        best = u.topk(k or 3, dim=1)
        return SparseCodes.from_dense(torch.zeros_like(u).scatter(1, best.indices, best.values))


def picture_acts(n: int = 12, side: int = 16, grid: int = 4) -> Activations:
    """Pictures with cls, one register and a grid of patches."""
    length, generator = 2 + grid * grid, torch.Generator().manual_seed(2)
    pictures = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator)
    context = Context(
        kind="vision", n_samples=n, pictures=pictures, patch_grid=(grid, grid), prefix_tokens=2
    )
    return Activations.from_tensor(
        torch.randn(n * length, D_IN, generator=generator),
        sample=torch.arange(n).repeat_interleave(length),
        position=torch.arange(length).repeat(n),
        context=context,
    )


def places() -> np.ndarray:
    """Coordinates of the atoms: four blobs."""
    generator = np.random.default_rng(0)
    centres = 10 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    return (centres[np.arange(N_ATOMS) % 4] + generator.normal(0, 0.2, (N_ATOMS, 2))).astype("f4")


def made(**given: Any) -> sw.ConceptMap:
    """A panel on pictures with given coordinates, everything measured."""
    given.setdefault("labels", {3: HOSTILE, 5: "sea"})
    panel = sw.ConceptMap(FakeTopK(), picture_acts(), xy=given.pop("xy", places()), **given)
    panel.wait()
    return panel


@pytest.fixture
def panel() -> Iterator[sw.ConceptMap]:
    """A panel, closed afterwards."""
    one = made()
    yield one
    one.close()


def xy_of(panel: sw.ConceptMap, place: int) -> np.ndarray:
    """Points of one trace of the figure."""
    trace = panel.map.plot.data[place]
    return np.stack((np.asarray(trace.x, float), np.asarray(trace.y, float)), axis=1)


def ring_of(panel: sw.ConceptMap) -> tuple[float, float, str]:
    """Where the ring around the current atom is, and its colour."""
    (ring,) = panel.map.plot.layout.shapes
    return ring.xanchor, ring.yanchor, ring.line.color


def lasso(panel: sw.ConceptMap, points: list[int], trace: int | None = None) -> None:
    """What the browser sends when a lasso is closed."""
    shown = drawing.GROUPS if panel.map.plot.data[drawing.GROUPS].visible else drawing.NUMBERS
    bits = np.zeros(N_ATOMS, np.uint8)
    bits[points] = 1
    word = base64.b64encode(np.packbits(bits, bitorder="little")).decode()
    panel.map.plot.hear({"kind": "lasso", "points": {str(shown if trace is None else trace): word}})


def click(panel: sw.ConceptMap, point: int) -> None:
    """What plotly calls when a point is clicked."""
    points = type("Points", (), {"point_inds": [point]})()
    panel.map.plot.data[drawing.GROUPS]._dispatch_on_click(points, None)


def test_the_map_is_there_at_once_with_its_clusters(panel: sw.ConceptMap) -> None:
    """Saved coordinates are used; four groups are found; the question of the panel is answered."""
    record = panel.record
    assert record is not None
    assert record.layout == "saved"
    assert np.allclose(xy_of(panel, drawing.GROUPS), places())
    assert len(record.clusters) == 4
    assert panel.color_by == "cluster"
    assert not panel.problem
    assert panel.chips["layout"] == "saved"
    assert sum(isinstance(w, type(panel.map.plot)) for w in descendants(panel)) == 1


def test_a_click_shows_the_atom_and_outlines_it(panel: sw.ConceptMap) -> None:
    """The trait, the ring, the facts, the neighbours; a linked panel follows."""
    other = sw.AtomBrowser(FakeTopK(), picture_acts())
    t.link((panel, "atom"), (other, "atom"))
    click(panel, 5)
    assert panel.atom == other.atom == 5
    assert np.allclose(ring_of(panel)[:2], places()[5])
    assert "sea" in panel.cards.facts.value
    expected = panel.atlas.neighbours("atoms")[0][5, :5].tolist()
    assert [int(label.split()[0]) for label in panel.cards.near.labels] == expected
    panel.cards.near.selected = 1
    assert panel.atom == expected[1]
    other.close()


def test_a_lasso_fills_the_table(panel: sw.ConceptMap) -> None:
    """Points become atoms, the table lists them with label and frequency, rings outline them."""
    lasso(panel, [1, 3, 5])
    assert panel.selected == (1, 3, 5)
    cells = {row[0]: row for row in panel.cards.table.cells}
    assert set(cells) == {"1", "3", "5"}
    assert cells["5"][1] == "sea"
    assert "%" in cells["5"][2]
    assert len(xy_of(panel, drawing.SELECTED)) == 3
    assert panel.selection is not None
    assert panel.selection.shared
    panel.cards.table.selected = 0
    assert panel.atom == int(panel.cards.table.cells[0][0])


def test_a_lasso_over_other_traces_selects_nothing(panel: sw.ConceptMap) -> None:
    """Points of the second dictionary or of rings are no atoms."""
    lasso(panel, [1, 2], trace=drawing.OTHER)
    assert panel.selected == ()
    panel.map.plot.hear({"kind": "something else"})
    panel.map.plot.hear("nonsense")
    assert panel.selected == ()
    lasso(panel, [1, 2])
    panel.map.plot.hear({"kind": "deselect"})
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
    assert "No atom answers" in panel.status
    assert not panel.problem


def test_a_column_colours_the_points() -> None:
    """Numbers by the one sequential map, unknown ones hollow; words as categories."""
    kinds = ["sea" if i % 2 else "land" for i in range(N_ATOMS)]
    panel = made(columns={"score": np.arange(N_ATOMS), "kind": kinds})
    panel.color_by = "score"
    numbers, groups = (panel.map.plot.data[i] for i in (drawing.NUMBERS, drawing.GROUPS))
    assert numbers.visible
    assert not groups.visible
    assert np.allclose(numbers.marker.color, np.arange(N_ATOMS))
    panel.color_by = "frequency"
    assert numbers.marker.symbol[N_ATOMS - 1] == drawing.HOLLOW
    panel.color_by = "kind"
    assert groups.visible
    assert set(np.asarray(groups.marker.color).tolist()) == {1, 2}
    assert "land" in panel.map.legend.value
    with pytest.raises(t.TraitError, match=r"`color_by` must be one of .*'score'.*got 'hue'"):
        panel.color_by = "hue"
    assert panel.color_by == "kind"
    panel.close()


def test_sizes_follow_a_number(panel: sw.ConceptMap) -> None:
    """Area goes with energy, or all are alike."""
    energy = panel.record.columns["energy"].values
    size = np.asarray(panel.map.plot.data[drawing.GROUPS].marker.size, float)
    assert size[np.nanargmax(energy)] == size.max() > size.min()
    panel.size_by = "equal"
    assert np.ndim(panel.map.plot.data[drawing.GROUPS].marker.size) == 0


@pytest.mark.parametrize("kind", ["nearest", "co-active"])
def test_edges_leave_the_selection_only(panel: sw.ConceptMap, kind: str) -> None:
    """Every line begins at a selected atom; none by default."""
    assert len(xy_of(panel, drawing.EDGES)) == 0
    panel.selected = (1, 2)
    panel.edges = kind
    lines = xy_of(panel, drawing.EDGES).reshape(-1, 3, 2)
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
    panel = sw.ConceptMap(first, picture_acts(), other=second, xy=np.tile(places(), (2, 1)))
    panel.wait()
    assert panel.record.match is not None
    assert not panel.map.plot.data[drawing.OTHER].visible
    panel.compare_atoms()
    assert panel.compare
    assert panel.map.plot.data[drawing.OTHER].visible
    joined = len(xy_of(panel, drawing.JOINS)) // 3
    assert joined == panel.record.match.same.sum() >= N_ATOMS - 8
    assert len(xy_of(panel, drawing.UNMATCHED)) == N_ATOMS - joined
    assert f"{joined} of {N_ATOMS} atoms are in both" in panel.status
    assert "random" in panel.map.legend.value
    assert "stability" in panel.colours
    panel.close()


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
    assert panel.cards.table.headers == ["atom", "label", "lift", "of rows"]
    panel.color_by = "atom"
    before = np.asarray(panel.map.plot.data[drawing.NUMBERS].marker.color).copy()
    panel.atom = 9
    assert not np.allclose(before, panel.map.plot.data[drawing.NUMBERS].marker.color)
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
    assert panel.cards.table.headers == ["atom", "label"]
    assert panel.inputs.widget.layout.display == "none"
    assert panel.cards.joint.layout.display == "none"
    panel.edges = "co-active"
    assert "no activations" in panel.status
    with pytest.raises(t.TraitError, match="pass `acts`"):
        panel.show = "tokens"
    panel.close()


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_atoms_are_no_error(n: int) -> None:
    """Nothing to unfold, nothing to join."""
    panel = sw.ConceptMap(torch.eye(n, 4))
    panel.wait()
    panel.edges = "nearest"
    panel.selected = tuple(range(n))
    assert not panel.problem
    assert len(panel.record.ids) == n
    panel.close()


@pytest.mark.parametrize(
    ("trait", "wrong"), [("atom", N_ATOMS), ("selected", (0, 99)), ("marked", (1,)), ("show", "x")]
)
def test_what_is_not_on_the_map_is_refused(panel: sw.ConceptMap, trait: str, wrong: Any) -> None:
    """And the panel stays as it was."""
    before = getattr(panel, trait)
    with pytest.raises(t.TraitError):
        setattr(panel, trait, wrong)
    assert getattr(panel, trait) == before


def test_labels_are_text_and_never_markup(panel: sw.ConceptMap, tmp_path: Path) -> None:
    """In the figure, in the cards, in exported pages."""
    panel.color_by = "label"
    panel.selected = (3, 4)
    panel.atom = 3
    figure = json.dumps(panel.map.plot.to_plotly_json(), default=str)
    assert "<script" not in figure
    html = [w.value for w in descendants(panel) if isinstance(w, ipw.HTML)]
    assert not any("<script>" in text for text in html)
    assert "&lt;script&gt;" in panel.cards.facts.value
    page = panel.to_html(tmp_path / "map.html", share_script=True).read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert "How do concepts lie to each other?" in page


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
    return sw.ConceptMap(FakeTopK(), picture_acts())


def test_umap_runs_elsewhere_while_pca_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """PCA at once, progress in the status line, UMAP when it is there, its process closed."""
    process, seen = FakeProcess(places(), done=False), []
    panel = unfolding(monkeypatch, process)
    panel.observe(lambda change: seen.append(change["new"]), "status")
    assert panel.record.layout == "pca"
    assert np.allclose(xy_of(panel, drawing.GROUPS), panel.atlas.pca("atoms"))
    while not any("40.0" in text for text in seen):
        assert panel.busy
    process.done = True
    panel.wait()
    assert panel.record.layout == "umap"
    assert np.allclose(xy_of(panel, drawing.GROUPS), places())
    assert process.closed
    panel.close()


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
    panel.close()


def test_a_umap_that_fails_leaves_pca_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture stays usable; the status line names the failure."""
    panel = unfolding(monkeypatch, FakeProcess(RuntimeError("No module named 'umap'."), done=True))
    panel.wait()
    assert panel.problem
    assert "No module named 'umap'" in panel.status
    assert panel.record.layout == "pca"
    panel.atom = 4
    assert len(ring_of(panel)) == 3
    panel.close()


def test_labels_written_elsewhere_appear() -> None:
    """A browser that shares the labels writes one; the map's colours, search and names follow."""
    labels = Annotations(given={5: "sea"})
    panel = made(labels=labels)
    panel.color_by = "label"
    labels.write(7, "land")
    assert panel.record.columns["label"].text(7) == "land"
    assert "land" in panel.map.legend.value
    panel.search = "land"
    assert panel.atom == 7
    panel.close()
    labels.write(8, "air")


def test_state_comes_back(panel: sw.ConceptMap) -> None:
    """By way of JSON, into a new panel of the same SAE."""
    panel.color_by, panel.edges, panel.atom, panel.selected = "frequency", "nearest", 6, (6, 7)
    state = json.loads(json.dumps(panel.state()))
    again = made()
    again.restore(state)
    again.wait()
    assert (again.color_by, again.edges, again.atom) == ("frequency", "nearest", 6)
    assert again.selected == (6, 7)
    assert len(again.cards.table.cells) == 2
    again.close()


def test_dark_and_lecture_redraw(panel: sw.ConceptMap) -> None:
    """Outlines turn white on dark pages; figure and text grow in lectures; a box can be drawn."""
    panel.drag = "box"
    assert panel.map.plot.layout.dragmode == "select"
    assert ring_of(panel)[2] == "black"
    panel.dark = True
    assert ring_of(panel)[2] == "white"
    before = panel.map.plot.layout.height
    try:
        theme("lecture")
        assert panel.map.plot.layout.height > before
        assert panel.map.plot.data[drawing.NAMES].textfont.size == 16
    finally:
        theme("normal")
    assert panel.map.plot.layout.height == before


def test_names_do_not_lie_over_each_other(panel: sw.ConceptMap) -> None:
    """On the sheet they are written for, whatever the layout."""
    names, where = concept_map_words.map_names(panel.record, panel.record.columns["cluster"])
    assert len(names) == len(where) >= 2
    crowded = panel.record
    xy = np.zeros_like(crowded.xy)
    xy[0] = 1e-3
    packed = type(crowded)(**{**vars(crowded), "xy": xy})
    assert len(concept_map_words.map_names(packed, crowded.columns["cluster"])[0]) == 1


def test_closing_frees_everything() -> None:
    """Twice is harmless; nothing is left open."""
    panel = made()
    inside = list(descendants(panel))
    panel.close()
    panel.close()
    assert all(widget.comm is None for widget in inside)


def test_a_large_map_is_shown_by_a_sample_where_there_is_no_script() -> None:
    """The fallback draws 600 of the points and says so; exports have them all."""
    n = 1500
    xy = np.random.default_rng(0).normal(size=(n, 2)).astype("f4")
    rows = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    panel = sw.ConceptMap(rows, xy=xy, columns={"score": np.arange(n)})
    panel.wait()
    panel.color_by = "score"
    assert "600 of 1" in panel._repr_mimebundle_()["text/html"]
    figure = panel.current_figure()
    shown = [trace for trace in figure.data if trace.name == "numbers"]
    assert sum(len(trace.x) for trace in shown) == n
    assert [trace.marker.showscale for trace in shown] == [True, False, False]
    assert "drawn" not in panel.static_chips()
    panel.close()


def test_a_picture_without_a_browser_has_the_colours(panel: sw.ConceptMap) -> None:
    """Exports spell colours out, for numbers and for categories; the panel is unchanged."""
    for colour in ("cluster", "frequency"):
        panel.color_by = colour
        points = panel.current_figure().data[drawing.NUMBERS : drawing.GROUPS + 1]
        shown = [trace for trace in points if trace.visible is not False]
        assert len(shown) == 1
        assert all(str(colour).startswith(("#", "rgb")) for colour in shown[0].marker.color)
        assert len(panel.to_png()) > 3000
    assert not isinstance(panel.map.plot.data[drawing.NUMBERS].marker.color[0], str)
