"""Where heads look, why, what they add to an answer and what they tell each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb import circuits
from sae_nb.models import watching
from tests.models.conftest import build_model, inputs_for
from tests.models.test_two_streams import made, sources

CLEAN, CORRUPTED, ANSWERS = "q k e f z q k e", "q k e f z k e q", ("f", "z")


@pytest.fixture(scope="module")
def induction() -> sn.LiveModel:
    return sn.load_model("tiny-induction")


def test_scores_name_the_heads_of_a_known_circuit(induction) -> None:
    found = circuits.head_scores(induction)
    known = circuits.known_circuit(induction).components.set_index(["layer", "index"])
    for layer, head, role in found.table[["layer", "head", "role"]].itertuples(index=False):
        row = known.loc[layer, head]
        expected = {"induction": "induction", "previous token": "previous"}
        assert role == (expected[row.role] if row.in_circuit else "")
    heads = found.table[found.table.role == "induction"]
    assert (heads.induction > 0.9).all()
    assert (heads.induction_control < 0.3).all()
    copies = found.table.set_index(["layer", "head"]).copying
    assert copies.loc[1].min() > 0.9 > 0.6 > copies.loc[0, 0]


def test_the_scores_are_those_of_the_patterns(induction) -> None:
    """Against the pattern that transformers returns, by loops over positions."""
    batch = next(iter(induction.batches([CLEAN], batch_size=1)))
    module = induction.module
    module.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            patterns = module(batch.token_ids, output_attentions=True).attentions
    finally:
        module.set_attn_implementation("sdpa")
    found = circuits.head_scores(induction, [CLEAN], seed=3).table
    ids = batch.token_ids[0].tolist()
    for layer, head in ((0, 2), (1, 1)):
        a = patterns[layer][0, head].double()
        row = found[(found.layer == layer) & (found["head"] == head)].iloc[0]
        assert row.sink == pytest.approx(float(a[1:, 0].mean()), abs=1e-5)
        spread = [
            float(-(a[q, : q + 1] * a[q, : q + 1].log()).sum()) / np.log(q + 1)
            for q in range(1, len(ids))
        ]
        assert row.entropy == pytest.approx(np.mean(spread), abs=1e-5)
        same = []
        for q, token in enumerate(ids):
            copies = [s for s in range(1, q) if ids[s] == token]
            if copies and len(copies) < q - 1:
                same.append(float(a[q, copies].sum()))
        assert row.same == pytest.approx(np.mean(same), abs=1e-5)


def test_heads_of_images_and_of_two_streams_are_scored() -> None:
    images = sn.data.scenes(2, seed=0).images
    vit = circuits.head_scores(sn.load_model("tiny-vit"), images)
    assert vit.scores == ("itself", "neighbours", "sink", "entropy")
    assert vit.values.shape == (48, 4)
    assert np.isfinite(vit.values).all()
    for name in ("T5", "Whisper"):
        model = made(name)
        found = circuits.head_scores(model, sources(name)[:2]).table
        assert found.groupby("stream").size().to_dict() == {
            "cross": 12,
            "decoder": 12,
            "encoder": 16,
        }
        assert found[found.stream == "encoder"].entropy.between(0, 1 + 1e-6).all()


def test_direct_effects_are_those_by_hand() -> None:
    model = sn.wrap(build_model("gpt2"))
    ids = inputs_for(model)[:1]
    found = circuits.direct_effects(model, ids, (3, 5))
    module = model.module
    heads: list[torch.Tensor] = []
    handles = [
        block.attn.c_proj.register_forward_pre_hook(lambda _m, args: heads.append(args[0]))
        for block in module.transformer.h
    ]
    last: list[torch.Tensor] = []
    handles.append(
        module.transformer.ln_f.register_forward_pre_hook(lambda _m, a: last.append(a[0]))
    )
    with torch.no_grad():
        answer = module(ids).logits[0, -1]
    for handle in handles:
        handle.remove()
    x, norm = last[0][0, -1], module.transformer.ln_f
    scale = ((x - x.mean()).square().mean() + norm.eps).rsqrt()
    u = norm.weight * (module.lm_head.weight[3] - module.lm_head.weight[5])
    u = scale * (u - u.mean())
    for layer, (out, block) in enumerate(zip(heads, module.transformer.h, strict=True)):
        written = (
            out[0, -1].reshape(2, 8)[:, :, None] * block.attn.c_proj.weight.reshape(2, 8, -1)
        ).sum(1)
        np.testing.assert_allclose(found.values[layer], (written @ u).detach(), atol=1e-4)
    assert found.answer == pytest.approx(float(answer[3] - answer[5]), abs=1e-4)


FAMILIES = ["gpt2", "llama", "gpt_neox", "qwen3", "gemma2", "bert", "bloom", "gptj"]


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_of_atoms_add_up_to_the_score(family: str) -> None:
    """Also with norms of queries and keys, rotations, shared keys, a softcap, and attention in products."""
    model = sn.wrap(build_model(family))
    torch.manual_seed(0)
    sae = sn.TopK(d_in=16, n_atoms=32, k=4)
    with torch.no_grad():
        sae.bias.normal_(std=0.3)
    sae.hook_point = "resid_post.1"
    ids = inputs_for(model)[:1]
    found = circuits.qk(model, sae, ids, layer=2, head=1, query=4, key=2)
    assert found.values.sum() == pytest.approx(
        found.difference, abs=1e-4 * max(1, abs(found.score))
    )
    assert sum(found.shares.values()) == pytest.approx(found.difference, abs=1e-3)
    seen = []
    with watching(model, lambda place, one: seen.append(one)):
        model.forward(next(iter(model.batches(ids))))
    q, k, scale = seen[2].query[0, 1], seen[2].key[0, 1], seen[2].scale
    visible = seen[2].pattern[0, 1, 4] > 0
    scores = scale * k @ q[4]
    assert found.score == pytest.approx(float(scores[2]), rel=1e-4)
    assert found.difference == pytest.approx(float(scores[2] - scores[visible].mean()), abs=1e-4)


@pytest.mark.slow
def test_the_largest_pair_is_what_an_induction_head_looks_by(induction) -> None:
    """Atoms of layer 0's stream: without the pair the attention goes, without others it stays."""
    texts = [" ".join(row) for row in _rows(400)]
    acts = sn.capture(induction, texts, "resid_post.0", progress=False)
    sae = sn.TopK(acts.d_in, n_atoms=128, k=4)
    sn.train(sae, acts, steps=600, batch_size=512, learning_rate=3e-3, progress=False, seed=0)
    found = circuits.qk(induction, sae, CLEAN, layer=1, head=3)
    assert found.tokens[found.key] == "f"
    assert found.attention > 0.8
    assert found.values.sum() == pytest.approx(found.difference, abs=1e-3)
    assert found.shares["atoms × atoms"] > 0.5 * found.difference
    assert found.without < 0.5 * found.attention
    assert found.without < found.random.min()


