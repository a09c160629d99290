"""Numbers that circuits read off runs, by hand: runs are stood in for by states of a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from sae_nb.circuits import (
    Patching,
    _attention_edges as attention_edges,
    _decomposing as decomposing,
    _graph_sites as graph_sites,
    _head_scores as head_scores,
    _heads as heads,
    _neuron_names as neuron_names,
    _nodes as nodes,
    _patching as patching,
    _path_patching as path_patching,
    _query_key as query_key,
)
from sae_nb.circuits._sites import Entries


class Place(NamedTuple):
    """One of a model's attentions, as a pass names it."""

    stream: str
    layer: int


def space(**facts: Any) -> Any:
    return SimpleNamespace(**facts)


# What goes through heads


def test_what_a_source_adds_and_what_a_target_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two places of two atoms each; a token, an atom and an error are three sources at other positions."""
    start, first, second = "start", "mlp_out.0", "mlp_out.1"
    x = torch.arange(24.0).reshape(2, 3, 4)
    one = {
        "position": torch.tensor([1, 1]),
        "atom": torch.tensor([4, 5]),
        "atoms": torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]),
        "slopes": torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 2, 0]]),
    }
    missed = torch.tensor([[0.0] * 4, [1.0] * 4, [2.0] * 4])
    written = [space(error=missed, **one), space(error=missed + 3, **one)]
    trace = space(
        written=written,
        reads=[x, 10 * x],
        values=[x, 2 * x, 3 * x],
        answer=torch.tensor([2.0, 5.0]),
        also=["heads"],
        leaves=["leaves"],
    )
    layers = [space(write=first), space(write=second)]
    measures = [lambda a: a[0], lambda a: a[1]]
    passes = space(model=None, start=start, layers=layers, measures=measures)
    monkeypatch.setattr(attention_edges, "live_passes", lambda graph: (passes, None))
    monkeypatch.setattr(attention_edges, "part_places", lambda model, kind: ())
    monkeypatch.setattr(attention_edges, "Trace", lambda passes, also: trace)
    nodes = pd.DataFrame(
        [
            ("token", start, 2, -1),
            ("atom", first, 1, 5),
            ("error", first, 2, -1),
            ("error", second, 1, -1),
            ("atom", second, 1, 5),
            ("target", "answer", 2, -1),
            ("target", "answer", 2, -1),
        ],
        columns=["kind", "place", "position", "atom"],
    )

    def found(target: int) -> Any:
        return attention_edges._of_dictionaries(space(nodes=nodes), target, [0, 1, 2, 3])

    value, also, leaves, made = found(6)
    assert (float(value), also, leaves) == (5, ["heads"], ["leaves"])
    assert float(found(5)[0]) == 2
    assert float(found(4)[0]) == 50 + 2 * 60  # 10 x at position 1, along the slopes of atom 5
    assert [one.leaf for one in made] == [0, 1, 1, 2]
    assert [one.at for one in made] == [(0, 2), (0, 1), (0, 2), (0, 1)]
    assert [one.what.tolist() for one in made] == [
        [8, 9, 10, 11], [5, 6, 7, 8], [2] * 4, [4] * 4
    ]  # fmt: skip
    slopes = [x, 2 * x, None]
    assert [float(one(slopes)) for one in made] == [
        8 * 8 + 9 * 9 + 10 * 10 + 11 * 11,
        2 * (5 * 4 + 6 * 5 + 7 * 6 + 8 * 7),
        2 * 2 * (8 + 9 + 10 + 11),
        0,
    ]


def test_what_of_an_edge_goes_through_each_head() -> None:
    """Two heads of two numbers at two positions: the target is 3 and 7 of the first, 5 of the second.

    The first source writes 2 to the first head at both positions, the second −1 to the second at the end.
    """
    leaf = torch.zeros(2, 2, 4, requires_grad=True)
    states = leaf * torch.tensor([[3.0, 0, 1, 0], [2, 0, 0, 4]])
    value = states[0, 1, 0] * 3 + states[0, 1, 3] * 5 + states[0, 0, 0] * 7
    made = [
        attention_edges.Made(0, (0,), torch.tensor([[2.0, 0, 0, 0], [2, 0, 0, 0]])),
        attention_edges.Made(0, (0, 1), torch.tensor([0.0, 0, 0, -1])),
    ]
    graph: Any = space(matrix=np.array([[54.0, 400.0, 0.0]]))
    parts = (2, value, [states], [leaf])
    found = attention_edges._through(graph, 0, [0, 1, 2], *parts, [*made, made[0]])
    # 2 · 3 · 7 at the first position, 2 · 2 · 3 at the end; −1 · 4 · 5 of 400 is a twentieth
    assert found.source.tolist() == [0, 1]
    assert found.flow.tolist() == [54, -20]
    assert found.share.tolist() == [1, -0.05]
    assert (found["head"].tolist(), found.layer.tolist()) == ([0, 1], [0, 0])
    assert found.position.tolist() == [0, 1]


# Nodes and their rows


@pytest.fixture
def numbered() -> Any:
    """Two tokens; two atoms and two errors; one atom and two errors; two targets."""
    at = torch.tensor
    first = space(
        position=at([0, 1]), atom=at([4, 6]), atoms=at([[1.0, 0], [0, 2]]), error=at([[1.0, 1], [0, 3]])
    )  # fmt: skip
    second = space(position=at([1]), atom=at([4]), atoms=at([[1.0, 1]]), error=torch.zeros(2, 2))
    trace: Any = space(
        leaves=[torch.zeros(1, 2, 2)], written=[first, second], values=[at([[[1.0, 1], [2, 0]]])]
    )
    targets: Any = [space(weight=0.75), space(weight=0.25)]
    return nodes.Nodes(trace, targets)


def test_a_row_has_what_each_node_adds(numbered: Any) -> None:
    assert (numbered.first, numbered.first_target, numbered.n) == ([2, 6], 9, 11)
    assert [numbered.node_of(*entry) for entry in numbered.entries] == [2, 3, 6]
    slopes = [[[1.0, 2], [3, 4]], [[1.0, 10], [100, 1000]], [[1.0, 2], [3, 4]]]
    row = numbered.row([torch.tensor(slope) for slope in slopes]).toarray()[0]
    assert row.tolist() == [1 + 2, 6, 1, 2000, 11, 3000, 3 + 4, 0, 0, 0, 0]
    row = numbered.row([*map(torch.tensor, slopes[:2]), torch.zeros(0)]).toarray()[0]
    assert row[6] == 0


def test_atoms_of_most_influence_are_looked_into_first(
    numbered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """.75 · .2, .75 · .5 and .75 · .3 + .25 of the targets go through the three atoms."""
    shares = np.zeros((11, 11))
    shares[9, [2, 3, 6]], shares[10, 6] = (0.2, 0.5, 0.3), 1.0
    numbered.graph_of = lambda rows: space(shares=csr_matrix(shares))

    def following(rows: Any, left: int) -> list[tuple[int, list[int]]]:
        found = numbered.next(dict.fromkeys(rows), left)
        return [(layer, entries.tolist()) for layer, entries in found]

    assert following([9, 10], 2) == [(1, [0]), (0, [1])]
    assert following([9, 10], 1) == [(1, [0])]
    assert following([9, 10, 6], 1) == [(0, [1])]
    assert following([9, 10], 3) == [(0, [0]), (0, [1]), (1, [0])]
    numbered.block = 2
    assert following([9, 10], 4) == [(0, [0, 1]), (1, [0])]
    monkeypatch.setattr(nodes, "AT_ONCE", 1)
    assert following([9, 10], 2) == [(1, [0])]


def test_rows_are_made_together_as_a_quarter_of_the_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three positions of width 4 at two places, in fours of bytes: 10 gradients a row, or 34 through MLPs."""
    asked: list[int] = []
    monkeypatch.setattr(nodes, "check_memory", lambda needed, *words: asked.append(needed))
    trace: Any = space(leaves=[torch.zeros(1, 3, 4)] * 2, exact=True)
    for free, exact, rows in (
        (None, True, 128),
        (480 * 4 * 5, True, 5),
        (480 * 4 * 5 - 1, True, 4),
        (1632 * 4 * 3, False, 3),
        (0, True, 1),
    ):
        monkeypatch.setattr(nodes, "available_memory", lambda free=free: free)
        trace.exact = exact
        assert nodes.rows_together(trace, 7, 11) == rows
        assert asked[-1] == 16 * 7 * 11 + rows * (480 if exact else 1632)
    monkeypatch.setattr(nodes, "BLOCK_BYTES", 960)
    assert nodes.rows_together(trace, 7, 11) == 1
    monkeypatch.setattr(nodes, "available_memory", lambda: None)
    assert nodes.rows_together(trace, 7, 11) == 2


