"""Numbers of circuits by hand: a graph of six nodes, heads' scores, maps and pairs of atoms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sae_nb.circuits import (
    _decomposing,
    _graph as graphs,
    _head_scores as head_scores,
    _kept_lost,
    _nodes,
    _proportional as proportional,
    _restoring as restoring,
    load_graph,
)
from sae_nb.circuits._faithfulness import Faithfulness, foreseen
from sae_nb.circuits._head_scores import HeadScores
from sae_nb.circuits._query_key import QueryKey
from sae_nb.circuits._record import carrying
from sae_nb.circuits._restoring import PatchMap, _at_random, _Cells
from tests.six_nodes import INFLUENCE, graph, without_edges


def test_influence_flow_and_scores_of_a_graph() -> None:
    """Shares of a row are of its sum; atoms answer in proportion to a strength of 2 and of 4."""
    found = graph()
    assert found.shares.toarray()[5].tolist() == [0, 0.125, 0.25, 0.5, 0.125, 0]
    assert found.influence.tolist() == INFLUENCE
    assert found.per_strength.tolist() == [0, 0, 0.5, 0.25, 0, 0]
    # −2 through the last atom; of it −1.5 through the first, which adds 1; half of that from its token
    assert found.flow.tolist() == [-0.25, 0, -0.5, -2, 0.5, 0]
    assert found.replacement == pytest.approx(0.875)
    assert found.completeness == pytest.approx(2 / 2.125)
    assert found.path(0, 5) == [0, 2, 3, 5]
    assert found.edges.weight.tolist() == [3, -2, 1, 1, 1, 0.5, 0.5]
    predicted, direct = foreseen(found, 2, 0.0)
    assert (predicted, direct) == pytest.approx((0.5, -1))
    predicted, direct = foreseen(found, [2, 3], 3.0)
    assert direct == pytest.approx(2 - 4)
    unmade = graph(n_units=4)
    assert unmade.influence.tolist() == pytest.approx(
        [0.25 / 3.25, 0, 0.5 / 3.25, 2 / 3.25, 0.5 / 3.25, 0]
    )


@pytest.mark.parametrize(
    ("free", "exact", "rows"),
    [
        (None, False, 128),
        (2**20, False, 2**18 // 4480),
        (2**20, True, 128),
        (4 * 4480 - 4, False, 1),
    ],
)
def test_memory_of_a_graph_is_counted_before_it_is_made(
    free: int | None, exact: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four bytes of four positions of width eight: three places and the 32 or 8 under way; a quarter of what is
    free at once. 16 bytes of each node of each traced row.
    """
    asked: list[int] = []
    monkeypatch.setattr(_nodes, "check_memory", lambda size, *_: asked.append(size))
    monkeypatch.setattr(_nodes, "available_memory", lambda: free)
    trace: Any = SimpleNamespace(leaves=[torch.zeros(1, 4, 8)] * 3, exact=exact)
    per_row = 4 * 4 * 8 * (3 + (8 if exact else 32))
    assert _nodes.rows_together(trace, 10, 20) == rows
    model = SimpleNamespace(n_layers=2, n_heads=3, width=lambda _: 8)
    batch = SimpleNamespace(token_ids=torch.zeros(1, 5))
    _nodes.check_forward(SimpleNamespace(model=model, batch=batch, start=""))
    assert asked == [16 * 10 * 20 + rows * per_row, 4 * 2 * (3 * 5 * 5 + 40 * 5 * 8)]


def test_sizes_of_a_curve_are_from_one_to_all() -> None:
    assert _kept_lost._numbers([1, 4], 4) == [1, 4]
    for wrong in ([0], [5], []):
        with pytest.raises(ValueError, match="from 1 to 4"):
            _kept_lost._numbers(wrong, 4)