def _rows(n: int) -> list[list[str]]:
    rng = np.random.default_rng(0)
    letters = np.asarray([chr(ord("a") + i) for i in range(26)])
    rows = []
    for _ in range(n):
        row = rng.permutation(letters)
        size, gap = rng.integers(3, 9), rng.integers(0, 8)
        rows.append([*row[: size + gap], *row[:size]])
    return rows


def test_the_previous_token_head_speaks_through_keys_alone(induction) -> None:
    found = circuits.path_patch(induction, CLEAN, CORRUPTED, ANSWERS, sender=(0, 2)).table
    through = found.groupby("by").effect.sum()
    assert through["keys"] > 0.5
    assert abs(through["queries"]) < 0.01
    assert abs(through["values"]) < 0.01
    assert found.control.abs().max() < 0.1
    other = circuits.path_patch(induction, CLEAN, CORRUPTED, ANSWERS, sender=(0, 0), by="keys")
    assert np.abs(other.effect).max() < 0.01


@pytest.mark.parametrize("side", [0, 1, 2])
def test_a_path_is_the_one_by_hand(side: int) -> None:
    """GPT-2: the stream after the changed head and its MLP, projected, and one head's share of that put in."""
    model = sn.wrap(build_model("gpt2", n_layer=2))
    ids = inputs_for(model)
    module, (first, second) = model.module, model.module.transformer.h
    named = ("queries", "keys", "values")[side]
    found = circuits.path_patch(
        model, ids[:1], ids[1:], (3, 5), sender=(0, 1), receivers=[(1, 0)], by=named
    )
    kept: dict[str, torch.Tensor] = {}

    def answer(of: torch.Tensor, **hooks: object) -> float:
        parts = {"out": first.attn.c_proj, "qkv": second.attn.c_attn}
        handles = []
        for name, hook in hooks.items():
            if name == "out":
                handles.append(parts[name].register_forward_pre_hook(hook))
            else:
                handles.append(parts[name].register_forward_hook(hook))
        with torch.no_grad():
            logits = module(of).logits[0, -1]
        for handle in handles:
            handle.remove()
        return float(logits[3] - logits[5])

    def keep(name):
        return lambda _m, args, *out: kept.__setitem__(name, (out[0] if out else args[0]).clone())

    def exchanged(_m, args):
        x = args[0].clone()
        x[..., 8:] = kept["source"][..., 8:]
        return (x,)

    def put(_m, _args, out):
        out = out.clone()
        columns = slice(16 * side, 16 * side + 8)
        out[..., columns] = kept["moved"][..., columns]
        return out

    start = answer(ids[:1])
    end = answer(ids[1:], out=keep("source"))
    answer(ids[:1], out=exchanged, qkv=keep("moved"))
    assert found.effect[0] == pytest.approx(
        (answer(ids[:1], qkv=put) - start) / (end - start), abs=1e-4
    )
    assert abs(found.effect[0]) > 1e-3


@pytest.mark.parametrize("of", ["neurons", "dictionaries"])
def test_an_edge_between_positions_is_the_sum_of_its_heads(of: str, monkeypatch) -> None:
    """From block 2 at an earlier position to the answer only heads of layer 3 stand between."""
    from sae_nb.circuits import _attention_edges

    monkeypatch.setattr(_attention_edges, "LEAST", 0.0)
    gpt = sn.load_model("tiny-gpt")
    pair = ("One day she went", "One day he went")
    if of == "neurons":
        graph = circuits.attribution_graph(gpt, "neurons", pair[0], contrast=pair[1], target=" to")
    else:
        saes = [sn.load_sae(f"tiny-gpt/mlp.{layer}") for layer in range(4)]
        graph = circuits.attribution_graph(gpt, saes, pair[0], target=" to", max_nodes=None)
    nodes, target = graph.nodes, len(graph.nodes) - 1
    last = int(nodes.position[target])
    edges = graph.matrix[target].toarray()[0]
    early = (nodes.kind == "atom") & (nodes.layer == 2) & (nodes.position < last)
    sources = sorted(nodes.index[early], key=lambda i: -abs(edges[i]))[:3]
    found = graph.attention(target, sources)
    for source in sources:
        through = found[(found.source == source) & (found.layer == 3)]
        assert through.flow.sum() == pytest.approx(edges[source], rel=1e-3, abs=1e-6)
        assert (through[through.share.abs() > 0.05].position == last).all()
    with pytest.raises(ValueError, match="`target` must be nodes"):
        graph.attention(len(nodes))