def test_a_forward_pass_keeps_patterns_and_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3 layers and 2 heads at 5 positions of width 8; patches have two tokens before them."""
    asked: list[int] = []
    monkeypatch.setattr(nodes, "check_memory", lambda needed, *words: asked.append(needed))
    of = model(n_layers=3, width=lambda place: 8)
    for more, ids, n in (
        ({}, torch.zeros(2, 5), 5),
        ({}, None, 1),
        ({"patch_grid": (2, 3), "prefix_tokens": 2}, None, 8),
    ):
        vars(of).update(more)
        nodes.check_forward(space(model=of, start="s", batch=space(token_ids=ids)))
        assert asked[-1] == 4 * 3 * (2 * n * n + 40 * n * 8)


# Scores of heads


class _Model(SimpleNamespace):
    """What scores ask of a model."""

    def __init__(self, **facts: Any) -> None:
        usual: dict[str, Any] = {
            "name": "m", "tokenizer": None, "special_ids": (), "vocabulary_size": 6, "n_heads": 2,
            "context_length": None, "prefix_tokens": 0, "patch_grid": None, "streams": (),
            "causal": True, "device": "cpu", "modality": space(is_text=True, reads="texts"),
        }  # fmt: skip
        super().__init__(**(usual | facts))

    def batches(self, ids: Tensor, batch_size: int) -> Iterator[Any]:
        batch = space(token_ids=ids)
        batch.to = lambda device: batch
        yield batch

    def hook_point(self, name: str) -> str:
        return name


def model(**facts: Any) -> Any:
    return _Model(**facts)


def bert(**facts: Any) -> Any:
    return model(
        tokenizer=lambda text: space(input_ids=[4, 4, 1, 5]), special_ids=(4, 5, 6, 77), **facts
    )


def test_texts_are_drawn_of_usual_tokens_once_and_twice() -> None:
    """Of six tokens two are special: four usual ones, between two tokens before and one behind."""
    drawn = list(head_scores._drawn(bert(), 3, 3, torch.Generator().manual_seed(0)))
    assert [repeats for _, repeats in drawn] == [True, False]
    twice, once = (batch.token_ids for batch, _ in drawn)
    assert (twice.shape, once.shape) == ((3, 9), (2, 9))
    for ids in (twice, once):
        assert (ids[:, :2] == 4).all()
        assert (ids[:, -1] == 5).all()
    first, second = twice[:, 2:5], twice[:, 5:8]
    assert (first == second).all()
    assert all(set(row) < {0, 1, 2, 3} and len(set(row)) == 3 for row in first.tolist())
    assert all(set(row[2:6]) == {0, 1, 2, 3} and row[6:8] == row[2:4] for row in once.tolist())
    for ids in ([1, 2], [4, 5]):
        plain = model(tokenizer=lambda text, ids=ids: space(input_ids=ids), special_ids=(4, 5))
        assert [len(part) for part in head_scores._around(plain)] == [0, 0]


def test_a_repeated_text_fits_into_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_scores, "attentions", lambda model: [1])
    check = head_scores._checked_tokens
    assert check(model(), None, 1, None) == 24
    assert check(bert(context_length=14), None, 1, None) == 5
    assert check(bert(context_length=14), None, 1, 5) == 5
    assert check(model(context_length=99), None, 1, None) == 24
    assert check(model(context_length=99), None, 1, 4) == 4
    for of, n_texts, n_tokens in (
        (bert(context_length=14), 1, 6),
        (model(), 1, 3),
        (model(), 0, 4),
        (model(context_length=7), 1, None),
    ):
        with pytest.raises(ValueError, match="n_tokens"):
            check(of, None, n_texts, n_tokens)


def test_places_are_asked_for_by_a_row_for_each_input() -> None:
    """Of images without the tokens before the patches, or with them."""
    two: Any = [1, 2]
    image = model(patch_grid=(2, 3), prefix_tokens=2)
    patches, whole = [1, 0, 0, 0, 0, 1], [0, 1, 0, 1, 0, 0, 0, 0]
    marks: Any = head_scores._marks(image, [patches, whole], two)
    assert [mark.long().tolist() for mark in marks] == [[0, 0, *patches], whole]
    assert head_scores._marks(image, None, two) == [None, None]
    with pytest.raises(ValueError, match="got 1 for 2"):
        head_scores._marks(image, [patches], two)


def test_attention_on_places_is_a_mean_over_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four sources the second and the third, at three positions that see two, three and four of them.

    What is copied counts in the decoder's own attention alone.
    """
    rows = [[0.5, 0.5, 0, 0], [0.2, 0.3, 0.5, 0], [0.4, 0.2, 0.3, 0.1]]
    pattern = torch.tensor([[rows, [[0.1, 0.9, 0, 0], [0.0, 1, 0, 0], [0, 0, 0, 1.0]]]])

    @contextmanager
    def watching(model: Any, see: Callable[..., None]) -> Iterator[None]:
        for place in places[:2]:
            see(place, space(pattern=pattern, value=torch.tensor([[1.0], [0.5]])))
        yield

    places = [Place("", 3), Place("cross", 3), Place("", 4)]
    copying = space(shares=lambda layer, value: (layer * value, value))
    monkeypatch.setattr(head_scores._Copying, "drawn", lambda *given: copying)
    monkeypatch.setattr(head_scores, "watching", watching)
    monkeypatch.setattr(head_scores, "run", lambda *args, **more: None)
    monkeypatch.setattr(head_scores, "attentions", lambda model: places)
    monkeypatch.setattr(head_scores, "heads_at", lambda model, place: 2)
    sums = head_scores._Sums(model(), ("copying",))
    batch: Any = space(token_ids=None)
    generator = torch.Generator()
    sums.add(batch, ("copying",), 0, generator, marked=torch.tensor([False, True, True, False]))
    sums.add(batch, (), marked=torch.tensor([False, True]))
    found = sums.found()
    assert found.scores == ("copying", "places")
    assert found.stream == ("", "", "cross", "cross", "", "")
    assert found.layer.tolist() == [3, 3, 3, 3, 4, 4]
    assert found.head.tolist() == [0, 1] * 3
    wanted = [(0.5 + 0.8 + 0.5) / 3, 1.9 / 3]
    assert found.score("places").tolist()[:4] == pytest.approx(wanted * 2)
    assert found.score("copying").tolist()[:2] == [3, 1.5]
    assert np.isnan(found.score("copying")[2:]).all()
    assert np.isnan(found.score("places")[4:]).all()
    assert found.controls[0].tolist() == pytest.approx([1, (1 / 2 + 2 / 3 + 2 / 4) / 3])
    assert found.controls[1].tolist() == pytest.approx([0.5, (1 / 2 + 1 + 0) / 3])


