"""CircuitPanel: what is chosen, drawn, changed in the live model, grouped, left out and refused."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.circuit import CircuitPanel, _figure as figure
from sae_nb_widgets.components import png_address

import sae_nb as sn
from sae_nb.atoms import crop_patch

HOSTILE = "=<b>x</b>"
SLOWEST = 0.3
"""Seconds of one change on tiny-gpt, of processor time."""


def transcoder(model: Any, layer: int) -> Any:
    """One as it begins, which is none of the bundled ones."""
    width, start = model.width(f"mlp_out.{layer}"), torch.Generator().manual_seed(9)
    made = sn.Transcoder(width, width, 64, 4, generator=start).eval()
    made.hook_point, made.target_hook_point = f"mlp_in.{layer}", f"mlp_out.{layer}"
    return made


def nameless(layer: int) -> Any:
    """A bundled one that does not say so: no examples are drawn."""
    made = sn.load_sae(f"tiny-gpt/mlp.{layer}")
    made.model_name = None
    return made


@cache
def parts() -> SimpleNamespace:
    """tiny-gpt, transcoders of its MLPs, and a graph."""
    gpt, transcoders = sn.load_model("tiny-gpt"), [nameless(layer) for layer in range(4)]
    graph = sn.circuits.attribution_graph(
        gpt, transcoders, "One day Mia saw", target=" dog", max_nodes=150
    )
    return SimpleNamespace(model=gpt, transcoders=transcoders, graph=graph)


@pytest.fixture
def panel() -> CircuitPanel:
    """A panel of it, on its strongest atom."""
    made = sw.CircuitPanel(parts().graph, threshold=0.8)
    made.wait()
    return made


def atoms(panel: CircuitPanel) -> list[int]:
    """Atoms that are drawn, the most influential first."""
    nodes = panel.summary.nodes
    drawn = nodes[(nodes.kind == "atom") & (nodes.group == "")]
    return drawn.sort_values("influence", ascending=False)["node"].astype(int).tolist()


def test_the_strongest_atom_is_cut_first_and_stands_beside_luck(panel: CircuitPanel) -> None:
    """The live model, what the graph foresaw, random directions: the numbers of `intervene`."""
    assert not panel.problem, panel.status
    assert panel.node == atoms(panel)[0]
    flow = parts().graph.intervene(panel.node, 0.0, n_random=3)
    answer = panel.change
    assert answer is not None
    assert (answer.effect, answer.predicted) == pytest.approx((flow.effect, flow.predicted))
    assert answer.random == pytest.approx(flow.controls)
    largest = max(flow.controls, key=abs)
    assert panel.effects.values == pytest.approx([flow.effect, flow.predicted, largest])
    assert panel.answer.startswith(f"Without {panel.names.short(panel.node)}, the score of “dog”")
    assert "the graph foresaw" in panel.answer
    assert "3 random directions of that size" in panel.answer
    assert panel.outcomes.values == pytest.approx(answer.after)


def test_strength_is_a_trait_and_answers_at_once(panel: CircuitPanel) -> None:
    """As it is nothing changes; twice does the opposite of nothing; a click's wait is short."""
    started = time.process_time()
    assert panel.intervene(1.0).effect == pytest.approx(0.0, abs=1e-5)
    assert time.process_time() - started < SLOWEST
    assert panel.strength == 1.0
    twice = panel.intervene(2.0)
    assert twice.predicted == pytest.approx(-panel.intervene(0.0).predicted)
    panel.n_random = 0
    assert len(panel.intervene().random) == 0
    assert "no random direction was tried" in panel.answer


