"""Graphs of dictionaries that add more than atoms: skips, norms that are undone, and positions they are not for."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import sae_nb as sn
from sae_nb.activations import PositionPolicy
from sae_nb.circuits import AttributionGraph, attribution_graph, load_graph
from sae_nb.interop import Imported
from sae_nb.models import Frozen, run

TEXT = "One day Mia saw a big red"
IDS = torch.tensor([[3, 14, 7, 9, 21, 5]])
SIZES = {"vocab_size": 32, "n_embd": 16, "n_head": 2, "n_positions": 16, "n_layer": 2}


@cache
def linear() -> Any:
    """A random GPT-2 whose MLPs are two projections without a nonlinearity between."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(**SIZES, activation_function="linear", bos_token_id=0)
    module = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_(0, 0.3)
    return sn.wrap(module, name="linear")


def exact(model: Any, layer: int, kind: Any = sn.SkipTranscoder) -> Any:
    mlp = model.module.transformer.h[layer].mlp
    t = kind(16, 16, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        t.encoder.bias.fill_(-1e4)  # no atom fires
        t.straight.copy_(mlp.c_fc.weight @ mlp.c_proj.weight)
        t.scaling.mean.copy_(mlp.c_fc.bias @ mlp.c_proj.weight + mlp.c_proj.bias)
    t.hook_point, t.target_hook_point = f"mlp_in.{layer}", f"mlp_out.{layer}"
    return t


def target_row(graph: AttributionGraph, kind: str) -> np.ndarray:
    here = (graph.nodes.kind == kind).to_numpy()
    return graph.matrix[len(graph) - 1].toarray().ravel()[here]


def edges_and_biases(graph: AttributionGraph) -> tuple[np.ndarray, np.ndarray]:
    read = graph.nodes.read.to_numpy()
    sums = np.asarray(graph.matrix.sum(axis=1)).ravel() + graph.nodes.bias.to_numpy()
    return sums[read], graph.nodes.value.to_numpy()[read]


@pytest.mark.parametrize("drop_first", [None, False])
def test_an_exact_skip_of_a_linear_mlp_leaves_no_error(drop_first: bool | None) -> None:
    """Tokens reach the target along it as through the MLP itself, by plain autograd; nothing is missed."""
    model = linear()
    graph = attribution_graph(
        model, [exact(model, i) for i in range(2)], IDS, target=4, drop_first=drop_first
    )
    assert np.abs(target_row(graph, "error")).max() < 1e-5
    sums, values = edges_and_biases(graph)
    assert sums == pytest.approx(values, abs=1e-4)
    logits = model.module(IDS).logits[0, -1]
    assert values[-1] == pytest.approx(float(logits[4] - logits.mean()), abs=1e-4)
    if drop_first is None:  # at the first position the MLP is no path: it passes as it is
        assert graph.left_out == {"mlp_out.0": (0,), "mlp_out.1": (0,)}
        return
    assert graph.replacement == pytest.approx(1, abs=1e-4)
    with torch.enable_grad(), Frozen(model):
        ran = run(model, next(iter(model.batches(IDS))), read="resid_pre.0", grad="resid_pre.0")
        answer = ran.answer.one()
        slopes = ran.gradients(answer[4] - answer.mean())["resid_pre.0"]
    by_hand = (ran.states["resid_pre.0"] * slopes)[0].sum(dim=1).detach().numpy()
    assert target_row(graph, "token") == pytest.approx(by_hand, abs=1e-4)


@cache
def language() -> tuple[Any, dict[str, torch.Tensor], list[Any], list[Any]]:
    """tiny-gpt, what its MLPs read and write, transcoders of them, and the same with a skip of what these miss."""
    model = sn.load_model("tiny-gpt")
    points = [f"mlp_{side}.{i}" for i in range(model.n_layers) for side in ("in", "out")]
    acts = sn.capture(model, sn.data.stories(12, seed=0).texts, points, progress=False)
    plain, skips = [], []
    for i in range(model.n_layers):
        read, write = acts[f"mlp_in.{i}"], acts[f"mlp_out.{i}"]
        size = {"d_in": read.d_in, "d_out": write.d_out if hasattr(write, "d_out") else write.d_in}
        made = {
            kind: kind(**size, n_atoms=64, k=4, generator=torch.Generator().manual_seed(i))
            for kind in (sn.Transcoder, sn.SkipTranscoder)
        }
        one, skip = made.values()
        sn.train(one, (read, write), steps=10, batch_size=128, progress=False)
        skip.load_state_dict({**skip.state_dict(), **one.state_dict()})
        with torch.no_grad():
            seen = (read.x - skip.reading.mean) * (skip.reading.scale / skip.scaling.scale)
            skip.straight.copy_(torch.linalg.lstsq(seen, write.x - one(read.x)).solution)
        skip.hook_point, skip.target_hook_point = one.hook_point, one.target_hook_point
        skip.position_policy = one.position_policy
        plain.append(one.eval())
        skips.append(skip.eval())
    return model, {name: one.x for name, one in acts.items()}, plain, skips


@cache
def skipping() -> AttributionGraph:
    model, _, _, skips = language()
    return attribution_graph(model, skips, TEXT, target=" dog")


def test_an_error_is_what_the_answer_misses() -> None:
    model, _, _, skips = language()
    points = [f"mlp_{side}.{i}" for i in range(model.n_layers) for side in ("in", "out")]
    seen = sn.capture(model, TEXT, points, drop_first=False, drop_massive=False, progress=False)
    for i, (t, written) in enumerate(zip(skips, skipping().passes.written, strict=True)):  # type: ignore[union-attr]
        read, write = seen[f"mlp_in.{i}"].x, seen[f"mlp_out.{i}"].x
        by_hand = (write - t(read))[1:].detach()
        scale = float(write.abs().max())
        assert torch.allclose(written.error[1:], by_hand, atol=1e-5 * scale)
        assert not written.error[0].any()
        assert not torch.allclose(
            written.error[1:], (write - t.decode(t.encode(read)))[1:].detach(), atol=1e-3
        )


def test_edges_and_biases_add_up_with_skips() -> None:
    """To the strength of every atom and to the logit, also of a pruned graph where nothing was left out."""
    sums, values = edges_and_biases(skipping())
    assert sums == pytest.approx(values, rel=1e-4, abs=1e-3)
    whole = skipping().prune(nodes=1.0, edges=1.0)
    assert float(whole.matrix[len(whole) - 1].sum()) == pytest.approx(
        float(skipping().matrix[len(skipping()) - 1].sum()), abs=1e-3
    )


def test_an_edge_along_a_skip_equals_a_finite_difference() -> None:
    """Of one token's embedding, attention and norms held, by a pass in which MLPs write what nodes and skips do."""
    from sae_nb.circuits._passes import Trace

    graph = skipping()
    trace = Trace(graph.passes)  # type: ignore[arg-type]
    frozen = Frozen(trace.passes.model)
    trace._run(frozen)
    nodes = [written.bias + written.error for written in trace.written]
    for held, written in zip(nodes, trace.written, strict=True):
        held.index_add_(0, written.position, written.atoms)
    start, position, step = trace.values[0][0].clone(), 2, 0.05
    measured = []
    for factor in (1.0, 1.0 + step):
        moved = start.clone()
        moved[position] *= factor
        answer = (
            trace._run(Frozen(trace.passes.model, frozen.constants), [moved, *nodes])
            .answer.one()
            .detach()
        )
        measured.append(float(graph.passes.measures[0](answer)))  # type: ignore[union-attr]
    assert measured[0] == pytest.approx(float(graph.nodes.value.iloc[-1]), abs=1e-3)
    edge = float(graph.matrix[len(graph) - 1, position])
    assert edge == pytest.approx((measured[1] - measured[0]) / step, rel=1e-2, abs=1e-3)


def test_what_flows_through_heads_runs_along_skips_too() -> None:
    model = linear()
    graph = attribution_graph(
        model, [exact(model, i) for i in range(2)], IDS, target=4, drop_first=False
    )
    places = [f"head_out.{i}" for i in range(2)]
    with torch.enable_grad(), Frozen(model):
        ran = run(model, next(iter(model.batches(IDS))), read=places, grad=places)
        answer = ran.answer.one()
        slopes = ran.gradients(answer[4] - answer.mean())
    by_hand = torch.stack(
        [(ran.states[p] * slopes[p])[0].sum(dim=0).reshape(2, -1).sum(dim=1) for p in places]
    )
    assert graph.heads().flow.to_numpy() == pytest.approx(
        by_hand.detach().numpy().ravel(), abs=1e-4
    )


def test_a_file_keeps_which_positions_were_left_out(tmp_path: Path) -> None:
    model, _, _, skips = language()
    skipping().save(tmp_path / "graph")
    read = load_graph(tmp_path / "graph")
    assert read.left_out == skipping().left_out
    assert repr(read) == repr(skipping())
    again = read.with_model(model, skips)
    for one, other in zip(again.passes.written, skipping().passes.written, strict=True):  # type: ignore[union-attr]
        assert torch.equal(one.position, other.position)


def test_each_dictionary_follows_its_own_positions() -> None:
    """Two policies in one graph: the repr says both, and what passes as it is is no error."""
    model, _, plain, _ = language()
    before = [t.position_policy for t in plain]
    try:
        plain[0].position_policy = PositionPolicy()
        plain[1].position_policy = PositionPolicy(
            drop_first=True, drop_ids=(int(model.tokens(" Mia")["id"].iloc[-1]),)
        )
        graph = attribution_graph(model, plain[:2], TEXT, target=" dog")
    finally:
        for t, policy in zip(plain, before, strict=True):
            t.position_policy = policy
    ids = model.tokens(TEXT)["id"].tolist()
    mia = ids.index(int(model.tokens(" Mia")["id"].iloc[-1]))
    assert graph.left_out == {"mlp_out.1": (0, mia)}
    assert f"positions 0, {mia} of mlp_out.1" in repr(graph)
    atoms = graph.nodes[graph.nodes.kind == "atom"]
    assert 0 in set(atoms.position[atoms.place == "mlp_out.0"])
    assert not {0, mia} & set(atoms.position[atoms.place == "mlp_out.1"])
    errors = (graph.nodes.kind == "error") & (graph.nodes.place == "mlp_out.1")
    passing = np.flatnonzero(errors & graph.nodes.position.isin([0, mia]))
    assert abs(graph.matrix[:, passing]).sum() == 0
    sums, values = edges_and_biases(graph)
    assert sums == pytest.approx(values, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("norm", ["layer_norm", "constant_norm", "centre", "none"])
def test_foreign_dictionaries_write_what_they_answer(norm: str) -> None:
    """A transcoder of a file with a skip and a norm: atoms by the length of what is read, errors by the answer."""
    model = linear()
    drawn = torch.Generator().manual_seed(0)
    encoding: Any = {"rule": "relu", "norm": norm, "pre_bias": False}
    origin: Any = {"library": "x", "architecture": "y"}
    t = Imported(
        16, 8, d_out=16, encoding=encoding, origin=origin, parts=("encoder", "encoder_bias", "skip")
    )
    with torch.no_grad():
        for weight in t.parameters():
            weight.copy_(torch.randn(weight.shape, generator=drawn) * 0.3)
    t.hook_point, t.target_hook_point = "mlp_in.1", "mlp_out.1"
    t.position_policy = PositionPolicy()
    graph = attribution_graph(model, [t.eval()], IDS, target=4)
    seen = sn.capture(
        model, IDS, ["mlp_in.1", "mlp_out.1"], drop_first=False, drop_massive=False, progress=False
    )
    x, y = (seen[name].x for name in ("mlp_in.1", "mlp_out.1"))
    written = graph.passes.written[1]  # type: ignore[union-attr]
    assert torch.allclose(written.error, (y - t(x)).detach(), atol=1e-5)
    centre, length = {
        "layer_norm": (x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True)),
        "constant_norm": (0.0, x.norm(dim=1, keepdim=True) / 4),
        "centre": (0.0, torch.ones(6, 1)),
        "none": (0.0, torch.ones(6, 1)),
    }[norm]
    # Of centred weights the mean is of what is read: nothing of it is written.
    read = x - x.mean(dim=1, keepdim=True) if norm == "centre" else x
    rest = centre + read @ t.skip.T + length * t.bias
    made = torch.zeros_like(y).index_add(0, written.position, written.atoms)
    assert torch.allclose(made, (t(x) - rest).detach(), atol=1e-5)
    sums, values = edges_and_biases(graph)
    assert sums == pytest.approx(values, abs=1e-4)