def test_tokens_that_are_copied_are_compared_with_those_half_way_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = torch.eye(9)
    head = space(n_outputs=9, rows=lambda ids: rows[ids], before_norm=lambda x: 2 * x)
    monkeypatch.setattr(head_scores, "head_of", lambda model, few: head)
    monkeypatch.setattr(head_scores, "N_OTHERS", 4)
    monkeypatch.setattr(head_scores, "N_COPIED", 5)
    ids = torch.tensor([[0, 1, 2], [3, 4, 5]])
    generator = torch.Generator().manual_seed(0)
    found: Any = head_scores._Copying.drawn(model(), space(token_ids=ids), generator)
    assert sorted({*found.at.tolist()} | {5, 4, 3, 2, 1, 0}) == [0, 1, 2, 3, 4, 5]
    assert len({*found.at.tolist()}) == 5
    assert found.own.tolist() == (2 * rows[found.at]).tolist()
    assert found.wrong.tolist() == [*found.own.tolist()[3:], *found.own.tolist()[:3]]
    assert found.others.sum(dim=1).tolist() == [2] * 4
    assert found.others.sum() == found.others.amax(dim=0).sum()


# Inputs that are kept


@pytest.mark.parametrize(
    ("image", "frames", "kept", "named"),
    [
        (True, None, [0.5], True),
        (False, 8, [0.5], True),
        (True, None, [1], False),
        (False, None, [0.5], False),
    ],
)
def test_what_a_graph_keeps_of_an_input_is_read_again(
    image: bool, frames: int | None, kept: Any, named: bool
) -> None:
    """Numbers of images and videos are pixel values; whole numbers are ids, or an image's bytes."""
    x, of = torch.tensor(kept), model(reads_pixels=image or frames is not None)
    again = graph_sites.given_again(of, x)
    assert isinstance(again, dict) == named
    assert (again["pixel_values"] if named else again) is x
    batch: Any = space(as_inputs=lambda model: again)
    assert graph_sites.kept_input(of, batch) is x


