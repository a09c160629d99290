"""CircuitPanel: what is chosen, drawn, changed in the live model, grouped, left out and refused."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.circuit import CircuitPanel
from sae_nb_widgets.circuit._layout import Face, Layout
from sae_nb_widgets.components._atom_card import png_address

import sae_nb as sn

pytestmark = pytest.mark.slow

HOSTILE = "=<b>x</b>"


def transcoder(model: Any, layer: int) -> Any:
    width, start = model.width(f"mlp_out.{layer}"), torch.Generator().manual_seed(9)
    made = sn.Transcoder(width, width, 64, 4, generator=start).eval()
    made.hook_point, made.target_hook_point = f"mlp_in.{layer}", f"mlp_out.{layer}"
    return made


def nameless(layer: int) -> Any:
    made = sn.load_sae(f"tiny-gpt/mlp.{layer}")
    made.model_name = None
    return made


@cache
def parts() -> SimpleNamespace:
    gpt, transcoders = sn.load_model("tiny-gpt"), [nameless(layer) for layer in range(4)]
    graph = sn.circuits.attribution_graph(
        gpt, transcoders, "One day Mia saw", target=" dog", max_nodes=150
    )
    return SimpleNamespace(model=gpt, transcoders=transcoders, graph=graph)


@pytest.fixture
def panel() -> CircuitPanel:
    made = sw.CircuitPanel(parts().graph, threshold=0.8)
    made.wait()
    return made


def faces(panel: CircuitPanel) -> list[Face]:
    return list(panel.map._drawn[0])


def layouts(panel: CircuitPanel) -> list[Layout]:
    return list(panel.map._drawn[1])


def atoms(panel: CircuitPanel) -> list[int]:
    nodes = panel.summary.nodes
    drawn = nodes[(nodes.kind == "atom") & (nodes.group == "")]
    return drawn.sort_values("influence", ascending=False)["node"].astype(int).tolist()


def test_nothing_is_cut_at_first_and_a_cut_stands_beside_luck(panel: CircuitPanel) -> None:
    """It opens on the story as it is; a cut has the numbers of `intervene`, and the band of random changes."""
    assert not panel.problem, panel.status
    assert panel.node == atoms(panel)[0]
    assert (panel.change, panel.without, panel.strength) == (None, False, 1.0)
    assert panel.drawing.layout.display == "none"
    panel.as_graph = True
    panel.cut()
    flow = parts().graph.intervene(panel.node, 0.0, n_random=19)
    answer = panel.change
    assert answer is not None
    assert (answer.effect, answer.predicted) == pytest.approx((flow.effect, flow.predicted))
    assert answer.random == pytest.approx(flow.controls)
    assert panel.effects.values == pytest.approx([flow.effect, flow.predicted])
    ends = [flow.controls.min(), np.median(flow.controls), flow.controls.max()]
    assert panel.effects.bands[0] == pytest.approx(ends)
    assert f"Cut <b>{panel.names.changed_as(panel.node)}</b>" in panel.cut_row.said.value
    assert "the graph foresaw" in panel.numbers
    assert panel.outcomes.values == pytest.approx(answer.after)


def test_strength_is_a_trait_and_answers_at_once(panel: CircuitPanel) -> None:
    """As it is nothing changes; twice does the opposite of nothing; a click is a few runs of the model."""
    runs: list[int] = []
    counted = parts().model.module.register_forward_hook(lambda *_: runs.append(1))
    assert panel.intervene(1.0).effect == pytest.approx(0.0, abs=1e-5)
    counted.remove()
    assert len(runs) <= 2 + panel.n_random  # as it is, as it is changed, and each random direction
    assert panel.strength == 1.0
    twice = panel.intervene(2.0)
    assert twice.predicted == pytest.approx(-panel.intervene(0.0).predicted)
    panel.n_random = 0
    assert len(panel.intervene().random) == 0


def test_tables_and_the_drawing_choose_nodes(panel: CircuitPanel) -> None:
    """A row, a point, an arrow; what is chosen is drawn, also below the threshold."""
    made_by, _ = panel.circuit.neighbours(panel.node, 3)
    panel.inputs.selected = 1
    assert panel.node == int(made_by["node"].iloc[1])
    place = next(i for i, face in enumerate(faces(panel)) if face.tone == "for")
    panel.map.selected = place
    assert panel.node == int(panel.summary.nodes.node.iloc[place])
    assert faces(panel)[panel.map.selected].atom == panel.node
    panel.node = 2
    with pytest.raises(ValueError, match="Only atoms can be changed"):
        panel.intervene()
    hidden = np.setdiff1d(
        np.flatnonzero(panel.circuit.kinds == "atom"), panel.summary.nodes["node"]
    )
    panel.node, panel.strength = int(hidden[0]), 0.0
    assert panel.summary.place_of(panel.node) >= 0
    assert panel.change is not None
    panel.press("Escape")
    assert (panel.node, panel.change) == (-1, None)
    assert "carry 80.0" in panel.numbers.replace("\u2009", " ")
    panel.press("ArrowRight")
    assert panel.node >= 0
    find = panel.controls.find
    for nothing in ("", "😀", "<b>", "no such word"):
        find.query = nothing
        assert find.rows == []
    find.query = "day"
    at = [panel.names.token(int(panel.graph.nodes.position.iat[r["atom"]])) for r in find.rows]
    assert set(at) == {"“day”"}
    find.choose(1)
    assert (panel.node, panel.as_graph) == (find.rows[1]["atom"], True)


def test_pinned_nodes_become_a_group_that_is_changed_as_one(panel: CircuitPanel) -> None:
    """Named, drawn as one, taken apart; no node is in two."""
    first, second, third = atoms(panel)[:3]
    panel.pinned = (first, second)
    panel.group_name = HOSTILE
    panel.group_pinned()
    assert panel.groups == {HOSTILE: (first, second)}
    assert panel.pinned == ()
    panel.node = first
    both = panel.intervene(0.0)
    assert both.nodes == (first, second)
    assert both.effect == pytest.approx(parts().graph.intervene([first, second]).effect)
    assert HOSTILE in [face.text for face in faces(panel)]
    page = "".join([panel.map.static_html(), panel.chosen.heading.value, panel.cut_row.said.value])
    assert "=&lt;b&gt;x" in page
    assert "<b>x" not in page
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
    assert sum("path" in face.marks for face in faces(panel)) == len(path)
    assert all(panel.summary.place_of(node) >= 0 for node in path)
    with pytest.raises(ValueError, match="and none does"):
        panel.path(target, 2)
    panel.path_from, panel.path_to = target, 2
    assert panel.problem
    assert "none does" in panel.status
    assert not any("path" in face.marks for face in faces(panel))
    panel.clear_selection()
    assert not panel.problem


def test_a_graph_from_a_file_shows_and_is_asked_again(tmp_path: Path) -> None:
    """Without a model it says so; with the one it was made with it answers; a page needs neither."""
    parts().graph.prune(0.9).save(tmp_path / "graph")
    read = sn.circuits.load_graph(tmp_path / "graph")
    alone = sw.CircuitPanel(read)
    alone.wait()
    assert alone.static_chips()["live model"] == "none: shows only"
    with pytest.raises(ValueError, match="without a live model"):
        alone.intervene()
    asked = sw.CircuitPanel(read, parts().model, parts().transcoders)
    wanted = parts().graph.intervene(_same(asked, asked.node), n_random=0).effect
    assert asked.intervene().effect == pytest.approx(wanted, abs=1e-5)


def _same(panel: CircuitPanel, node: int) -> int:
    """The node of the whole graph that one of a pruned one is."""
    rows, wanted = parts().graph.nodes, panel.graph.nodes.iloc[node]
    here = (rows.place == wanted.place) & (rows.position == wanted.position) & (rows.kind == "atom")
    return int(rows.index[here & (rows.atom == wanted.atom)][0])


def test_examples_are_drawn_when_an_atom_is_chosen() -> None:
    """Of a bundled transcoder, by its live model, off the main thread; names and tables then have words."""
    gpt, t3 = parts().model, sn.load_sae("tiny-gpt/mlp.3")
    graph = sn.circuits.attribution_graph(gpt, t3, "She was sad", target=" the", max_nodes=20)
    panel = sw.CircuitPanel(graph)
    panel.wait()
    assert not panel.problem, panel.status
    shown = panel.chosen.view.component
    assert len(shown.captions) == 4
    name = panel.names.name(panel.node)
    assert " · " in name
    assert panel.names.card(panel.node).examples
    mine = faces(panel)[panel.map.selected]
    assert name.split(" · ")[1] in mine.tip
    assert mine.text == panel.names.pill(panel.node)[0] != panel.names.short(panel.node)
    # All dictionaries that are drawn are opened, not the chosen node's alone.
    assert all(panel.names.is_open(int(node)) for node in panel.summary.nodes.node)


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
    words = layouts(panel)[0].words
    patches = [crop for _, _, _, crop, _ in words if crop]
    assert len(patches) == (columns.position >= 5).sum()
    assert len(set(patches)) > 1
    image = graph.picture[0].numpy()
    row, column = divmod(int(columns.position[columns.position >= 5].iloc[0]) - 5, 8)
    padded = np.pad(image, ((0, 0), (4, 4), (4, 4)), constant_values=128)  # one patch, grey beyond
    around = padded[:, 4 * row : 4 * row + 12, 4 * column : 4 * column + 12]
    assert patches[0] == png_address(around)
    places = [(x, side) for _, x, _, crop, side in words if crop]
    for (x, side), (after, _) in pairwise(places):  # no patch lies over the next
        assert x + side / 2 <= after - side / 2


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
    assert panel.where == ("tiny-gpt", "neurons of 4 MLPs", "“to” rather than “in”")
    assert panel.chips["contrast"] == "<|endoftext|>One day he went"
    inner = (panel.summary.nodes.kind == "atom").to_numpy()
    assert 0 < inner.sum() <= 12
    drawn = [face for face in faces(panel) if face.tone in ("for", "against")]
    nodes = panel.summary.nodes.node[inner]
    assert [face.text for face in drawn] == [panel.names.pill(int(node))[0] for node in nodes]
    story = panel.story
    nodes_told = [node for _, some in story.stations for node in some][: story.n]
    assert story.answers == (" to", " in")
    assert story.n in (len(story.stations[0][1]), story.n_all)
    assert (panel.circuit.adds[nodes_told] > 0).all()
    whole = graph.intervene(nodes_told, 0.0, n_random=19)
    probabilities = whole.after.softmax(dim=-1)[[graph.outcomes[0]]].flatten()
    assert story.without == pytest.approx(probabilities.numpy(), abs=1e-5)
    assert story.random.shape == (19, 2)
    assert len(panel.answer.replace("One day he went", "").split()) <= 18
    assert "random" in panel.answer
    told = panel.story_view.value
    assert told.count("sae-nb-chance") == 2
    assert "sae-nb-storycut" not in told
    panel.without = True
    assert "sae-nb-storycut" in panel.story_view.value
    assert "neuron" in panel.names.short(nodes_told[0])
    flow = graph.intervene(panel.node, 0.0, n_random=19)
    panel.strength = 0.0
    assert panel.change is not None
    assert panel.change.effect == pytest.approx(flow.effect)
    assert panel.change.random == pytest.approx(flow.controls)
    panel.controls.sizes.value = 20
    assert 12 < (panel.summary.nodes.kind == "atom").sum() <= 20
    panel.threshold = 0.9
    assert panel.controls.sizes.value is None
    panel.group_alike()
    assert not panel.problem
    for nodes_of in panel.groups.values():
        assert len(nodes_of) > 1


def test_the_difference_to_another_text_is_explained_below() -> None:
    """The graph that the engine gives for the pair; the next one takes its place."""
    gpt = parts().model
    panel = sw.CircuitPanel(sn.circuits.attribution_graph(gpt, "neurons", "One day she went"))
    panel.wait()
    panel.explain_difference("One day he went", " to", " in")
    panel.wait()
    assert not panel.problem, panel.status
    below = panel.difference.panel
    assert below is not None
    expected = sn.circuits.attribution_graph(
        gpt, "neurons", "One day she went", contrast="One day he went", target=(" to", " in")
    )
    assert below.graph.nodes.equals(expected.nodes)
    assert below.where[-1] == "“to” rather than “in”"
    panel.explain_difference("One day he went", " in", " to")
    panel.wait()
    assert not panel.problem, panel.status
    assert panel.difference.panel is not below
    assert below._closed
    panel.close()