def test_greed_takes_one_atom_at_a_time_while_enough_is_left() -> None:
    """Of 0.3, 0.1 and 0.6 of an answer the second alone may go where 0.15 may be missing."""
    part, taken, told = {3: 0.3, 5: 0.1, 9: 0.6}, [], []
    search: Any = SimpleNamespace(
        atoms=np.array([3, 5, 9]), kept=np.array([3, 5, 9]), recovered=1.0, missing=0.15
    )

    def take(atoms: np.ndarray, left: float) -> None:
        taken.append(atoms.tolist())
        search.kept, search.recovered = np.setdiff1d(search.kept, atoms), left

    search.without = lambda sets: np.array(
        [search.recovered - sum(part[int(i)] for i in one) for one in sets]
    )
    search.take, search.note = take, lambda *said: told.extend(said)
    _decomposing._by_greed(search, 4)
    assert taken == [[5]]
    assert told[1] == pytest.approx([0.3, 0.1, 0.6])
    assert told[2].tolist() == [True, False, True]


def test_what_carries_a_share_is_the_fewest() -> None:
    amounts = np.array([0.2, 0.5, 0.0, 0.3])
    assert carrying(amounts, 0.5).tolist() == [False, True, False, False]
    assert carrying(amounts, 0.51).tolist() == [False, True, False, True]
    assert carrying(amounts, 1.0).tolist() == [True, True, False, True]


def test_pruning_keeps_ends_and_what_leads_somewhere() -> None:
    """.625 of 2.125 is less than a third: the first atom alone; the last edge has a fiftieth."""
    small, rows = graph().pruned(0.3, 1.0)
    assert rows.tolist() == [0, 1, 2, 5]
    assert small.matrix.toarray().tolist() == [[0] * 4, [0] * 4, [1, 0, 0, 0], [0, 0.5, 1, 0]]
    # .94 of the shares are those of at least .25, and one more of three eighths
    small, rows = graph().pruned(1.0, 0.8)
    assert small.matrix.nnz == 4
    assert rows.tolist() == [0, 1, 2, 3, 5]


def test_an_atom_that_nothing_makes_is_a_dead_end_if_it_was_looked_into() -> None:
    for read, kept in ((True, [0, 1, 3, 4, 5]), (False, [0, 1, 2, 3, 4, 5])):
        _, rows = without_edges((2, 0), read=read).pruned(1.0, 1.0)
        assert rows.tolist() == kept


def test_a_graph_counts_its_kinds_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = graph()
    assert "2 tokens, 2 atoms, 1 errors, 1 targets; replacement 0.88, completeness 0.94" in repr(
        whole
    )
    few = whole._kept(np.array([False, False, True, False, False, True]))
    assert "0 tokens, 1 atoms, 0 errors, 1 targets" in repr(few)
    units = replace(few, n_units=12)
    assert "1 of 12 neurons by position, 0 tokens" in repr(units)
    left = replace(whole, left_out={"a": (0,), "b": (0,), "c": (1, 2, 3, 4)})
    assert left.left_out_words == "position 0 of a, b; 4 positions of c"
    asked: list[float] = []
    monkeypatch.setattr(graphs, "intervene", lambda _g, _n, factor, **_: asked.append(factor))
    whole.intervene(2)
    whole.intervene(2, 3.0)
    monkeypatch.setattr(graphs, "live_units", lambda of: of)
    monkeypatch.setattr(graphs, "groups_of", lambda *given: asked.append(given[-1]))
    units.groups()
    assert asked == [0, 3, 0.8]


def test_faithfulness_is_undecided_where_chance_spreads_twice_as_wide() -> None:
    def decided(random: list[float], recovered: float = 0.5) -> bool:
        return Faithfulness(
            recovered=recovered,
            random=np.array(random),
            n_kept=1,
            n_atoms=2,
            everything=3.0,
            nothing=1.0,
        ).decided

    assert decided([-0.9])
    assert not decided([-1.0])
    assert not decided([2.0])
    assert not decided([0.1], float("nan"))


# Heads