# Heads that are named


@pytest.mark.parametrize("one", [(2, 0), (0, 3), (-1, 0), (0, -1), "ab", (1,), 4])
def test_heads_are_pairs_of_numbers_that_are_there(
    monkeypatch: pytest.MonkeyPatch, one: Any
) -> None:
    monkeypatch.setattr(heads, "part_places", lambda model, kind: [0, 1])
    three: Any = space(n_heads=3)
    assert heads._checked_heads(three, [(0, 0), (1, 2)], "ablation") == [(0, 0), (1, 2)]
    alone: Any = space(n_heads=1)
    assert heads._checked_heads(alone, [(1, 0)], "ablation") == [(1, 0)]
    with pytest.raises(ValueError, match="2 layers and 1 heads"):
        heads._checked_heads(alone, [(0, 1)], "ablation")
    with pytest.raises(ValueError, match="2 layers and 3 heads"):
        heads._checked_heads(three, [one], "ablation")
    with pytest.raises(ValueError, match="from 0 to 1 and a head from 0 to 2"):
        path_patching._checked_heads("m", 2, 3, one, None)


def test_receivers_are_in_later_layers() -> None:
    check = path_patching._checked_heads
    assert check("m", 3, 2, (0, 1), None) == ((0, 1), [(1, 0), (1, 1), (2, 0), (2, 1)])
    assert check("m", 3, 2, (1, 0), [(2, 1)]) == ((1, 0), [(2, 1)])
    with pytest.raises(ValueError, match="layer from 2"):
        check("m", 3, 2, (1, 0), [(1, 1)])
    with pytest.raises(ValueError, match="another layer"):
        check("m", 3, 2, (2, 0), None)
    assert path_patching._checked_sides(["v" + "alues", "keys"]) == ("keys", "values")
    for by in ("key", ["keys", "keys"], []):
        with pytest.raises(ValueError, match="each once"):
            path_patching._checked_sides(by)


class Named(SimpleNamespace):
    def __str__(self) -> str:
        return f"h.{self.layer}"