def test_tables_and_the_drawing_choose_nodes(panel: CircuitPanel) -> None:
    """A row, a point, an arrow; what is chosen is drawn, also below the threshold."""
    made_by, _ = panel.circuit.neighbours(panel.node, 3)
    panel.inputs.selected = 1
    assert panel.node == int(made_by["node"].iloc[1])
    points = panel._points[figure.FOR]
    panel._click(figure.FOR, None, SimpleNamespace(point_inds=[0]), None)
    assert panel.node == int(panel.summary.nodes.node.iloc[points[0]])
    panel.node = 2
    assert "Only atoms can be changed" in panel._note.value
    with pytest.raises(ValueError, match="Only atoms can be changed"):
        panel.intervene()
    hidden = np.setdiff1d(
        np.flatnonzero(panel.circuit.kinds == "atom"), panel.summary.nodes["node"]
    )
    panel.node = int(hidden[0])
    assert panel.summary.place_of(panel.node) >= 0
    assert panel.change is not None
    panel.press("Escape")
    assert (panel.node, panel.change) == (-1, None)
    assert "nodes carry 80.0" in panel.answer.replace("\u2009", " ")
    panel.press("ArrowRight")
    assert panel.node >= 0


def test_less_of_the_influence_is_fewer_nodes(panel: CircuitPanel) -> None:
    """Pins stay; where nothing leads from an input to the answer any more, that is said."""
    before, kept = panel.summary.n_nodes, atoms(panel)[-1]
    panel.pin(kept)
    panel.threshold = 0.3
    assert panel.summary.n_nodes < before
    assert panel.summary.place_of(kept) >= 0
    panel.unpin()
    panel.node = -1
    assert panel.summary.place_of(kept) < 0
    assert len(panel.plot.data[figure.PINS].x) == 0


def test_pinned_nodes_become_a_group_that_is_changed_as_one(panel: CircuitPanel) -> None:
    """Named, drawn as one, taken apart; no node is in two."""
    first, second, third = atoms(panel)[:3]
    panel.pinned = (first, second)
    panel.group_name = HOSTILE
    panel._group_pinned()
    assert panel.groups == {HOSTILE: (first, second)}
    assert panel.pinned == ()
    panel.node = first
    both = panel.intervene(0.0)
    assert both.nodes == (first, second)
    assert both.effect == pytest.approx(parts().graph.intervene([first, second]).effect)
    hover = " ".join(text for trace in panel.plot.data for text in trace.text or ())
    assert "<b>x" not in hover
    assert "<b>x" not in panel._heading.value
    with pytest.raises(t.TraitError, match="in no other"):
        panel.group([second, third], "more")
    with pytest.raises(t.TraitError, match="nodes of the graph"):
        panel.group([len(panel.graph)], "more")
    panel.ungroup(HOSTILE)
    assert panel.groups == {}
    with pytest.raises(KeyError, match="one of the groups"):
        panel.ungroup("more")


def test_the_strongest_path_is_drawn(panel: CircuitPanel) -> None:
    """From one node to another; none is said, and leaves the drawing whole."""
    target = int(np.flatnonzero(panel.circuit.kinds == "target")[0])
    path = panel.path(2, target)
    assert path == parts().graph.path(2, target)
    assert len(panel.plot.data[figure.PATH].x) == len(path)
    assert all(panel.summary.place_of(node) >= 0 for node in path)
    with pytest.raises(ValueError, match="and none does"):
        panel.path(target, 2)
    panel.path_from, panel.path_to = target, 2
    assert panel.problem
    assert "none does" in panel.status
    assert len(panel.plot.data[figure.PATH].x) == 0
    panel.clear_selection()
    assert not panel.problem


def test_a_graph_from_a_file_shows_and_is_asked_again(tmp_path: Path) -> None:
    """Without a model it says so; with the one it was made with it answers; a page needs neither."""
    parts().graph.prune(0.9).save(tmp_path / "graph")
    read = sn.circuits.load_graph(tmp_path / "graph")
    alone = sw.CircuitPanel(read)
    alone.wait()
    assert "shows and cannot be asked" in alone._note.value
    assert alone.static_chips()["live model"] == "none: shows only"
    with pytest.raises(ValueError, match="without a live model"):
        alone.intervene()
    page = alone.to_html(tmp_path / "page.html", share_script=True).read_text(encoding="utf-8")
    assert "changing atoms in the live model need a running kernel" in page
    asked = sw.CircuitPanel(read, parts().model, parts().transcoders)
    wanted = parts().graph.intervene(_same(asked, asked.node), n_random=0).effect
    assert asked.intervene().effect == pytest.approx(wanted, abs=1e-5)


