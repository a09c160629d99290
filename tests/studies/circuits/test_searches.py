"""What is asked of a graph, by hand: targets, names, memory, heads on edges, groups, and what an answer needs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from sae_nb.circuits import (
    AttributionGraph,
    _asked as asking,
    _attention_edges as edges,
    _attributing as attributing,
    _decomposing as decomposing,
    _faithfulness as faithful,
    _neuron_examples as examples,
    _neuron_names as naming,
    _nodes as nodes_of,
    _unit_passes as units,
)

WEIGHTS = np.array([0.5, 0.04, 0.3, 0.01, 0.15, 0.0])
"""What each of six atoms adds to the answer."""


def graph(adds: Any = WEIGHTS) -> AttributionGraph:
    """Two tokens, six atoms of two places and positions, all straight to one target."""
    made = np.zeros((9, 9))
    made[8, 2:8] = adds
    kind = ["token"] * 2 + ["atom"] * 6 + ["target"]
    table = pd.DataFrame(
        {
            "kind": kind,
            "place": [""] * 2 + ["mlp_out.0"] * 4 + ["mlp_out.1"] * 2 + [""],
            "position": [0, 1, 0, 0, 1, 1, 1, 1, 1],
            "atom": [-1, -1, 4, 5, 4, 6, 7, 8, -1],
            "value": [0.0] * 2 + [1.0] * 6 + [0.0],
            "name": list("abcdefghi"),
            "weight": [0.0] * 8 + [1.0],
            "read": True,
        }
    )
    return AttributionGraph(
        nodes=table, matrix=csr_matrix(made), model_name="m", tokens=("x", "y"),
        places=("mlp_out.0", "mlp_out.1"), exact=True, outcomes=((0,),),
    )  # fmt: skip


class Adds:
    """A model that adds up what the atoms it has add."""

    nothing, everything = 2.0, 5.0

    def __init__(self, of: AttributionGraph) -> None:
        self.atoms = np.arange(2, 8)

    def shares(self, several: Any) -> np.ndarray:
        return np.array([WEIGHTS[np.asarray(some, int) - 2].sum() for some in several])


@pytest.mark.parametrize(
    ("method", "kept", "runs"), [("greedy", [2, 4, 6], 19), ("sweep", [2, 4, 6], 7)]
)
def test_an_answer_keeps_the_atoms_that_it_needs(
    method: Any, kept: list[int], runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth may be missing: the three of 0, .01 and .04 may go, that of .15 may not."""
    monkeypatch.setattr(decomposing, "GraphRuns", Adds)
    found = decomposing.decompose(graph(), share=0.9, method=method, parts=2, n_random=3, seed=0)
    assert found.kept.tolist() == kept
    assert (found.recovered, found.influence) == pytest.approx((0.95, 0.95))
    assert (found.n_atoms, found.n_runs) == (6, runs)
    assert len(found.random) == len(found.alike) == 3
    # one of the first two, one of the next two, one of the last two
    assert {round(float(x), 2) for x in found.alike} <= {
        round(a + b + c, 2) for a in (0.5, 0.04) for b in (0.3, 0.01) for c in (0.15, 0.0)
    }
    assert (found.levels.iloc[0].tolist()) == [0, 6, 3, 3, pytest.approx(0.95), runs]
    tried = found.groups.set_index(["place", "position"])
    assert sorted(found.groups.lost.round(2)) == [0, 0.01, 0.04, 0.15, 0.3, 0.5]
    assert found.groups.kept.tolist() == (found.groups.lost > 0.1).tolist()
    assert tried.loc[("mlp_out.1", 1)].shape[0] == 2
    assert found.table["atom"].tolist() == [4, 4, 7]
    assert found.comparison.recovered.tolist()[0] == pytest.approx(0.95)