def test_a_path_changes_one_head_and_holds_those_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads 0 and 1 of three layers, of one number at two positions; the sender is 0.1, the receiver in 2."""
    states = {f"h.{i}": torch.full((1, 2, 2), float(i)) for i in range(3)}
    places = [Named(layer=i) for i in range(3)]
    source = states | {"h.0": torch.tensor([[[7.0, 3.0], [7.0, -4.0]]])}
    base = space(copies=lambda n: n)
    pair: Any = space(x=states, source=source, base=base, start=1.0, measure="m")
    ran: dict[str, Tensor] = {}
    watched: list[Any] = []

    @contextmanager
    def watching(model: Any, see: Any = None, change: Any = None) -> Iterator[None]:
        watched.append(see or change)
        yield

    def run(model: Any, n: int, put: Any, answer: str) -> None:
        for place, change in put:
            ran[str(place)] = change(torch.full((n, 2, 2), 9.0))
        streams: Any = ((1, ""), (2, ""), (2, "cross"))
        for layer, stream in streams:
            seen = [torch.full((2, 2, 2, 1), float(k + len(stream))) for k in range(3)]
            seen_as = space(query=seen[0], key=seen[1], value=seen[2])
            watched[-1](Place(stream, layer), seen_as)

    monkeypatch.setattr(path_patching, "watching", watching)
    monkeypatch.setattr(path_patching, "run", run)
    heard = path_patching._heard(None, places, pair, (0, 1), {2}, 2, 0)  # type: ignore[arg-type]
    assert list(heard) == [2]
    assert [float(heard[2][side].mean()) for side in path_patching.SIDES] == [0, 1, 2]
    assert sorted(ran) == ["h.0", "h.1"]  # the receivers' own layer answers freely
    assert ran["h.1"].tolist() == [[[1.0, 1.0]] * 2] * 2
    sent = ran["h.0"] - 9
    assert sent[..., 0].abs().max() == 0
    assert sent[0, :, 1].tolist() == [3, -4]
    assert sent[1, :, 1].abs().tolist() == [3, 4]

    own = torch.arange(8.0).reshape(2, 2, 2, 1)  # version, head, time, d
    asked: list[set[int]] = []

    def heard_by(*given: Any) -> Any:
        asked.append(given[4])
        return {2: {"keys": own, "values": -own}}

    monkeypatch.setattr(path_patching, "_heard", heard_by)

    def copies(model: Any, base: Any, n: int, puts: Any, measure: Any) -> Tensor:
        found = torch.zeros(n)
        for place, side in (
            (Place("", 2), "keys"),
            (Place("cross", 2), "keys"),
            (Place("", 2), "values"),
        ):
            x = watched[-1](place, side, torch.full((n, 2, 2, 1), 100.0))
            found += (x - 100).sum(dim=(1, 2, 3))
        return found

    monkeypatch.setattr(path_patching, "measured_copies", copies)
    paths: Any = [((2, 1), "keys"), ((2, 0), "values")]
    moved = path_patching._moved(None, places, pair, (0, 1), paths, 2, 0)  # type: ignore[arg-type]
    assert asked == [{2}]
    # put in for 100 each: 2 + 3, −(0 + 1); of the control 6 + 7, −(4 + 5); all less the start
    assert moved.tolist() == [[5 - 200 - 1, -1 - 200 - 1], [13 - 200 - 1, -9 - 200 - 1]]


@pytest.mark.parametrize("names", [{"a"}, {"a", "b"}])
def test_paths_are_shares_of_the_whole_change(
    monkeypatch: pytest.MonkeyPatch, names: set[str]
) -> None:
    """Two pairs whose answers are 2 and 4 apart; one head of the second layer, by its three inputs."""
    pairs = [space(start=1.0, end=3.0), space(start=2.0, end=6.0)]
    moved = {1.0: [[3.0, 6.0, 0.0], [1.0, 1.0, 1.0]], 2.0: [[6.0, 0.0, 3.0], [2.0, 2.0, 2.0]]}
    monkeypatch.setattr(path_patching, "part_places", lambda model, kind: [0, 1])
    monkeypatch.setattr(path_patching, "both_runs", lambda *given: ({*names}, pairs))
    monkeypatch.setattr(
        path_patching, "_moved", lambda model, places, pair, *more: np.array(moved[pair.start])
    )
    path_patch: Any = path_patching.path_patch.__wrapped__  # type: ignore[attr-defined]
    found = path_patch(space(n_heads=1, name="m"), "", "", sender=(0, 0))
    assert found.effect.tolist() == [1.5, 1, 0.5]
    assert found.control.tolist() == [0.5] * 3
    assert (found.clean, found.corrupted, found.n_pairs) == (1.5, 4.5, 2)
    assert (found.layer.tolist(), found.head.tolist()) == ([1] * 3, [0] * 3)
    assert found.by == path_patching.SIDES
    assert found.name == ("a" if len(names) == 1 else "the clean answer − the corrupted one")
    pairs[1].end = 0.0
    with pytest.raises(ValueError, match=r"1\.000"):
        path_patch(space(n_heads=1, name="m"), "", "", sender=(0, 0))


# Parts of queries and keys


def test_what_a_key_has_more_than_the_mean_of_all_in_sight() -> None:
    """Two slots of atoms at three positions, the error and the bias; atoms 5, then 5 and 7, then 7."""
    at = torch.tensor
    parts = query_key._Parts(at([0, 1, 1, 2]), at([5, 5, 7, 7]), at([0, 0, 1, 0]), at([]), at([]))
    of = at([[1.0, 2, 3], [4, 5, 6], [7, 8, 9], [10, 12, 17]])[..., None]
    atoms, rows = parts.at(of, 1)
    assert (atoms.tolist(), rows.flatten().tolist()) == ([5, 7], [2, 5, 8, 12])
    for position, seen, wanted in (
        (2, [0, 1, 2], [-1 / 3 - 2 / 3, -5 / 3 + 2 * 3 / 3, 9 - 8, 17 - 13]),
        (1, [0, 1], [-1 / 2 + 2 / 2, 5 / 2, 8 - 7.5, 12 - 11]),
    ):
        atoms, rows = parts.centred(of, position, at(seen))
        assert atoms.tolist() == [5, 7]
        assert rows.flatten().tolist() == pytest.approx(wanted)


def test_the_largest_pair_that_fires_is_taken_out_and_others_that_share_none_of_it() -> None:
    """Atoms 5 and 9 fire at the key, 5 and 7 at the query; 7 × 9 has 8, and 5 × 5 shares neither."""
    at, given = torch.tensor, []
    written = at([[1.0], [2], [4], [8], [16]])
    parts = query_key._Parts(at([0, 0, 1, 1, 2]), at([5, 9, 5, 7, 9]), at([0]), written, at([]))

    def changed(states: Tensor, query: int, key: int, seen: Tensor) -> tuple[Tensor, Tensor]:
        given.append((states[..., 0].tolist(), query, key, seen.tolist()))
        return at([0.1, 0.2]), at([0.3, 0.4])

    ends: Any = space(
        pattern=at([[1.0, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]]), changed=changed,
        state=at([[100.0], [200], [300]]),
    )  # fmt: skip
    pairs = at([[1.0, 99, 2], [3, 50, 8]])
    removed, left, _ = query_key._taken_out(ends, parts, (1, 0), at([5, 7, 9]), pairs, 3, 0)
    assert removed == (("7", "9"), ("5", "5"))
    assert given == [([[98, 192, 300], [99, 196, 300]], 1, 0, [0, 1])]
    assert left.tolist() == pytest.approx([0.1, 0.2])
    for where in ((3, 0), (0, 3)):
        assert query_key._taken_out(ends, parts, where, at([5]), pairs, 3, 0)[0] == ()


def test_positions_count_from_either_end() -> None:
    assert [query_key._checked_position("key", i, 3) for i in (0, 2, -1, -3)] == [0, 2, 2, 0]
    for wrong in (3, -4):
        with pytest.raises(ValueError, match="from 0 to 2"):
            query_key._checked_position("key", wrong, 3)


# Atoms that are patched


def test_patched_atoms_are_shares_of_what_the_clean_run_does_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two pairs with 3 and 5 between their answers; of four atoms the first two are run, and one at random."""
    pairs = [space(start=1.0, end=4.0), space(start=-2.0, end=3.0)]
    effects = np.array([4.0, -8.0, 0.0, 2.0])
    at = torch.tensor

    class Runs:
        def __init__(self, *given: Any) -> None:
            self.place = "here"

        def atoms_of(self, pair: Any) -> Any:
            # the last atom fires in both, in two entries
            slope = at([4.0, -8.0, 1.0, 1.0]) * (pair.end - pair.start) / 4
            return space(
                pair=pair, moved="all", atom=at([0, 1, 3, 3]), difference=at([1.0, 1, 3, -1]),
                slope=slope,
            )  # fmt: skip

        def of_atom(self, pair: Any, atom: int | None = None) -> Any:
            return atom

        def brought_back(self, pair: Any, moved: Any) -> Any:
            whole = pair.pair if hasattr(pair, "pair") else pair
            sizes = {None: 6.0, "all": whole.end - whole.start}
            return np.array([sizes.get(one, 0.0) or effects[one] for one in moved])

    monkeypatch.setattr(patching, "_Runs", Runs)
    monkeypatch.setattr(patching, "written_at", lambda *given: None)
    for names in ({"a"}, {"a", "b"}):
        runs = ({*names}, pairs)
        monkeypatch.setattr(patching, "both_runs", lambda *given, runs=runs: runs)
        found = patching.patch_atoms.__wrapped__(  # type: ignore[attr-defined]
            None, space(n_atoms=4), [], [], target=None, n=2, n_random=3, seed=0
        )
        assert found.name == ("a" if len(names) == 1 else "the clean answer − the corrupted one")
    assert (found.clean, found.corrupted, found.n_pairs) == (3.5, -0.5, 2)
    # the mean over pairs of slope · difference is that of a span of 4, of which these are shares
    assert found.estimated.tolist() == [1, -2, 0, 0.5]
    assert (found.chosen.tolist(), found.random.tolist()) == ([1, 0], [3])
    assert found.measured.tolist() == pytest.approx([1, -2, np.nan, 0.5], nan_ok=True)
    assert (found.all_atoms, found.everything) == (1.5, 1)
    same = [space(start=4.0, end=4.25), space(start=1.0, end=0.75)]
    monkeypatch.setattr(patching, "both_runs", lambda *given: ({"a"}, same))
    with pytest.raises(ValueError, match=r"4\.25"):
        patching.patch_atoms.__wrapped__(None, space(n_atoms=4), [], [], target=None, n=2)  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("error")