def scores_of(
    pattern: Any, ids: list[int] | None = None, stream: str = "", **facts: Any
) -> dict[str, Any]:
    """Every score of one text's attention, (heads, time, time), as means over positions."""
    usual = {
        "prefix_tokens": 0,
        "patch_grid": None,
        "causal": True,
        "tokenizer": None,
        "special_ids": (),
    }
    model = SimpleNamespace(**(usual | facts))
    names = ("entropy", "sink", "previous", "itself", "neighbours", "same", "induction")
    heads = torch.tensor(pattern)[None]
    found = head_scores.pattern_scores(
        model,
        SimpleNamespace(stream=stream, layer=0),
        heads,
        None if ids is None else torch.tensor([ids]),
        names,
        2,
    )
    return {
        name: tuple(None if one is None else one.mean(dim=1).tolist() for one in both)
        for name, both in found.items()
    }


CAUSAL = [[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.6, 0.2, 0], [0.4, 0.3, 0.1, 0.2]]


def test_scores_of_a_head_are_means_over_its_positions() -> None:
    """Tokens 8 9 8 9, so that the third and the fourth have a copy two places back."""
    found = scores_of([CAUSAL], [8, 9, 8, 9])
    assert found["previous"] == (pytest.approx([1.2 / 3]), pytest.approx([0.4]))
    assert found["itself"] == (
        pytest.approx([1.9 / 4]),
        pytest.approx([(1 + 1 / 2 + 1 / 3 + 1 / 4) / 4]),
    )
    assert found["sink"] == (pytest.approx([1.1 / 3]), pytest.approx([(1 / 2 + 1 / 3 + 1 / 4) / 3]))
    # the fourth alone has a copy that is not the first token, and one other to compare with
    assert found["same"] == (pytest.approx([0.3]), pytest.approx([0.1]))
    assert found["induction"][0] == pytest.approx([(0.6 + 0.1) / 2])
    rows = [row[: i + 1] for i, row in enumerate(CAUSAL)][1:]
    spread = [-sum(a * np.log(a) for a in row) / np.log(len(row)) for row in rows]
    assert found["entropy"][0] == pytest.approx([np.mean(spread)])


def test_of_images_the_first_tokens_are_the_sink_and_patches_have_neighbours() -> None:
    """A class token and a row of three patches, which look at all four alike; 3, 4 and 3 eighths are near."""
    found = scores_of(
        [np.full((4, 4), 0.25).tolist()], prefix_tokens=1, patch_grid=(1, 3), causal=False
    )
    assert found["sink"] == (pytest.approx([0.25]), pytest.approx([0.25]))
    bare = scores_of([np.full((4, 4), 0.25).tolist()], patch_grid=(1, 4), causal=False)
    assert bare["sink"] == (pytest.approx([0.25]), pytest.approx([0.25]))
    assert found["neighbours"] == (pytest.approx([1 / 3]), pytest.approx([1 / 3]))
    near = head_scores._neighbours((3, 3))
    assert near.sum(dim=1).tolist() == [3, 5, 3, 5, 8, 5, 3, 5, 3]
    assert (scores_of([[[0.5, 0.5]]], stream="cross")).keys() == {"entropy", "sink"}


def test_copies_are_compared_with_as_many_other_places() -> None:
    """Of a bidirectional text also later copies count; a place that has none is not asked."""
    pattern = torch.tensor([[[[0.1, 0.2, 0.3, 0.4]] * 4]])
    at, alike = head_scores._same(pattern, torch.tensor([[1, 5, 5, 6]]), causal=False)
    assert at.tolist() == [pytest.approx([0.3, 0.2])]
    assert alike.tolist() == [pytest.approx([0.4, 0.4])]
    at, _ = head_scores._same(pattern, torch.tensor([[1, 5, 5, 6]]), causal=True)
    assert at.shape == (1, 0)
    at, alike = head_scores._same(pattern, torch.tensor([[1, 5, 6, 5]]), causal=True)
    assert (at.tolist(), alike.tolist()) == ([pytest.approx([0.2])], [pytest.approx([0.3])])
    rows = [[0.0] * 6] * 4 + [[0.1, 0.2, 0.3, 0.1, 0.3, 0.0], [0.1, 0.1, 0.2, 0.2, 0.3, 0.1]]
    ids = torch.tensor([[1, 5, 6, 7, 5, 5]])
    at, alike = head_scores._same(torch.tensor([[rows]]), ids, causal=True)
    # one copy and two others of .3 + .1; two copies and as many others
    assert at.tolist() == [pytest.approx([0.2, 0.4])]
    assert alike.tolist() == [pytest.approx([0.4 / 2, 0.4])]