def test_groups_are_taken_out_whole_before_they_are_divided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three groups of two; each costs more than a third of a tenth, so all are divided, and three atoms go."""
    monkeypatch.setattr(decomposing, "GraphRuns", Adds)
    found = decomposing.decompose(graph(), share=0.9, method="groups", parts=2, n_random=0, seed=0)
    assert found.kept.tolist() == [2, 4, 6]
    assert found.levels.groups.tolist() == [3, 6]
    assert found.levels.dropped.tolist() == [0, 3]
    assert found.levels.atoms.tolist() == [6, 3]
    assert found.groups.lost.round(2).tolist()[:3] == [0.54, 0.31, 0.15]
    # one for all, three, two of halving; six, three of halving
    assert found.levels.runs.tolist() == [6, 15]
    assert found.n_runs == 15
    assert np.isnan(found.comparison.recovered.tolist()[2])


def test_a_group_may_spend_its_part_of_what_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of .48 a third at the first of two sizes: the group of .15 goes whole; then .04 and .01, and not .3."""
    monkeypatch.setattr(decomposing, "GraphRuns", Adds)
    found = decomposing.decompose(graph(), share=0.52, method="groups", parts=2, n_random=0, seed=0)
    assert found.kept.tolist() == [2, 4]
    assert found.recovered == pytest.approx(0.8)
    assert found.levels.groups.tolist() == [3, 4]
    assert found.levels.dropped.tolist() == [1, 2]
    assert found.levels.atoms.tolist() == [4, 2]
    assert found.levels.recovered.tolist() == pytest.approx([0.85, 0.8])
    assert found.levels.runs.tolist() == [6, 12]
    assert found.groups.n_atoms.tolist() == [2, 2, 2, 1, 1, 1, 1]
    assert found.groups.kept.tolist() == [True, True, False, True, False, True, False]
    less = decomposing.decompose(graph(), share=0.56, method="groups", parts=2, n_random=0, seed=0)
    assert less.levels.dropped.tolist()[0] == 0  # a third of .44 is less than .15


def test_what_missing_entries_write_is_taken_off_position_by_position() -> None:
    written = SimpleNamespace(
        error=torch.zeros(3, 2), position=torch.tensor([0, 2, 2]),
        atoms=torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    )  # fmt: skip
    less = decomposing._less(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]), written)
    assert less.tolist() == [[[-1, -2], [0, 0], [0, 0]], [[0, 0], [0, 0], [-8, -10]]]
    changed = faithful._change(written, torch.tensor([1, 2]), -2.0)
    assert changed.tolist() == [[0, 0], [0, 0], [-16, -20]]
    rows = [pd.Series({"place": "a", "position": p}) for p in (1, 1)]
    passes = SimpleNamespace(layers=[0, 1], written=[written, written])
    moved = faithful._moved(
        SimpleNamespace(places=("b", "a")), passes, rows, [torch.ones(2), torch.tensor([2.0, 0.0])]
    )
    assert moved[0] is None
    assert moved[1].tolist() == [[0, 0], [3, 1], [0, 0]]


def test_the_gain_of_a_unit_is_the_flow_by_its_strength() -> None:
    of = graph()
    of.nodes.loc[2, "value"] = 0.25
    assert decomposing._per_unit(of).tolist() == pytest.approx(
        [0, 0, 2, 0.04, 0.3, 0.01, 0.15, 0, 1]
    )
    assert [part.tolist() for part in decomposing._divided(of, np.array([3, 4]), 2)] == [[3], [4]]
    parts = decomposing._divided(of, np.array([3, 4, 5, 6, 7]), 2)
    assert sorted(node for part in parts for node in part.tolist()) == [3, 4, 5, 6, 7]
    # .15 is as far from .3 as from 0, but that stands for three
    assert [4, 6] in [part.tolist() for part in parts]


# What is asked


def test_two_inputs_are_told_apart_by_their_top_answers() -> None:
    one, other = torch.tensor([0.0, 2.0, 1.0]), torch.tensor([0.0, 1.0, 2.0])
    assert asking.top_answers(None, one, other, "both") == (1, 2)
    image = SimpleNamespace(is_text=False)
    model = SimpleNamespace(modality=image, streams=False, class_names=["n0", "n1"])
    with pytest.raises(ValueError, match="top answer to both is “n1”"):
        asking.top_answers(model, one, one, "both")
    asking.check_span(-2e-6, 0.5)
    for span in (9e-7, -9e-7):
        with pytest.raises(ValueError, match=r"0\.500 for both"):
            asking.check_span(span, 0.5)
    assert asking.blocks(130) == [range(64), range(64, 128), range(128, 130)]
    assert asking.blocks(0) == []


