"""What the CircuitPanel draws of a graph, by hand: places, groups, edges, stations of a story, answers to a change."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sae_nb_widgets.circuit import _summary as drawing
from sae_nb_widgets.circuit._summary import Circuit, CircuitStory, summarise_flow

import sae_nb as sn
from sae_nb.circuits import AttributionGraph
from tests.six_nodes import INFLUENCE, graph, without_edges


def test_an_answer_is_reached_from_a_token_or_an_atom_not_looked_into() -> None:
    cut = (5, 1), (3, 1), (2, 0)  # tokens lead nowhere
    assert not drawing._reaches(without_edges(*cut))
    assert drawing._reaches(without_edges(*cut, read=False))
    assert drawing._reaches(without_edges(*cut[:2]))  # over two atoms
    assert not drawing._reaches(without_edges(*cut, (5, 2), (5, 3), read=False))


def test_a_share_of_influence_by_its_number_of_nodes() -> None:
    found = Circuit(graph())
    shares = [found.share_of(n) for n in (0, 1, 2, 3, 9)]
    assert shares == pytest.approx([0.625 / 2.125, 1.25 / 2.125, 2 / 2.125, 1, 1])
    assert found.reaches
    assert found.read_at == 1
    assert Circuit(graph(outcomes=((0,), None))).read_at == -1
    assert found.first_threshold() == 1


def test_stations_are_where_atoms_speak_for_the_answer() -> None:
    assert Circuit(graph()).stations() == ()
    against = Circuit(graph(-1.0))
    assert against.stations() == ((0, (2,)), (1, (3,)))
    assert against.stations(1) == ((1, (3,)),)
    assert [drawing._station(p, [2, 5]) for p in (0, 2, 4, 5, 9)] == [2, 2, 2, 5, 5]


def test_neighbours_by_what_they_make_and_what_runs_on() -> None:
    found = Circuit(graph())
    inputs, outputs = found.neighbours(3, 5)
    assert inputs["node"].tolist() == [2, 1]
    assert inputs.share.tolist() == [0.75, 0.25]
    assert (outputs["node"].tolist(), outputs.weight.tolist()) == ([5], [-2])
    assert outputs.share.tolist() == [0.5]
    # three quarters of an atom of .5, a quarter of the target
    _, outputs = found.neighbours(2, 5)
    assert outputs["node"].tolist() == [3, 5]
    assert found.neighbours(5, 2)[0]["node"].tolist() == [3, 2]
    # of the other atom nothing runs on to the target
    _, outputs = Circuit(without_edges((5, 3))).neighbours(2, 5)
    assert outputs["node"].tolist() == [5, 3]
    assert outputs.share.tolist() == [0.5, 0.75]


def test_a_drawing_has_flows_for_edges_and_a_column_for_a_position() -> None:
    """An edge carries its share in its node, of what the node carries."""
    found = Circuit(graph()).summarise(1.0)
    edges = {(e.source, e.target): (e.weight, e.share) for e in found.edges.itertuples()}
    assert edges == {
        (0, 2): (1, 0.625),
        (3, 5): (-2, 0.5),
        (2, 3): (3, 0.375),
        (2, 5): (1, 0.25),
        (1, 3): (1, 0.125),
        (1, 5): (0.5, 0.125),
        (4, 5): (0.5, 0.125),
    }
    assert found.edges.share.is_monotonic_decreasing
    assert (found.n_nodes, found.n_edges) == (3, 7)
    assert found.rows == ("input", "MLP 0", "MLP 1", "answer")
    nodes = found.nodes
    assert nodes.row.tolist() == [0, 0, 1, 2, 2, 3]
    assert nodes.influence.tolist() == INFLUENCE
    # columns .4 apart; two in one cell are two lines; the target stands over the last word
    assert nodes.x.tolist() == pytest.approx([0.5, 1.9, 0.5, 1.9, 1.9, 1.9])
    assert nodes.y.tolist() == pytest.approx([0, 0, 1, 2 - 0.13, 2 + 0.13, 3])
    assert found.columns.x.tolist() == pytest.approx([0.5, 1.9])
    assert [found.place_of(node) for node in (3, 5, 9)] == [3, 5, -1]


def test_a_group_is_the_sum_of_its_members() -> None:
    found = Circuit(graph()).summarise(1.0, groups={"pair": [2, 3]})
    nodes = found.nodes
    place = found.place_of(3)
    assert nodes["node"].tolist() == [0, 1, 4, 5, 2]
    assert nodes.influence[place] == 1.125
    assert nodes.adds[place] == -2.5
    edges = {(e.source, e.target): (e.weight, e.share) for e in found.edges.itertuples()}
    assert edges[place, 3] == (-1, 0.75)
    assert edges[0, place] == (1, 0.625)
    assert edges[1, place] == (1, 0.125)
    assert found.nodes_at(place) == (2, 3)
    few = Circuit(graph()).summarise(0.3, always=[4])
    assert few.nodes["node"].tolist() == [0, 1, 2, 5, 4]
    edges = {(e.source, e.target): e.weight for e in few.edges.itertuples()}
    assert edges == {(0, 2): 1, (1, 3): 0.5, (2, 3): 1, (4, 3): 0.5}
    few = Circuit(graph()).summarise(0.3, always=[3])
    edges = {(e.source, e.target): e.weight for e in few.edges.itertuples()}
    assert edges == {(0, 2): 1, (1, 3): 0.5, (2, 3): 1, (1, 4): 1, (2, 4): 3, (4, 3): -2}


def test_of_many_inputs_those_of_most_influence_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MOST_TOKENS", 1)
    assert Circuit(graph()).summarise(1.0).nodes["node"].tolist() == [0, 2, 3, 4, 5]
    assert Circuit(graph()).summarise(1.0, always=[1]).nodes["node"].tolist() == [0, 1, 2, 3, 4, 5]
    monkeypatch.setattr(drawing, "MOST_TOKENS", 2)
    assert len(Circuit(graph()).summarise(1.0).nodes) == 6


def test_cells_of_many_nodes_have_three_lines_in_the_order_of_influence() -> None:
    """Four nodes of one place and position: two abreast in two lines."""
    table = pd.DataFrame(
        {"row": [1, 1, 1, 1, 0, 2], "position": [3, 3, 3, 3, 5, 5], "influence": [1, 4, 3, 2, 0, 0]}
    )
    found, columns = drawing._laid_out(table, 2, -1)
    assert found.x.tolist() == pytest.approx([1.5, 0.5, 1.5, 0.5, 2.9, 1.7])
    assert found.y.tolist() == pytest.approx([1.13, 0.87, 0.87, 1.13, 0, 2])
    assert columns.x.tolist() == pytest.approx([1, 2.9])
    alone = pd.DataFrame({"row": [2], "position": [3], "influence": [0]})
    assert drawing._laid_out(alone, 2, -1)[0].x.tolist() == [0.5]


def test_names_that_would_touch_stand_in_lines_of_their_own() -> None:
    """Four positions; names of three nodes: two far enough apart for a line, one that is not."""
    table = pd.DataFrame(
        {
            "row": [0, 1, 1, 1, 2, 3],
            "position": [1, 0, 2, 3, 3, 3],
            "influence": [0.0, 3, 2, 1, 1, 0],
        }
    )
    found, columns, rows = drawing._laid_out_by_name(table, ("input", "A", "B", "answer"), 3)
    assert columns.x.tolist() == pytest.approx([0.5, 1.3, 2.1, 3.1])
    assert found.x.tolist() == pytest.approx([1.3, 0.5, 2.1, 3.1, 3.1, 3.1])
    # 2.1 − .5 is less than 1.7; 3.1 − .5 is not
    assert found.y.tolist() == [0, 1, 2, 1, 3, 4]
    assert rows == ("input", "A", "", "B", "answer")
    few = pd.DataFrame({"row": [0, 1], "position": [3, 3], "influence": [0.0, 0.0]})
    found, columns, _ = drawing._laid_out_by_name(few, ("input", "answer"), -1)
    assert (columns.x.tolist(), found.x.tolist()) == ([0.3], [0.3, 0.5])


@pytest.mark.parametrize(
    ("n", "wide", "centre", "places"),
    [
        (1, 2.4, 1.9, [1.9]),
        (2, 2.4, 1.9, [1.7, 2.1]),
        (3, 2.4, 1.9, [1.4, 1.8, 2.2]),
        (2, 3.0, None, [0.75, 2.25]),
        (8, 2.4, 1.2, [0.15 + 0.3 * i for i in range(8)]),
    ],
)
def test_targets_keep_together_and_inside(
    n: int, wide: float, centre: float | None, places: list[float]
) -> None:
    assert drawing._abreast(n, wide, centre).tolist() == pytest.approx(places)


def test_a_story_is_beyond_chance_where_no_random_change_moves_as_far() -> None:
    def story(random: list[float]) -> bool:
        none = np.zeros(1)
        return CircuitStory(
            stations=(), n=0, answers=("a",), before=np.array([0.6]), without=np.array([0.2]),
            without_first=none, random=np.array(random)[:, None], says=("", ""), says_shares=(0, 0),
        ).beyond_chance  # fmt: skip

    assert story([0.5, 0.9])
    assert not story([0.5, 1.1])
    assert not story([0.2])
    assert not story([])


def test_a_story_tells_the_probabilities_of_what_is_asked_and_said() -> None:
    words = ["n0", "n1", "n2"]
    image = SimpleNamespace(is_text=False)
    model = SimpleNamespace(modality=image, streams=False, class_names=words)
    chances = {"before": [0.2, 0.5, 0.3], "after": [0.6, 0.1, 0.3], "first": [0.1, 0.2, 0.7]}
    logits = {name: torch.tensor(p).log() for name, p in chances.items()}
    asked: list[tuple[list[int], int]] = []

    def intervene(some: list[int], factor: float, n_random: int) -> Any:
        asked.append((some, n_random))
        after = logits["after" if n_random else "first"]
        controlled = torch.stack([logits["first"], logits["before"]])
        return SimpleNamespace(
            before=logits["before"], after=after, controlled=controlled, factor=factor, effect=1.5,
            predicted=1.0, direct=0.5, controls=np.array([0.5, -1.4]),
        )  # fmt: skip

    circuit = Circuit(graph())
    circuit.graph = SimpleNamespace(intervene=intervene, outcomes=((2,), None))
    found = circuit._without(model, [(0, (2, 3)), (1, (4,))], [2, 3, 4], 7)
    assert asked == [([2, 3, 4], 7), ([2, 3], 0)]
    # what is asked first, then what is said without: two at most
    assert found["answers"] == ("n2", "n0")
    assert found["says"] == ("n1", "n0")
    assert found["says_shares"] == pytest.approx((0.5, 0.6))
    assert found["before"].tolist() == pytest.approx([0.3, 0.2])
    assert found["without"].tolist() == pytest.approx([0.3, 0.6])
    assert found["without_first"].tolist() == pytest.approx([0.7, 0.1])
    assert found["random"].tolist() == [pytest.approx([0.7, 0.1]), pytest.approx([0.3, 0.2])]

    of = SimpleNamespace(passes=SimpleNamespace(model=model))
    answer = summarise_flow(of, [2], intervene([2], 0.0, 1))
    assert answer.names == ("n0", "n1", "n2")
    assert answer.before.tolist() == pytest.approx([0.2, 0.5, 0.3])
    assert answer.after.tolist() == pytest.approx([0.6, 0.1, 0.3])
    assert answer.after_random[0].tolist() == pytest.approx([0.1, 0.2, 0.7])
    assert answer.is_beyond_luck
    model.class_names = None
    assert summarise_flow(of, [2], intervene([2], 0.0, 1)).names == ()


@cache
def traced() -> AttributionGraph:
    return sn.circuits.attribution_graph(
        sn.load_model("tiny-gpt"),
        [sn.load_sae(f"tiny-gpt/mlp.{layer}") for layer in range(4)],
        "One day Mia saw",
        target=[" dog", " cat"],
        max_nodes=150,
    )


def atoms_at(found: AttributionGraph, layer: int) -> list[int]:
    here = ((found.nodes.kind == "atom") & (found.nodes.layer == layer)).to_numpy()
    return [int(i) for i in np.argsort(-found.influence) if here[i]]


def test_a_group_is_one_node_whose_edges_add_up() -> None:
    """What runs between its members is left out; nodes drawn in any case have their edges."""
    members, rest = (
        [atoms_at(traced(), 2)[0], *atoms_at(traced(), 3)[:2]],
        atoms_at(traced(), 3)[-1],
    )
    summary = Circuit(traced()).summarise(0.2, [rest], {"pair": members})
    place = summary.place_of(members[1])
    assert place == summary.place_of(members[0])
    assert summary.nodes_at(place) == tuple(members)
    assert summary.place_of(rest) >= 0
    assert not set(summary.nodes.node[summary.nodes.group == ""]) & set(members)
    target = int(np.flatnonzero((summary.nodes.kind == "target").to_numpy())[0])
    edge = summary.edges[(summary.edges.source == place) & (summary.edges.target == target)]
    node = int(summary.nodes.node[target])
    assert float(edge.weight.iloc[0]) == pytest.approx(
        float(traced().matrix[node, members].sum()), rel=1e-5
    )
    assert not (summary.edges.source == summary.edges.target).any()


@pytest.mark.slow
def test_an_answer_to_a_change_has_the_outcomes_that_it_moved_most() -> None:
    nodes = atoms_at(traced(), 3)[:2]
    answer = summarise_flow(traced(), nodes, traced().intervene(nodes, n_random=2))
    assert answer.after_random.shape == (2, len(answer.names)) == (2, 5)
    assert (np.diff(np.maximum(answer.before, answer.after)) <= 0).all()


def test_a_story_without_a_live_model_has_stations_alone() -> None:
    told = Circuit(graph(-1.0)).story(live=False)
    assert (told.stations, told.n) == (((0, (2,)), (1, (3,))), 2)
    assert [x.shape for x in (told.before, told.without, told.without_first, told.random)] == [
        (0,), (0,), (0,), (0, 0)
    ]  # fmt: skip
    assert (told.answers, told.says, told.says_shares) == ((), ("", ""), (0, 0))
    assert not told.beyond_chance


def test_a_story_asks_the_model_without_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four outcomes the one asked about and what it says after; the first station is taken out alone."""
    monkeypatch.setattr(drawing, "outcome_names", lambda model, ids: ["abcd"[i] for i in ids])
    p = {"before": [0.1, 0.2, 0.6, 0.1], "all": [0.5, 0.3, 0.1, 0.1], "first": [0.3, 0.3, 0.2, 0.2]}
    logs = {name: torch.tensor(x).log() + 3 for name, x in p.items()}
    asked = []

    def intervene(nodes: list[int], factor: float, n_random: int) -> Any:
        asked.append((nodes, factor, n_random))
        after = logs["all" if len(nodes) == 3 else "first"]
        controlled = torch.stack([logs["before"], logs["first"]])
        return SimpleNamespace(before=logs["before"], after=after, controlled=controlled)

    def told(outcomes: Any, stations: Any) -> Any:
        asked.clear()
        one = Circuit(graph())
        one.graph = SimpleNamespace(intervene=intervene, outcomes=outcomes)  # type: ignore[assignment]
        return one._without(None, stations, [7, 8, 9], 2)  # type: ignore[arg-type]

    several = ((0, (7,)), (1, (8, 9)))
    found = told(((3, 2), None), several)
    assert asked == [([7, 8, 9], 0.0, 2), ([7], 0.0, 0)]
    assert found["answers"] == ("d", "c")
    for name, of in (("before", "before"), ("without", "all"), ("without_first", "first")):
        np.testing.assert_allclose(found[name], np.array(p[of])[[3, 2]], atol=1e-6)
    np.testing.assert_allclose(found["random"], [[0.1, 0.6], [0.2, 0.2]], atol=1e-6)
    assert found["says"] == ("c", "a")
    assert found["says_shares"] == pytest.approx((0.6, 0.5))
    assert told(None, several)["answers"] == ("a", "c")
    assert told(((1,),), several)["answers"] == ("b", "a")
    alone = told(((1,),), ((0, (7, 8, 9)),))
    assert len(asked) == 1
    np.testing.assert_allclose(alone["without_first"], alone["without"])