def test_patched_atoms_are_compared_with_their_estimates() -> None:
    def of(estimated: list[float], measured: list[float], chosen: Any) -> Patching:
        return Patching(
            hook_point="h", name="a", n_pairs=1, clean=2.0, corrupted=1.0, random=np.array([3]),
            chosen=np.array(chosen), estimated=np.array(estimated), measured=np.array(measured),
            all_atoms=0.5, everything=1.0,
        )  # fmt: skip

    found = of([0.5, -0.4, 0.3, 0.1], [0.5, 0.2, 0.2, 0.1], [0, 1, 2])
    assert found.wrong_signs == pytest.approx(1 / 3)
    table = np.array([[0.5, -0.4, 0.3, 0.1], [0.5, 0.2, 0.2, 0.1]])
    assert found.agreement == pytest.approx(np.corrcoef(table)[0, 1])
    assert found.table.chosen.tolist() == [True, True, True, False]
    assert np.isnan(of([1.0] * 4, [1.0] * 4, np.zeros(0, int)).agreement)
    assert of([3.0, 0, 0, 1.0], [-1.0, 0, 0, 2.0], [0]).agreement == pytest.approx(-1)


def test_pairs_are_of_equally_many_inputs_that_are_answered_differently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patching, "one_by_one", lambda model, inputs: inputs)
    given: Any = (None, [1, 2], [3, 4], ["a", "b"])
    assert patching._paired(*given) == [(1, 3, "a"), (2, 4, "b")]
    with pytest.raises(ValueError, match="got 3 and 2"):
        patching._paired(None, [1, 2, 3], [4, 5], None)  # type: ignore[arg-type]
    own: Any = patching._own_target
    monkeypatch.setattr(patching, "top_answers", lambda *given: (7, 8))
    assert own(None, "a", None, None, "vector") == "a"
    assert own(None, None, None, None, "tokens") == (7, 8)
    with pytest.raises(ValueError, match="must be given"):
        own(None, None, None, None, "vector")