def _same(panel: CircuitPanel, node: int) -> int:
    """The node of the whole graph that one of a pruned one is."""
    rows, wanted = parts().graph.nodes, panel.graph.nodes.iloc[node]
    here = (rows.place == wanted.place) & (rows.position == wanted.position) & (rows.kind == "atom")
    return int(rows.index[here & (rows.atom == wanted.atom)][0])


def test_what_does_not_belong_together_is_refused() -> None:
    """No path, one of the two, another's; nodes and thresholds that are none."""
    graph, gpt = parts().graph, parts().model
    keep = graph.nodes.kind.isin(["error", "target"]).to_numpy()
    with pytest.raises(ValueError, match="must have a path from an input"):
        sw.CircuitPanel(graph._kept(keep))
    with pytest.raises(ValueError, match="must be given together, got no transcoders"):
        sw.CircuitPanel(graph, gpt)
    with pytest.raises(ValueError, match="must be tiny-gpt"):
        sw.CircuitPanel(graph, sn.load_model("tiny-vit"), parts().transcoders)
    with pytest.raises(ValueError, match="those that the graph was made with"):
        sw.CircuitPanel(graph, gpt, [*parts().transcoders[:3], transcoder(gpt, 3)])
    for choice in ({"node": len(graph)}, {"threshold": 1.5}):
        with pytest.raises(t.TraitError):
            sw.CircuitPanel(graph, **choice)


def test_a_panel_opens_as_it_was_left(panel: CircuitPanel) -> None:
    """Threshold, pins, groups, path, node and strength."""
    first, second = atoms(panel)[:2]
    target = int(np.flatnonzero(panel.circuit.kinds == "target")[0])
    panel.pin(first)
    panel.group([second], "one")
    panel.path(2, target)
    panel.threshold, panel.strength, panel.node = 0.6, 2.0, first
    other = sw.CircuitPanel(parts().graph)
    other.restore(panel.state())
    assert other.state() == panel.state()
    assert other.summary.nodes.equals(panel.summary.nodes)


def test_examples_are_drawn_when_an_atom_is_chosen() -> None:
    """Of a bundled transcoder, by its live model, off the main thread; names and tables then have words."""
    gpt, t3 = parts().model, sn.load_sae("tiny-gpt/mlp.3")
    graph = sn.circuits.attribution_graph(gpt, t3, "She was sad", target=" the", max_nodes=20)
    panel = sw.CircuitPanel(graph)
    panel.wait()
    assert not panel.problem, panel.status
    shown = panel.view.component
    assert len(shown.captions) == 4
    name = panel.names.name(panel.node)
    assert " · " in name
    assert panel.names.card(panel.node).examples
    assert any(name.split(" · ")[1] in (text or "") for text in panel.plot.data[figure.FOR].text)