def test_a_head_copies_what_it_raises_above_most_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two heads, three tokens; the second head writes the opposite of what it reads."""

    def written(_model: Any, _layer: int, alone: torch.Tensor) -> torch.Tensor:
        return alone[..., :2] - alone[..., 2:]

    monkeypatch.setattr(head_scores, "written_by_heads", written)
    monkeypatch.setattr(head_scores, "FIRST", 2)
    own = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    others = torch.tensor([[0.9, 0.0], [0.5, 0.5], [0.0, 0.9]])
    copying = head_scores._Copying(
        model=None, at=torch.tensor([2, 0, 1]), own=own, wrong=own.roll(1, dims=0), others=others
    )
    value = torch.tensor([[[[0.0, 1.0], [-1.0, -1.0], [1.0, 0.0]]] * 2])
    shares, control = copying.shares(0, value)
    # the second largest of .9, .5, 0, of 0, .5, .9 and of −.9, −1, −.9; −.5, −.5 and .9 of the opposites
    assert shares.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert control.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_a_head_is_named_by_a_large_score_twice_its_control() -> None:
    rows = [(0.4, 0.2, 0.1), (0.4, 0.21, 0.85), (0.39, 0.1, 0.79), (0.9, np.nan, 0.0)]
    found = HeadScores(
        model_name="m", scores=("induction", "sink"), stream=("",) * 4, layer=np.array([0, 0, 1, 1]),
        head=np.array([0, 1, 0, 1]), values=np.array([[a, c] for a, _, c in rows]),
        controls=np.array([[b, 0.1] for _, b, _ in rows]),
    )  # fmt: skip
    assert found.roles == ("induction", "sink", "", "induction")
    assert found.table.induction_control.tolist()[:3] == [0.2, 0.21, 0.1]
    assert found.score("sink").tolist() == [0.1, 0.85, 0.79, 0.0]
    assert "induction 1.1 0.90, sink 0.1 0.85" in found.headline


# Maps and pairs


def test_a_map_lists_its_cells_by_size_and_compares_estimates() -> None:
    facts = {"direction": "denoise", "name": "a", "n_pairs": 1, "clean": 2.0, "corrupted": 1.0}
    facts |= {"control_source": "", "columns": ("x", "y"), "rows": ("1.0", "1.2")}
    effect = np.array([[0.1, -0.7], [0.3, 0.2]])
    found = PatchMap(
        **facts, sites="heads_by_position", method="exact", effect=effect, estimated=2 * effect,
        control=effect / 10,
    )  # fmt: skip
    table = found.table
    assert table["effect"].tolist() == [-0.7, 0.3, 0.2, 0.1]
    assert table["head"].tolist() == [0, 2, 2, 0]
    assert table["position"].tolist() == [1, 0, 1, 0]
    assert table["layer"].tolist() == [1] * 4
    assert found.agreement == pytest.approx(1)
    flat = PatchMap(
        **facts, sites="resid", method="exact", effect=effect, estimated=0 * effect, control=effect
    )
    assert np.isnan(flat.agreement)


def test_cells_are_parts_of_a_state() -> None:
    """Two positions of four numbers; or two heads of two."""
    x = torch.arange(8.0).view(1, 2, 4)
    assert _Cells("resid_pre.3", "resid", 2).pool(x, torch.sum).tolist() == [[6, 22]]
    assert _Cells("head_out.3", "heads", 2).pool(x, torch.sum).tolist() == [
        [0 + 1 + 4 + 5, 2 + 3 + 6 + 7]
    ]
    by_position = _Cells("head_out.3", "heads_by_position", 2)
    assert by_position.pool(x, torch.sum).tolist() == [[1, 9], [5, 13]]
    assert by_position.rows == ["3.0", "3.1"]
    assert by_position.parts(x)[0][by_position.index(1, 0)].tolist() == [2, 3]
    pair = SimpleNamespace(x={"a": x}, source={"a": x + torch.tensor([[[1.0], [2.0]]])})
    moved = _at_random(pair, 0)["a"] - x
    assert moved.norm(dim=-1)[0].tolist() == pytest.approx([2, 4])


def test_pairs_of_parts_add_up_to_atoms_errors_and_biases() -> None:
    """Without an atom of each end: its row and its column are gone, what they share once."""
    values = np.array([[1.0, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, -16]])
    found = QueryKey(
        layer=0, head=1, query=1, key=0, tokens=("x", "y"), attention=0.5, score=1.0, difference=104.0,
        query_parts=("7", "8", "error", "bias"), key_parts=("3", "4", "error", "bias"), values=values,
        removed=(("8", "4"), ("7", "3")), left=np.array([0.2, 0.4]), left_difference=np.array([1.0, 2.0]),
    )  # fmt: skip
    assert found.shares == {
        "atoms × atoms": 14,
        "atoms × error": 3 + 7 + 9 + 10,
        "error × error": 11,
        "bias": 4 + 8 + 12 + 13 + 14 + 15 - 16,
    }
    gone = [5 + 6 + 7 + 8 + 2 + 10 + 14, 1 + 2 + 3 + 4 + 5 + 9 + 13]
    assert found.removals.expected.tolist() == [104 - one for one in gone]
    assert found.removals.contribution.tolist() == [6, 1]
    assert found.table.contribution.tolist()[:3] == [-16, 15, 14]
    assert (found.without, found.random.tolist()) == (0.2, [0.4])


def test_states_given_as_control_are_one_for_all_or_one_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restoring, "one_by_one", lambda _, several: several)
    monkeypatch.setattr(
        restoring, "run", lambda _m, n, read: SimpleNamespace(states={"a": torch.zeros(1, n, 2)})
    )
    pairs: Any = [SimpleNamespace(x={"a": torch.zeros(1, n, 2)}, tokens=range(n)) for n in (3, 3)]
    for several, found in (([3], 2), ([3, 3], 2)):
        assert len(restoring._given(None, ["a"], pairs, several)) == found
    for several in ([3, 3, 3], [], [4], [3, 4]):
        with pytest.raises(ValueError, match="`control`"):
            restoring._given(None, ["a"], pairs, several)


def test_states_of_another_pair_of_the_same_length_are_the_control() -> None:
    def pair(n: int, name: str) -> Any:
        x = {"a": torch.zeros(1, n, 2)}
        return SimpleNamespace(tokens=range(n), source={"a": x["a"] + 1, "name": name}, x=x)

    found, words = restoring._controls([pair(3, "one"), pair(3, "other")], 0)
    assert ([one["name"] for one in found], words) == (["other", "one"], "other pairs")
    moved, words = restoring._controls([SimpleNamespace(**vars(pair(3, "one")))] * 1, 0)
    assert words == "random directions"
    assert moved[0]["a"].norm(dim=-1).flatten().tolist() == pytest.approx([2**0.5] * 3)


def test_a_saved_graph_is_the_graph_again(tmp_path: Path) -> None:
    whole = graph(grid=(1, 2, 3), left_out={"mlp_out.0": (0, 1)}, inputs=torch.tensor([[4, 5]]))
    whole.save(tmp_path / "graph")
    again = load_graph(tmp_path / "graph")
    assert (again.grid, again.outcomes, again.places) == ((1, 2, 3), ((0,),), whole.places)
    assert again.left_out == {"mlp_out.0": (0, 1)}
    assert again.inputs.tolist() == [[4, 5]]
    assert again.matrix.toarray().tolist() == whole.matrix.toarray().tolist()
    assert again.flow.tolist() == whole.flow.tolist()
    assert again.nodes.position.tolist() == whole.nodes.position.tolist()


def test_circuit_tracer_numbers_nodes_by_layer_atom_and_position(tmp_path: Path) -> None:
    """Atoms by Cantor's pairing of layer and atom: 0, 7 is 28 + 7, and 1, 3 is 10 + 3."""
    files = [graph().to_circuit_tracer(tmp_path, name) for name in ("a", "b", "a")]
    found = json.loads(files[0].read_text())
    ids = ["E_0_0", "E_1_1", "0_7_0", "1_3_1", "1_-1_1", "3_5_1"]
    keys = ("node_id", "jsNodeId", "feature", "layer", "ctx_idx", "token_prob", "activation")
    assert [tuple(node[key] for key in keys) for node in found["nodes"]] == [
        ("E_0_0", "E_0-0", 0, "E", 0, 0, 0),
        ("E_1_1", "E_1-1", 1, "E", 1, 0, 0),
        ("0_7_0", "0_7-0", 35, "0", 0, 0, 2),
        ("1_3_1", "1_3-0", 13, "1", 1, 0, 4),
        ("1_-1_1", "1_-1-1", -1, "1", 1, 0, 0),
        ("3_5_1", "3_5-1", 1, "3", 1, 1, 0),
    ]
    assert [node["influence"] for node in found["nodes"]] == INFLUENCE
    assert [node["is_target_logit"] for node in found["nodes"]] == [False] * 5 + [True]
    made = {(link["source"], link["target"]): link["weight"] for link in found["links"]}
    nodes = graph().edges
    assert made == {
        (ids[s], ids[t]): w
        for s, t, w in zip(nodes.source, nodes.target, nodes.weight, strict=True)
    }
    known = json.loads((tmp_path / "graph-metadata.json").read_text())["graphs"]
    assert [one["slug"] for one in known] == ["b", "a"]