# A graph taken apart


def test_atoms_must_do_something_and_keep_enough_of_it() -> None:
    def recovered(everything: float, share: float, by: float, n: int = 3) -> float:
        runs: Any = space(
            atoms=np.arange(n), everything=everything, nothing=1.0, shares=lambda several: [by]
        )
        return decomposing._recovered_by(runs, share)

    assert recovered(2.0, 0.75, 0.75) == 0.75
    assert recovered(1.0 + 1e-5, 0.75, 1.25) == 1.25
    assert recovered(0.5, 0.75, 1.0) == 1.0
    for given in ((1.0, 0.75, 1.0), (1.0 + 1e-7, 0.75, 1.0), (2.0, 0.75, 0.7), (2.0, 0.75, 1.3)):
        with pytest.raises(ValueError, match="must"):
            recovered(*given)
    with pytest.raises(ValueError, match="has none"):
        recovered(2.0, 0.75, 1.0, 0)


class Runs:
    """Every atom has its own share of the answer."""

    def __init__(self, worth: list[float]) -> None:
        self.worth, self.asked = np.array(worth), 0
        self.atoms = np.arange(len(worth)) + 2  # behind two tokens
        self.everything, self.nothing = 3.0, 1.0

    def shares(self, several: Any) -> Any:
        self.asked += len(several)
        return np.array([self.worth[np.asarray(nodes, int) - 2].sum() for nodes in several])


WORTH = [0.02, 0.5, 0.05, 0.4, 0.03]


@pytest.mark.parametrize(
    ("method", "share", "kept"),
    [
        ("sweep", 0.9, [3, 5]),
        ("sweep", 0.93, [3, 5, 6]),
        ("sweep", 0.95, [3, 4, 5]),
        ("greedy", 0.9, [3, 5]),
        ("greedy", 0.93, [3, 4, 5]),
    ],
)
def test_atoms_are_left_out_while_enough_is_left(
    monkeypatch: pytest.MonkeyPatch, method: str, share: float, kept: list[int]
) -> None:
    """The sweep asks in the order of influence, 2, 4, 6; greed begins with what is worth least, 2, 6, 4."""
    runs = Runs(WORTH)
    monkeypatch.setattr(decomposing, "GraphRuns", lambda graph: runs)
    nodes = pd.DataFrame({"kind": ["token"] * 2 + ["atom"] * 5, "place": "a", "position": 0})
    graph: Any = space(nodes=nodes, influence=np.array([0, 0, 0.1, 0.9, 0.2, 0.8, 0.3]))
    search = decomposing._Search(graph, share - 1e-9)
    decomposing._METHODS[method](search, 2)
    assert search.kept.tolist() == kept
    assert search.recovered == pytest.approx(sum(WORTH[i - 2] for i in kept))
    assert search.n_runs == runs.asked
    order = [2, 4, 6, 5, 3] if method == "sweep" else [2, 3, 4, 5, 6]
    tried = pd.DataFrame(search.tried)
    assert tried.lost.tolist() == pytest.approx([WORTH[i - 2] for i in order])
    assert tried.kept.tolist() == [i in kept for i in order]
    (level,) = search.levels
    assert list(level.values())[:4] == [0, 5, 5 - len(kept), len(kept)]


