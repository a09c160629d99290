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
from sae_nb_widgets.circuit._story import bars_html
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


def told(
    random: list[float], says: tuple[str, str] = ("a", "b"), without: float = 0.2
) -> CircuitStory:
    return CircuitStory(
        stations=(), n=0, answers=("a",), before=np.array([0.6]), without=np.array([without]),
        without_other=np.zeros(1), random=np.array(random)[:, None], says=says, says_shares=(0, 0),
    )  # fmt: skip


def test_a_story_is_beyond_chance_where_no_random_change_moves_as_far() -> None:
    """Its nodes decide where the answer turns, too: from the one that is explained to another."""
    assert told([0.5, 0.9]).beyond_chance
    assert not told([0.5, 1.1]).beyond_chance
    assert not told([0.2]).beyond_chance
    assert not told([]).beyond_chance
    assert told([0.5, 0.9]).decides
    assert not told([0.2]).decides
    assert not told([0.5], ("a", "a")).decides
    assert not told([0.5], ("b", "c")).decides


LOGITS = {
    name: torch.tensor(p).log()
    for name, p in {
        "before": [0.2, 0.1, 0.7], "turned": [0.6, 0.1, 0.3], "near": [0.1, 0.3, 0.6], "far": [0.7, 0.2, 0.1],
    }.items()
}  # fmt: skip


def asked_story(
    first: str,
    every: str,
    random: str,
    stations: Any = ((0, (2, 3)), (1, (4,))),
    outcomes: Any = ((2,), None),
) -> tuple[CircuitStory, list[tuple[int, int]]]:
    """A story whose first station and whose all lead to these answers; and how often the model was asked."""
    asked: list[tuple[int, int]] = []

    def intervene(some: Any, factor: float, n_random: int) -> Any:
        asked.append((len(some), n_random))
        after = LOGITS[first if list(some) == [2, 3] else every]
        return SimpleNamespace(
            before=LOGITS["before"], after=after, controlled=LOGITS[random].expand(n_random, 3)
        )

    model = SimpleNamespace(
        modality=SimpleNamespace(is_text=False), streams=False, class_names=["n0", "n1", "n2"]
    )
    circuit = Circuit(graph())
    circuit.stations = lambda n: stations  # type: ignore[assignment, method-assign, misc]
    circuit.graph = SimpleNamespace(  # type: ignore[assignment]
        intervene=intervene, outcomes=outcomes, passes=SimpleNamespace(model=model, measures=True)
    )
    return circuit.story(n_random=7), asked


def test_a_story_is_told_by_its_first_station_where_that_alone_turns_the_answer() -> None:
    story, asked = asked_story("turned", "far", "before")
    assert asked == [(2, 7), (3, 0)]
    assert (story.n, story.n_all) == (2, 3)
    # what is asked first, then what is said without: two at most
    assert (story.answers, story.says) == (("n2", "n0"), ("n2", "n0"))
    assert story.says_shares == pytest.approx((0.7, 0.6))
    assert story.before.tolist() == pytest.approx([0.7, 0.2])
    assert story.without.tolist() == pytest.approx([0.3, 0.6])
    assert story.without_other.tolist() == pytest.approx([0.1, 0.7])
    assert story.random.tolist() == [pytest.approx([0.7, 0.2])] * 7
    # of a function of the answer no outcome is known: what is said without, and what was said
    assert asked_story("turned", "far", "before", outcomes=None)[0].answers == ("n0", "n2")


@pytest.mark.parametrize(
    ("first", "random"), [("near", "before"), ("turned", "turned"), ("turned", "far")]
)
def test_a_story_is_told_by_all_where_its_first_station_does_no_more_than_chance(
    first: str, random: str
) -> None:
    """It does not turn the answer, or random changes move it as far."""
    story, asked = asked_story(first, "far", random)
    assert asked == [(2, 7), (3, 0), (3, 7), (2, 0)]
    assert (story.n, story.without.tolist()) == (3, pytest.approx([0.1, 0.7]))
    assert story.without_other[0] == pytest.approx(float(LOGITS[first].exp()[2]))


def test_the_bars_of_a_story_begin_with_the_nodes_that_are_changed() -> None:
    """Those of the first station where they decide, else all; the other set stands below."""
    names: Any = SimpleNamespace(at=lambda position: f"at {position}")
    for first, order in (("turned", ("the 2 at", "these 3")), ("near", ("these 3", "the 2 at"))):
        story, _ = asked_story(first, "far", "before")
        drawn = bars_html(story, "neurons", names, True, False)
        assert drawn.index(f"without {order[0]}") < drawn.index(f"without {order[1]}")


def test_a_story_of_one_station_asks_once() -> None:
    story, asked = asked_story("near", "near", "before", ((0, (2, 3)),))
    assert asked == [(2, 7)]
    assert story.without_other.tolist() == story.without.tolist()
    assert asked_story("near", "near", "before", ())[1] == []


def test_an_answer_to_a_change_has_its_outcomes_by_name() -> None:
    def changed(names: list[str] | None) -> Any:
        model = SimpleNamespace(
            modality=SimpleNamespace(is_text=False), streams=False, class_names=names
        )
        flow: Any = SimpleNamespace(
            before=LOGITS["before"], after=LOGITS["turned"], controlled=LOGITS["far"][None], factor=0.0,
            effect=1.5, predicted=1.0, direct=0.5, controls=np.array([0.5, -1.4]),
        )  # fmt: skip
        of: Any = SimpleNamespace(passes=SimpleNamespace(model=model))
        return summarise_flow(of, [2], flow)

    answer = changed(["n0", "n1", "n2"])
    assert answer.names == ("n2", "n0", "n1")
    assert answer.before.tolist() == pytest.approx([0.7, 0.2, 0.1])
    assert answer.after.tolist() == pytest.approx([0.3, 0.6, 0.1])
    assert answer.after_random[0].tolist() == pytest.approx([0.1, 0.7, 0.2])
    assert answer.is_beyond_luck
    assert changed(None).names == ()


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
    assert [x.shape for x in (told.before, told.without, told.without_other, told.random)] == [
        (0,), (0,), (0,), (0, 0)
    ]  # fmt: skip
    assert (told.answers, told.says, told.says_shares) == ((), ("", ""), (0, 0))
    assert not told.beyond_chance