# Neurons in proportion, and drawings


def test_neurons_answer_in_proportion_to_what_they_read() -> None:
    """As they are, with slope a / p and none at 0; where two factors make one, half of each."""
    p, q = (torch.tensor(x, requires_grad=True) for x in ([2.0, -1.0, 0.0], [4.0, 3.0, 5.0]))
    mlp: Any = SimpleNamespace(n_neurons=3, post="mlp_post.0")
    now = torch.tensor([6.0, 3.0, 7.0])
    out = proportional._linear(mlp, [p], now)
    assert out.tolist() == now.tolist()
    (slope,) = torch.autograd.grad(out.sum(), p)
    assert slope.tolist() == [3, -3, 0]
    out = proportional._linear(mlp, [p, q], now)
    assert out.tolist() == now.tolist()
    assert [x.tolist() for x in torch.autograd.grad(out.sum(), (p, q))] == [
        [1.5, -1.5, 0], pytest.approx([0.75, 0.5, 0.7])
    ]  # fmt: skip
    both = torch.cat([p, q])
    out = proportional._linear(mlp, [both], now)  # side by side in one projection
    assert torch.autograd.grad(out.sum(), p)[0].tolist() == [1.5, -1.5, 0]


def test_scores_of_attention_are_drawn_from_none_to_all_and_effects_about_zero() -> None:
    found = HeadScores(
        model_name="m", scores=("entropy", "sink"), stream=("",) * 4, layer=np.array([0, 0, 1, 1]),
        head=np.array([0, 1, 0, 1]), values=np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, np.nan]]),
        controls=np.zeros((4, 2)),
    )  # fmt: skip
    figure = found.plot()
    data = {one.name: one for one in figure.data}
    np.testing.assert_array_equal(np.array(data["sink"].z, float), [[0.2, 0.4], [0.6, np.nan]])
    assert {(one.zmin, one.zmax) for one in figure.data} == {(0, 1)}
    facts = {"direction": "denoise", "name": "a", "n_pairs": 1, "clean": 2.0, "corrupted": 1.0}
    for size, ends in ((0.5, 1), (-3.0, 3)):
        effect = np.array([[0.25, size]])
        drawn_map = PatchMap(
            **facts, control_source="", columns=("x", "y"), rows=("1",), sites="resid",
            method="exact", effect=effect, estimated=effect, control=effect / 5,
        ).plot()  # fmt: skip
        first, second = drawn_map.data
        assert (first.zmin, first.zmax, second.zmin, second.zmax) == (-ends, ends) * 2
        np.testing.assert_allclose(np.array(second.z, float), effect / 5)