def test_a_level_takes_out_together_what_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is lost for each atom: .05 alone, .05 of two, .5, .4; of .1 that may be missing two groups."""
    runs = Runs(WORTH)
    monkeypatch.setattr(decomposing, "GraphRuns", lambda graph: runs)
    nodes = pd.DataFrame({"kind": ["token"] * 2 + ["atom"] * 5, "place": "a", "position": 0})
    search = decomposing._Search(space(nodes=nodes), 0.5)
    groups = [np.array([3]), np.array([4]), np.array([2, 6]), np.array([5])]
    left = search.level(groups, 0.05 + 1e-9)
    assert [nodes.tolist() for nodes in left] == [[3], [4], [5]]
    left = search.level([np.array([3]), np.array([5]), np.array([4])], 0.1 + 1e-9)
    assert [nodes.tolist() for nodes in left] == [[3], [5]]
    assert search.kept.tolist() == [3, 5]
    assert search.n_runs == runs.asked
    assert search.level([np.array([3]), np.array([5])], 0.1) == [3, 5]
    assert [row["level"] for row in search.tried] == [0] * 4 + [1] * 3 + [2] * 2


def test_what_may_be_missing_grows_with_the_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine atoms in halves take 1 + 4 levels; cut unevenly more, and the last have all that may be missing."""
    asked: list[tuple[list[list[int]], float]] = []

    def level(groups: list[Any], missing: float) -> list[Any]:
        asked.append(([nodes.tolist() for nodes in groups], missing))
        return groups

    cells = {"a": np.arange(9), "b": np.array([9])}
    monkeypatch.setattr(decomposing, "_cells", lambda graph, atoms: cells)
    monkeypatch.setattr(decomposing, "_divided", lambda graph, nodes, parts: [nodes[:1], nodes[1:]])
    search: Any = space(graph=None, atoms=np.arange(10), missing=0.3, level=level)
    decomposing._by_groups(search, 2)
    assert [groups for groups, _ in asked[:8]] == [[[*range(n, 9)]] for n in range(8)]
    shares = [missing for _, missing in asked]
    assert shares == pytest.approx([0.3 * n / 6 for n in range(1, 7)] + [0.3] * 3)
    assert sorted(asked[8][0]) == [[n] for n in range(10)]


# Names of neurons


@pytest.mark.parametrize("unit", [1, 2**-10])
def test_a_name_is_what_stands_out_in_units_of_its_own_spread(unit: float) -> None:
    """Outputs that spread by ½, 2, 3 and not at all over draws: effects of 1½ and 2 are 3 and 1 of these."""
    drawn = torch.tensor([[0.5, 2.0, 3.0, 0.0], [-0.5, -2.0, -3.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    line = neuron_names._Line.of(unit * (drawn + torch.tensor([2.0, 6.0, 0.0, 0.0])))
    assert (line.spread / unit).tolist() == pytest.approx([0.5, 2, 3, 0], abs=1e-6)

    def standard(x: Any) -> np.ndarray:
        return (np.array(x) - np.mean(x)) / np.std(x, ddof=1)

    (scores,) = line.scores(unit * torch.tensor([[1.5, 2.0, 0.0, 0.0]]))
    assert scores.tolist() == pytest.approx(standard([3, 1, 0, 0]))
    strongest = [standard(row).max() for row in ([5, 4, 1, 0], [3, 2, -1, 0], [4, 3, 0, 0])]
    assert line.least == pytest.approx(np.quantile(strongest, 0.95))


def test_a_neuron_is_named_by_what_it_adds_more_than_on_the_contrast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four words it raises by 3, 1, −2 and −2; the second neuron is weaker than on the contrast."""
    weight = torch.tensor([[3.0, 0], [9, 0], [0, 0.5], [-2, 0], [0, -1]])
    words = dict(enumerate(["aa", "none", "bb", "cc", "dd"]))
    head: Any = space(
        d=2, pool="each", through_norm=lambda x: x, rows=lambda ids: weight[ids], model=None,
        names=lambda ids: {i: words[i] for i in ids},
    )  # fmt: skip
    lines: list[float] = []
    monkeypatch.setattr(neuron_names, "_added", lambda model, layer, site, written: written)

    def line(drawn: Tensor) -> Any:
        assert drawn.shape == (neuron_names.N_DRAWN, 4)
        return neuron_names._Line(spread=torch.ones(4), least=lines[-1])

    monkeypatch.setattr(neuron_names._Line, "of", line)
    sites = [
        space(
            layer=space(write=space(layer=i)),
            written=lambda e: torch.tensor([[1.0, 2.0]]).expand(len(e.now), 2),
        )
        for i in (0, 1)
    ]
    at = torch.tensor
    found = [
        Entries(position=at([0, 1]), unit=at([0, 1]), now=at([3.0, 1]), then=at([1.0, 2])),
        Entries(position=at([1]), unit=at([0]), now=at([0.0]), then=at([-1.0])),
    ]  # fmt: skip
    passes: Any = space(model=None, sites=sites, likely=at([0, 2, 3, 4]))

    def named(least: float, lens: Any = None) -> list[str]:
        lines.append(least)
        return neuron_names._named(passes, found, 2, head, lens)

    # 3, 1, −2, −2 have a standard deviation of √6
    assert named(0.4) == ["aa · bb", "cc · dd", "aa · bb"]
    assert named(0.5) == ["aa", "cc · dd", "aa"]
    assert named(1.0) == ["aa", "", "aa"]
    lens = space(blocks=(1,), effects=lambda x, layer: x @ -weight.T * layer)
    assert named(0.5, lens) == ["", "", "cc · dd"]
    lens = space(blocks=(0,), effects=lambda x, layer: x @ weight.T * (layer + 1))
    assert named(0.5, lens) == ["aa", "cc · dd", ""]
    monkeypatch.setattr(neuron_names, "AMONG", 1)
    assert named(0.4) == ["aa", "cc", "aa"]


def test_a_direct_path_leads_from_where_the_head_reads() -> None:
    def direct(pool: str) -> list[bool]:
        head: Any = space(pool=pool, model=space(prefix_tokens=2))
        return [neuron_names._is_direct(head, position, 4) for position in range(5)]

    assert direct("each") == [True] * 5
    assert direct("cls") == [True] + [False] * 4
    assert direct("mean") == [False, False, True, True, False]