def test_without_a_target_a_sure_answer_is_explained_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        attributing, "read_target", lambda _m, _a, _k, target: (str(target), lambda z: z[target[0]])
    )

    def targets(chances: list[float], target: Any = None) -> list[tuple[Any, float]]:
        trace = SimpleNamespace(
            answer=torch.tensor(chances).log(), kind="class", passes=SimpleNamespace(model=None),
            outcome=lambda i: SimpleNamespace(index=i, name=str(i), measure=None),
            of_answer=lambda words, weight, _measure, _outcomes: (words, weight),
        )  # fmt: skip
        return attributing._targets(trace, target)

    assert targets([0.02, 0.951, 0.029]) == [("1", 1)]
    assert targets([0.03, 0.949, 0.021]) == [("(1, 0)", 1)]
    assert targets([0.5, 0.5], [0, 1]) == [("0", 0.5), ("1", 0.5)]
    assert targets([0.5, 0.5], {0: 3, 1: -1}) == [("0", 3), ("1", -1)]


def test_a_graph_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place of two positions and width 3: 24 bytes a stream, of two places and eight under way."""
    asked: list[int] = []
    monkeypatch.setattr(nodes_of, "check_memory", lambda n, *_: asked.append(n))
    trace = SimpleNamespace(leaves=[torch.zeros(1, 2, 3)] * 2, exact=True)
    free: int | None = 4 * 240 * 7 + 3
    monkeypatch.setattr(nodes_of, "available_memory", lambda: free)
    assert nodes_of.rows_together(trace, 10, 5) == 7
    assert asked == [16 * 5 * 10 + 7 * 240]
    free = 10**9
    assert nodes_of.rows_together(trace, 10, 5) == 128
    free = 0
    assert nodes_of.rows_together(trace, 10, 5) == 1
    free = None
    assert nodes_of.rows_together(trace, 10, 5) == 128
    trace.exact = False
    free = 4 * 24 * 34 * 2
    assert nodes_of.rows_together(trace, 10, 5) == 2
    model = SimpleNamespace(
        n_layers=3, n_heads=2, width=lambda _: 5, patch_grid=None, prefix_tokens=1
    )
    passes = SimpleNamespace(
        model=model, start="a", batch=SimpleNamespace(token_ids=torch.zeros(1, 4))
    )
    nodes_of.check_forward(passes)
    assert asked[-1] == 4 * 3 * (2 * 16 + 40 * 4 * 5)
    passes.batch.token_ids = None
    assert nodes_of._positions(passes) == 1
    model.patch_grid = (2, 3)
    assert nodes_of._positions(passes) == 7


# Heads on edges


def test_tokens_are_what_they_write_less_that_on_the_contrast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = {"input": torch.tensor([[[3.0], [5.0]]]), "contrast": torch.tensor([[[1.0], [7.0]]])}
    monkeypatch.setattr(
        edges, "run", lambda _m, which, read: SimpleNamespace(states={"s": states[which]})
    )
    passes = SimpleNamespace(start="s", model=None, batch="input", contrast="contrast")
    assert edges._tokens(passes).tolist() == [[2], [-2]]
    now, then = (SimpleNamespace(states={"s": states[name]}) for name in states)
    assert units.States(now=now, then=then, start="s").tokens.tolist() == [[2], [-2]]
    passes.contrast = None
    assert edges._tokens(passes).tolist() == [[3], [5]]


def test_what_flows_through_a_head_is_what_is_added_times_what_is_gained() -> None:
    """Two heads of one number, at two positions; the second position also reads what the first writes."""
    leaf = torch.zeros(1, 2, 2, requires_grad=True)
    mixed = torch.stack([leaf[:, 0], leaf[:, 1] + 0.5 * leaf[:, 0]], dim=1)
    heads = mixed @ torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    gains = torch.tensor([[[1.0, 0.02], [3.0, -1.0]]])
    value = (heads * gains).sum()
    what = torch.tensor([2.0, 4.0])
    made = [edges.Made(0, (0, 0), what), edges.Made(0, (0, 1), what)]
    # at its own position a source adds (2, 8) to the heads, at the next half of it
    of = SimpleNamespace(matrix={(9, 0): 4.0, (9, 1): 100.0})
    table = edges._through(of, 9, [0, 1], 2, value, [heads], [leaf], made)
    rows = {(r.source, r.head): (r.flow, r.share, r.position) for r in table.itertuples()}
    assert rows == {
        (0, 0): (pytest.approx(2 + 3), pytest.approx(5 / 4), 1),
        (0, 1): (pytest.approx(0.16 - 4), pytest.approx(-3.84 / 4), 1),
        (1, 0): (pytest.approx(6), pytest.approx(0.06), 1),
        (1, 1): (pytest.approx(-8), pytest.approx(-0.08), 1),
    }
    assert table.flow.abs().is_monotonic_decreasing
    of.matrix[9, 1] = 160.0  # then 6 is less than a twentieth
    assert len(edges._through(of, 9, [0, 1], 2, value, [heads], [leaf], made)) == 3


# Neurons


def test_a_name_is_of_outputs_that_react_more_than_to_chance() -> None:
    drawn = torch.tensor([[1.0, -2.0, 0.0], [-1.0, 2.0, 3.0], [0.0, 0.0, -3.0]])
    line = naming._Line.of(drawn)
    assert line.spread.tolist() == [1, 2, 3]
    scores = line.scores(torch.tensor([[2.0, 2.0, 0.0]]))
    assert scores.tolist() == [pytest.approx([1, 0, -1])]
    each = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 0.0, -1.0]])
    each = (each - each.mean(dim=1, keepdim=True)) / each.std(dim=1, keepdim=True)
    assert line.least == pytest.approx(float(each.max(dim=1).values.quantile(0.95)))


def test_readable_outputs_make_a_name() -> None:
    assert naming._words([" are", "##were", "Are", "x", "…", " 7", "more"]) == "are · were"
    assert naming._words(["x", "!", "7", "é"]) == "7 · é"
    assert naming._words(["!"]) == ""


@pytest.mark.parametrize(
    ("pool", "direct"), [("each", [0, 1, 4, 5]), ("cls", [0]), ("mean", [1, 4])]
)
def test_a_direct_path_begins_where_the_head_reads(pool: str, direct: list[int]) -> None:
    head = SimpleNamespace(pool=pool, model=SimpleNamespace(prefix_tokens=1))
    assert [p for p in (0, 1, 4, 5) if naming._is_direct(head, p, 5)] == direct


def test_neurons_have_the_sign_in_which_they_are_stronger() -> None:
    entries = SimpleNamespace(
        now=torch.tensor([1.0, -1.0, -3.0, 0.5, 2.0]),
        then=torch.tensor([-2.0, 1.0, 1.0, 0.0, -2.0]),
    )
    assert examples.signs_of(entries) == [-1, -1, -1, 1, 1]
    codes = examples.SomeNeurons(torch.tensor([1.0, -1.0])).encode(
        torch.tensor([[2.0, 3.0], [-1.0, -4.0]])
    )
    assert codes.to_dense().tolist() == [[2, 0], [0, 4]]


def test_neurons_that_fire_together_and_push_alike_are_a_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the second position: two alike, a third that runs against them, one that pushes the other way."""
    of = graph([0.2, 0.1, 0.5, 0.4, 0.3, -0.6])
    of.nodes["place"] = of.nodes.place.str.replace("mlp_out", "mlp_post")
    of.nodes["says"] = ["", "", "", "", "low", "high", "", "", ""]
    a = np.array([1.0, 2, 3, 5])
    strengths = np.stack([a, [1, 1, 1, 1], a, 2 * a + [0, 0.1, 0, 0], -a, a], axis=1)
    monkeypatch.setattr(examples, "_strengths", lambda *_: strengths)
    assert examples.groups_of(of, None, None, 0.9) == {"low at “y” (×2)": (4, 5)}
    strengths[:, 4] = [1, 2, 3, 3]  # correlates at .9 with the first: not enough for .95
    assert examples.groups_of(of, None, None, 0.95) == {"low at “y” (×2)": (4, 5)}
    assert examples.groups_of(of, None, None, 0.8) == {"low at “y” (×3)": (4, 5, 6)}


def test_outputs_are_in_the_order_of_their_largest_probability() -> None:
    runs = [
        SimpleNamespace(answer=SimpleNamespace(tensor=torch.tensor(chances).log()[None]))
        for chances in ([[0.2, 0.5, 0.3], [0.1, 0.5, 0.4]], [[0.7, 0.2, 0.1], [0.3, 0.4, 0.3]])
    ]
    assert units._likely(runs[:1]).tolist() == [1, 2, 0]
    assert units._likely(runs).tolist() == [0, 1, 2]