def test_an_image_is_read_by_its_patches() -> None:
    """Shaded by the share of the influence that ends there; a click chooses the patch."""
    vit = sn.load_model("tiny-vit")
    graph = sn.circuits.attribution_graph(
        vit, transcoder(vit, 10), sn.data.scenes(1, seed=3).images, target=3, max_nodes=8
    )
    panel = sw.CircuitPanel(graph, threshold=0.4)
    grid = panel.picture
    assert grid is not None
    share = panel.circuit.influence[panel.circuit.kinds == "token"]
    assert grid.heat_maps[0].ravel() == pytest.approx(share[5:])
    assert grid.prefix_names[:2] == ["cls", "register 1"]
    grid.selected = (0, 9)
    assert graph.tokens[int(graph.nodes.position[panel.node])] == "patch 1,1"
    assert panel.summary.place_of(panel.node) >= 0
    columns = panel.summary.columns
    assert len(columns) < len(graph.tokens)
    patches = columns[columns.position >= 5]
    crops = panel.plot.layout.images
    assert [crop.x for crop in crops] == pytest.approx(patches.x.tolist())
    assert len({crop.source for crop in crops}) > 1
    image = graph.inputs[0].numpy()
    row, column = divmod(int(patches.position.iloc[0]) - 5, 8)
    assert crops[0].source == png_address(crop_patch(image, (8, 8), (row, column)))
    names = panel.plot.layout.xaxis.ticktext
    assert [name != "" for name in names] == (columns.position < 5).tolist()


def test_rows_of_the_tables_have_names_too(panel: CircuitPanel) -> None:
    """Dictionaries of what made a node, and of what it makes, are opened after its own."""
    rows = [*panel._in_rows, *panel._out_rows]
    assert (
        len({panel.graph.nodes.place[node] for node in rows if panel.circuit.kinds[node] == "atom"})
        > 1
    )
    assert all(panel.names.is_open(node) for node in rows)
    book, atom = next(filter(None, map(panel.names.book, rows)))
    book.labels.write(atom, HOSTILE)
    cells = [*panel.inputs.cells, *panel.outputs.cells]
    assert any(HOSTILE in cell for row in cells for cell in row)
    book.labels.write(atom, "")


def test_the_key_lies_where_no_button_covers_it(panel: CircuitPanel) -> None:
    """Under the figure: its buttons stand above; the answer stands over the last word."""
    legend = panel.plot.layout.legend
    assert (legend.yref, legend.yanchor, legend.y) == ("container", "bottom", 0)
    nodes, columns = panel.summary.nodes, panel.summary.columns
    assert nodes.x[nodes.kind == "target"].tolist() == [columns.x.iloc[-1]]


def test_a_graph_of_neurons_is_drawn_by_their_names() -> None:
    """No dictionary: outlines with words over their tokens, empty rows left out, the live cut next to chance."""
    gpt = parts().model
    graph = sn.circuits.attribution_graph(
        gpt, "neurons", "One day she went", contrast="One day he went", target=(" to", " in")
    )
    panel = sw.CircuitPanel(graph)
    panel.wait()
    assert not panel.problem, panel.status
    assert "neurons" in panel.question
    assert panel.chips["contrast"] == "<|endoftext|>One day he went"
    nodes, drawn = panel.summary.nodes, panel.plot.layout
    inner = (nodes.kind == "atom").to_numpy()
    assert 0 < inner.sum() <= 12
    assert len(drawn.shapes) == len(drawn.annotations) == inner.sum() + 1
    words = {panel.names.pill(int(node)) for node in nodes.node[inner]}
    assert {one.text for one in drawn.annotations} == words | {"to − in"}
    places = nodes[inner][["x", "y"]].to_numpy()
    for i, (x, y) in enumerate(places):
        others = np.delete(places, i, axis=0)
        assert (np.abs(others[others[:, 1] == y, 0] - x) > 1.5).all()  # names never touch
    assert set(panel.summary.rows) <= {"input", "answer", "", *(f"MLP {i}" for i in range(4))}
    assert panel.answer.startswith("Without 20 of")
    flow = graph.intervene(panel.node, 0.0, n_random=3)
    assert panel.change is not None
    assert panel.change.effect == pytest.approx(flow.effect)
    assert panel.change.random == pytest.approx(flow.controls)
    panel.threshold = 0.9
    assert len(panel.plot.layout.shapes) == (panel.summary.nodes.kind != "token").sum() > 13
    panel._group_alike()
    assert not panel.problem
    for nodes_of in panel.groups.values():
        assert len(nodes_of) > 1
