"""Attribution graphs: edges against finite differences, sums against values, circuits against the running model."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.circuits import AtomTarget, AttributionGraph, attribution_graph, load_graph
from sae_nb.circuits._graph_sites import one_input, places_of
from sae_nb.circuits._passes import Passes, Trace
from sae_nb.models import Frozen
from tests.refusing import refused

TEXT = "One day Mia saw a big red"


@cache
def language() -> tuple[Any, list[Any]]:
    return sn.load_model("tiny-gpt"), transcoders("tiny-gpt", sn.data.stories(12, seed=0).texts)


@cache
def vision() -> tuple[Any, list[Any]]:
    vit = sn.load_model("tiny-vit")
    return vit, transcoders("tiny-vit", sn.data.scenes(12, seed=0).images, (9, 10))


def transcoders(name: str, inputs: Any, layers: tuple[int, ...] | None = None) -> list[Any]:
    model = sn.load_model(name)
    layers = layers or tuple(range(model.n_layers))
    points = [f"mlp_{side}.{layer}" for layer in layers for side in ("in", "out")]
    acts = sn.capture(model, inputs, points, progress=False)
    found = []
    for layer in layers:
        read, write = acts[f"mlp_in.{layer}"], acts[f"mlp_out.{layer}"]
        t = sn.Transcoder(
            read.d_in, write.d_in, 64, 4, generator=torch.Generator().manual_seed(layer)
        )
        sn.train(t, (read, write), steps=10, batch_size=128, progress=False)
        found.append(t.eval())
    return found


@cache
def graph() -> AttributionGraph:
    model, dictionaries = language()
    return attribution_graph(model, dictionaries, TEXT, target=" dog")


def trace_of(model: Any, dictionaries: Any, inputs: Any) -> Trace:
    passes = Passes(
        model=model,
        layers=places_of(model, dictionaries),
        batch=one_input(model, inputs),
        start=model.hook_point("resid_pre.0"),
    )
    return Trace(passes)


def added(found: AttributionGraph) -> tuple[np.ndarray, np.ndarray]:
    rows = found.nodes.read.to_numpy()
    sums = np.asarray(found.matrix.sum(axis=1)).ravel() + found.nodes.bias.to_numpy()
    return sums[rows], found.nodes.value.to_numpy()[rows]


@pytest.mark.slow
def test_edges_and_biases_add_up_to_what_they_make() -> None:
    sums, values = added(graph())
    assert len(values) > 100
    assert sums == pytest.approx(values, rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_so_they_do_for_an_image() -> None:
    model, dictionaries = vision()
    image = sn.data.scenes(1, seed=3).images
    found = attribution_graph(model, dictionaries, image, target=3)
    sums, values = added(found)
    assert sums == pytest.approx(values, rel=1e-3, abs=1e-3)
    assert found.places == tuple(f"mlp_out.{layer}" for layer in range(12))
    assert found.nodes[found.nodes.kind == "atom"].layer.isin([9, 10]).all()
    assert found.tokens[4:6] == ("register 4", "patch 0,0")


@pytest.mark.slow
def test_edges_equal_finite_differences() -> None:
    model, dictionaries = language()
    trace = trace_of(model, dictionaries, TEXT)
    frozen = Frozen(model)
    trace._run(frozen)
    leaves = [value[0].clone() for value in trace.values]
    position, step = 2, 0.05
    leaves[0][position] *= 1 + step
    ran = trace._run(Frozen(model, frozen.constants), leaves)
    moved = [ran.states[place] for place in trace._read_at]
    table = graph().nodes
    token = int(table.index[(table.kind == "token") & (table.position == position)][0])
    for layer, written in enumerate(trace.written):
        change = (moved[layer] - trace.reads[layer]).detach()[0].float()
        expected = (change[written.position] * written.slopes).sum(dim=1) / step
        here = (table.kind == "atom") & (table.place == graph().places[layer])
        edges = graph().matrix[np.flatnonzero(here)][:, [token]].toarray().ravel()
        scale = float(expected.abs().max())
        assert edges == pytest.approx(expected.numpy(), rel=1e-3, abs=1e-3 * scale)


@pytest.mark.slow
def test_scores_say_how_much_is_explained() -> None:
    model, dictionaries = language()
    assert 0 < graph().replacement < 1
    assert 0 < graph().completeness < 1
    strangers = [sn.Transcoder(t.d_in, t.d_out, 64, 4) for t in dictionaries]
    for stranger, t in zip(strangers, dictionaries, strict=True):
        stranger.hook_point, stranger.target_hook_point = t.hook_point, t.target_hook_point
        stranger.eval()
    other = attribution_graph(model, strangers, TEXT, target=" dog")
    assert other.completeness < graph().completeness


def test_pruning_keeps_what_carries_the_influence() -> None:
    small = graph().prune(nodes=0.5, edges=0.9)
    assert len(small) < len(graph()) / 2
    used = np.bincount(small.matrix.indices, minlength=len(small)) > 0
    assert used[small.nodes.kind.isin(["atom", "error"]).to_numpy()].all()
    assert len(small.prune(nodes=1.0, edges=1.0)) == len(small)


def test_few_atoms_bring_the_answer_back() -> None:
    small = graph().prune(nodes=0.8)
    found = small.faithfulness(n_random=4)
    assert found.recovered > np.mean(found.random) + 0.3
    assert f"{found.recovered:.3f} of {found.effect:+.3f} by" in repr(found)
    nothing = replace(found, everything=1e-4, nothing=0.0, random=np.array([3.0, -4.0]))
    assert repr(nothing).startswith("Faithfulness(undecided: all")
    assert graph().faithfulness(n_random=0).recovered == pytest.approx(1.0)


def test_an_intervention_is_foreseen_beside_what_happens() -> None:
    """Straight effects are exact where nothing lies behind; a strength left as it is does nothing."""
    table = graph().nodes
    last = table[(table.kind == "atom") & (table.layer == 3)]
    node = int((graph().influence[last.index]).argmax() + last.index[0])
    flow = graph().intervene(node, 0.9, n_random=2)
    assert flow.predicted == pytest.approx(flow.direct)
    assert flow.effect == pytest.approx(flow.predicted, rel=0.2, abs=1e-4)
    assert len(flow.controls) == 2
    still = graph().intervene(node, 1.0, n_random=0)
    assert (still.effect, still.predicted) == (0.0, 0.0)


@pytest.mark.slow
def test_targets_of_every_kind() -> None:
    model, dictionaries = language()

    def target(wanted: Any) -> Any:
        found = attribution_graph(model, dictionaries, TEXT, target=wanted, max_nodes=0)
        sums, values = added(found)
        assert sums == pytest.approx(values, rel=1e-4, abs=1e-4)
        return found.nodes[found.nodes.kind == "target"].reset_index()

    both = target([" dog", " cat"])
    assert both.weight.tolist() == [0.5, 0.5]
    assert target({" dog": 2.0}).weight.tolist() == [2.0]
    apart = target((" dog", " cat"))
    assert apart.value[0] == pytest.approx(both.value[0] - both.value[1], abs=1e-5)
    assert target(lambda z: z[3] - z[4]).shape[0] == 1
    assert 0.5 < target(None).weight.sum() <= 1.0001
    atom = graph().nodes[graph().nodes.kind == "atom"].iloc[-1]
    named = target(AtomTarget(atom.place, int(atom.position), int(atom.atom)))
    assert named["name"][0] == atom["name"]


def test_few_traced_atoms_are_those_of_most_influence() -> None:
    model, dictionaries = language()
    found = attribution_graph(model, dictionaries, TEXT, target=" dog", max_nodes=20)
    atoms = found.nodes[found.nodes.kind == "atom"]
    assert int(atoms.read.sum()) == 20
    assert len(found) == len(graph())


def test_saes_of_the_stream_are_taken_by_slope() -> None:
    model = sn.load_model("tiny-gpt")
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    found = attribution_graph(model, {"resid_post.3": sae}, TEXT, target=" dog", max_nodes=10)
    assert not found.exact
    assert set(found.nodes.kind) == {"token", "atom", "error", "target"}


def test_a_graph_is_read_back_and_opened_elsewhere(tmp_path: Path) -> None:
    """The same nodes and edges; without a model it is looked at only. Every link of the JSON has its ends."""
    small = graph().prune()
    small.save(tmp_path / "graph")
    small.save(tmp_path / "graph")  # over itself
    again = load_graph(tmp_path / "graph")
    assert again.nodes[list(small.nodes)].equals(small.nodes)
    assert (again.matrix != small.matrix).nnz == 0
    assert (again.replacement, again.tokens) == (small.replacement, small.tokens)
    with pytest.raises(ValueError, match="must know its live model"):
        again.intervene(int(again.nodes.index[again.nodes.kind == "atom"][0]))
    file = small.to_circuit_tracer(tmp_path / "viewer", "dog")
    record = json.loads(file.read_text())
    ids = [node["node_id"] for node in record["nodes"]]
    assert len(set(ids)) == len(ids) == len(small)
    assert {link[end] for link in record["links"] for end in ("source", "target")} <= set(ids)
    assert set(record) == {"metadata", "qParams", "nodes", "links"}
    small.to_circuit_tracer(tmp_path / "viewer", "dog")
    index = json.loads((tmp_path / "viewer" / "graph-metadata.json").read_text())
    assert [one["slug"] for one in index["graphs"]] == ["dog"]
    refused("letters, digits", small.to_circuit_tracer, tmp_path, "../dog")


def test_small_blocks_make_the_same_graph_and_what_would_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, dictionaries = language()
    monkeypatch.setattr("sae_nb.circuits._nodes.BLOCK_BYTES", 50_000)
    bounded = attribution_graph(model, dictionaries, TEXT, target=" dog")
    difference = abs(bounded.matrix - graph().matrix)
    assert difference.max() < 1e-5 * abs(graph().matrix).max()
    monkeypatch.setattr("sae_nb.checks._values.available_memory", lambda: 2**16)
    with pytest.raises(MemoryError, match="positions"):
        attribution_graph(model, dictionaries, TEXT)
    monkeypatch.setattr("sae_nb.circuits._attributing.check_forward", lambda passes: None)
    with pytest.raises(MemoryError, match="max_nodes"):
        attribution_graph(model, dictionaries, TEXT)
