"""Graphs of neurons of any model: planted ones are found, edges add up, and the running model is asked."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import sae_nb as sn
from sae_nb.circuits import AttributionGraph, attribution_graph, load_graph
from sae_nb.circuits._sites import NeuronSite
from sae_nb.models import Frozen, run
from tests.refusing import refused

WORDS = torch.tensor([[3, 5, 7, 9]])
OTHERS = torch.tensor([[3, 6, 7, 9]])
PAIR = ("One day she went to", "One day he went to")
TINY = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
    "num_attention_heads": 2, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
SMALL = {
    "vocab_size": 32,
    "n_embd": 16,
    "n_layer": 3,
    "n_head": 2,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
FAMILIES = {
    "Llama": TINY,
    "Gemma2": {**TINY, "head_dim": 8},
    "Phi3": {**TINY, "pad_token_id": 0},
    "GPT2": {**SMALL, "n_positions": 16},
    "GPTNeoX": {key: TINY[key] for key in list(TINY)[:5]},
    "OPT": {
        "vocab_size": 32, "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 3,
        "num_attention_heads": 2, "max_position_embeddings": 16, "word_embed_proj_dim": 16,
    },
}  # fmt: skip


@cache
def family(name: str, **changes: Any) -> Any:
    config = getattr(transformers, f"{name}Config")(**FAMILIES[name], **changes)
    torch.manual_seed(0)
    module = getattr(transformers, f"{name}LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")
    made = module(config).eval()
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim == 2:
                weight.normal_(0, 0.3)
    return sn.wrap(made, name=f"tiny-{name}")


def graph_of(model: Any, **settings: Any) -> AttributionGraph:
    return attribution_graph(
        model, "neurons", WORDS, contrast=OTHERS, **{"target": (4, 11), **settings}
    )


@cache
def of_gpt() -> AttributionGraph:
    return attribution_graph(
        sn.load_model("tiny-gpt"), "neurons", PAIR[0], contrast=PAIR[1], target=(" the", " a")
    )


def strongest(graph: AttributionGraph) -> np.ndarray:
    """Attributions of the nodes by the one backward pass, by place, position and number."""
    passes: Any = graph.passes
    found = {}
    for site, amounts in zip(passes.sites, passes.attributions, strict=True):
        entries = site.entries
        for p, j, by in zip(entries.position, entries.unit, amounts, strict=True):
            found[site.place, int(p), int(j)] = float(by)
    atoms = graph.nodes[graph.nodes.kind == "atom"]
    keys = zip(atoms.place, atoms.position, atoms.atom, strict=True)
    return np.array([found[p, int(t), int(j)] for p, t, j in keys])


@pytest.mark.parametrize("name", FAMILIES)
def test_paths_of_the_graph_add_up_to_the_attribution(name: str) -> None:
    """Gated and plain MLPs, fused halves, closing norms, parallel blocks; all neurons together are the answer."""
    model = family(name)
    graph = graph_of(model, max_nodes=40)
    atoms = (graph.nodes.kind == "atom").to_numpy()
    wanted = strongest(graph)
    assert graph.flow[atoms] == pytest.approx(wanted, rel=1e-3, abs=1e-5 * np.abs(wanted).max())
    n = sum(len(site.entries) for site in graph.passes.sites)  # type: ignore[union-attr]
    curve = graph.faithfulness(k=[n], n_random=0)
    assert curve.kept[0] == pytest.approx(1, abs=1e-3)
    # ReLUs that are silent on both inputs may wake up in between.
    assert curve.lost[0] == pytest.approx(1, abs=0.1 if name == "OPT" else 1e-3)
    assert graph.intervene(int(np.flatnonzero(atoms)[0]), 1.0, n_random=1).effect == pytest.approx(
        0, abs=1e-4
    )


def test_a_neuron_is_moved_along_its_difference_and_random_ones_as_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three differences above the contrast: two from where it is, times the length of what it writes."""
    model = family("GPT2")
    graph = graph_of(model, max_nodes=10)
    read = (graph.nodes.kind != "token").to_numpy()
    left = graph.nodes.value.to_numpy() - graph.matrix.toarray().sum(axis=1)
    np.testing.assert_allclose(graph.nodes.bias, np.where(read, left, np.nan), atol=1e-5)
    layers = dict(zip(graph.nodes.kind, graph.nodes.layer, strict=True))
    assert (layers["token"], layers["target"]) == (-1, 3)
    node = int(np.flatnonzero((graph.nodes.kind == "atom").to_numpy())[0])
    row, asked, own = graph.nodes.iloc[node], [], NeuronSite.moved

    def moved(self: Any, position: int, size: float, generator: Any, copies: Any) -> Any:
        asked.append((position, size, list(copies)))
        return own(self, position, size, generator, copies)

    monkeypatch.setattr(NeuronSite, "moved", moved)
    flow = graph.intervene(node, 3.0, n_random=2)
    at = (0, int(row.position), int(row.atom))
    one, two = (next(iter(model.batches(ids))) for ids in (WORDS, OTHERS))
    now, then = (run(model, b, read=[row.place]).states[row.place][at] for b in (one, two))
    writes = (
        model.module.transformer.h[int(row.layer)].mlp.c_proj.weight[int(row.atom)].detach().norm()
    )
    assert asked == [(row.position, pytest.approx(float(2 * (now - then).abs() * writes)), [2, 3])]

    def put(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[at] = then + 3 * (now - then)
        return x

    before = model(WORDS)[0, -1]
    with sn.splice(model, row.place, put):
        after = model(WORDS)[0, -1]
    effect = (after - before)[4] - (after - before)[11]
    assert flow.effect == pytest.approx(float(effect), abs=1e-4)
    assert flow.controls.shape == (2,)


def test_slopes_of_a_linear_network_are_those_of_autograd() -> None:
    """Without a nonlinearity there is nothing to share out: every neuron's slope, and every edge."""
    model = family("GPT2", activation_function="linear")
    graph = graph_of(model, max_nodes=10_000)
    batch = next(iter(model.batches(WORDS)))
    places = [f"mlp_post.{i}" for i in range(3)]
    with torch.enable_grad(), Frozen(model):
        ran = run(model, batch, read=places, grad=places)
        answer = ran.answer.one()
        slopes = ran.gradients(answer[4] - answer[11])
    with torch.no_grad():
        then = run(model, next(iter(model.batches(OTHERS))), read=places).states
    for site, found in zip(graph.passes.sites, graph.passes.attributions, strict=True):  # type: ignore[union-attr]
        e, place = site.entries, site.place
        by_hand = ((ran.states[place] - then[place]) * slopes[place])[0, e.position, e.unit]
        assert torch.allclose(found, by_hand.detach(), atol=1e-5)


def test_the_factors_of_a_gated_neuron_share_half_and_half() -> None:
    """An edge of a Llama without attention, typed again: ½ a (w_g / g + w_u / u) · what the other writes."""
    model = family("Llama", rms_norm_eps=1e-5)
    torch.manual_seed(1)
    module = model.module
    blocks = module.model.layers
    kept = [block.self_attn.o_proj.weight.detach().clone() for block in blocks]
    with torch.no_grad():
        for block in blocks:
            block.self_attn.o_proj.weight.zero_()
    short = WORDS[:, :2]  # nothing moves between positions: the answer is read where inputs differ
    graph = attribution_graph(
        model, "neurons", short, contrast=OTHERS[:, :2], target=(4, 11), max_nodes=10_000
    )
    batch = next(iter(model.batches(short)))
    mlp = blocks[2].mlp
    read = run(model, batch, read=["mlp_in.2", "mlp_post.2", "resid_mid.2"]).states
    nodes = graph.nodes
    source = int(nodes.index[(nodes.place == "mlp_post.1") & (nodes.position == 1)][0])
    target = int(nodes.index[(nodes.place == "mlp_post.2") & (nodes.position == 1)][0])
    i, j = int(nodes.atom[source]), int(nodes.atom[target])
    x, a = read["mlp_in.2"][0, 1], read["mlp_post.2"][0, 1, j]
    scale = (read["resid_mid.2"][0, 1].square().mean() + 1e-5).rsqrt()
    gain = blocks[2].post_attention_layernorm.weight * scale
    g, u = mlp.gate_proj.weight[j], mlp.up_proj.weight[j]
    slope = 0.5 * a * (g / (g @ x) + u / (u @ x)) * gain
    wanted = float(nodes.value[source] * (slope @ blocks[1].mlp.down_proj.weight[:, i]).detach())
    assert graph.matrix[target, source] == pytest.approx(wanted, rel=1e-3)
    with torch.no_grad():
        for block, weight in zip(blocks, kept, strict=True):
            block.self_attn.o_proj.weight.copy_(weight)


@cache
def planted() -> Any:
    """A Llama that is all zeros but two neurons: 0/3 reads token 5, 1/7 reads 0/3, and token 4 hears 1/7."""
    config = transformers.LlamaConfig(**TINY, hidden_act="relu", tie_word_embeddings=False)
    module = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 2:
                weight.zero_()
        module.model.embed_tokens.weight[:, 0] = 1.0  # so that norms have something to divide by
        module.model.embed_tokens.weight[5, 1] = 1.0
        for layer, neuron, reads, writes in ((0, 3, 1, 2), (1, 7, 2, 4)):
            mlp = module.model.layers[layer].mlp
            mlp.gate_proj.weight[neuron, reads] = 1.0
            mlp.up_proj.weight[neuron, reads] = 1.0
            mlp.down_proj.weight[writes, neuron] = 1.0
        module.lm_head.weight[4, 4] = 1.0
    return sn.wrap(module, name="planted")


def test_a_planted_circuit_of_two_neurons_is_found() -> None:
    """Nothing else is a node; one needs the other, and the edge between them is all that it has."""
    ending, other = WORDS[:, :2], OTHERS[:, :2]  # the answer is read at the token that differs
    graph = attribution_graph(planted(), "neurons", ending, contrast=other, target=(4, 11))
    atoms = graph.nodes[graph.nodes.kind == "atom"]
    found = [*zip(atoms.layer, atoms.position, atoms.atom, strict=True)]
    assert found == [(0, 1, 3), (1, 1, 7)]
    first, second = atoms.index
    dense = graph.matrix.toarray()
    assert dense[second, first] == pytest.approx(
        dense[-1, second] * 0 + atoms.value[second], rel=1e-3
    )
    assert dense[-1, first] == pytest.approx(0, abs=1e-6)  # no way but through the second
    curve = graph.faithfulness(k=[1, 2], n_random=0)
    assert curve.kept == pytest.approx([0, 1], abs=1e-5)
    assert curve.lost == pytest.approx([1, 1], abs=1e-5)
    assert graph.intervene(int(first)).effect == pytest.approx(-curve.effect, rel=1e-5)


def test_a_name_is_what_the_difference_raises() -> None:
    """By its sign, through the unembedding or a lens; a neuron that favours nothing has none."""
    graph = of_gpt()
    assert graph.named_by == "direct path only"
    gpt = sn.load_model("tiny-gpt")
    atoms = graph.nodes[graph.nodes.kind == "atom"]
    assert 0 < (atoms.says == "").sum() < len(atoms)
    row = atoms[(atoms.says != "") & (atoms.layer == 3)].iloc[0]
    last = gpt.get_module(gpt.hook_point("mlp_post.3").path)
    direction = last.weight[:, int(row.atom)].detach() * np.sign(row.value)
    lens = sn.load_lens("tiny-gpt")
    logits = lens.on(gpt).effects(direction[None], layer=3)[0]
    words = [gpt.tokenizer.decode([int(i)]).strip() for i in logits.topk(40).indices]
    assert row.says.split(" · ")[0] in words
    through = attribution_graph(
        gpt, "neurons", PAIR[0], contrast=PAIR[1], target=(" the", " a"), lens=lens, max_nodes=20
    )
    assert through.named_by == "lens"


def test_examples_name_neurons_by_what_they_fire_on() -> None:
    """A caption where there is one, and the strongest examples themselves, by each neuron's own sign."""
    gpt, texts = sn.load_model("tiny-gpt"), sn.data.stories(12, seed=0).texts
    graph = attribution_graph(
        gpt,
        "neurons",
        PAIR[0],
        contrast=PAIR[1],
        target=(" the", " a"),
        examples=texts,
        max_nodes=12,
    )
    atoms = graph.nodes[graph.nodes.kind == "atom"]
    assert (atoms.fires != "").any()
    row = atoms.iloc[0]
    sign = 1 if row.value > 0 else -1
    book = graph.examples.at(row.place, int(row.atom), sign)  # type: ignore[union-attr]
    book = book or graph.examples.at(row.place, int(row.atom), -sign)  # type: ignore[union-attr]
    assert book is not None
    assert book[0].examples(book[1], 3)
    groups = graph.groups(texts, least=0.3)
    signs = np.sign(graph.flow)
    for name, nodes in groups.items():
        assert len(nodes) > 1
        assert len({graph.nodes.position[node] for node in nodes}) == 1, name
        assert len({signs[node] for node in nodes}) == 1


def test_atoms_take_the_place_of_neurons() -> None:
    """Of the MLP that a transcoder replaces; an SAE of the stream comes on top. Both add up as neurons do."""
    gpt = sn.load_model("tiny-gpt")
    extra = [sn.load_sae("tiny-gpt/mlp.2"), sn.load_sae("tiny-gpt/resid_post.3")]
    graph = attribution_graph(
        gpt, ["neurons", *extra], PAIR[0], contrast=PAIR[1], target=(" the", " a"), max_nodes=60
    )
    assert graph.places == ("mlp_post.0", "mlp_post.1", "mlp_out.2", "mlp_post.3", "resid_post.3")
    atoms = (graph.nodes.kind == "atom").to_numpy()
    assert graph.flow[atoms] == pytest.approx(strongest(graph), abs=1e-4)
    n = sum(len(site.entries) for site in graph.passes.sites)  # type: ignore[union-attr]
    curve = graph.faithfulness(k=[5, n], n_random=1)
    # Atoms that are silent on both inputs may fire in between.
    assert (curve.kept[-1], curve.lost[-1]) == pytest.approx((1, 1), abs=0.05)
    node = int(graph.nodes.index[graph.nodes.place == "resid_post.3"][0])
    flow = graph.intervene(node, 0.0, n_random=2)
    assert flow.effect != 0
    assert len(flow.controls) == 2


def test_a_graph_of_neurons_is_saved_and_asked_again(tmp_path: Path) -> None:
    graph, gpt = of_gpt(), sn.load_model("tiny-gpt")
    graph.save(tmp_path / "graph")
    read = load_graph(tmp_path / "graph")
    assert read.nodes.says.tolist() == graph.nodes.says.tolist()
    assert (read.n_units, read.named_by, read.contrast_tokens) == (
        graph.n_units, graph.named_by, graph.contrast_tokens,
    )  # fmt: skip
    refused("must know its live model", read.faithfulness)
    asked = read.with_model(gpt, "neurons")
    node = int(graph.nodes.index[graph.nodes.kind == "atom"][0])
    assert asked.intervene(node, n_random=0).effect == pytest.approx(
        graph.intervene(node, n_random=0).effect
    )
    assert asked.faithfulness(k=[20], n_random=0).lost == pytest.approx(
        graph.faithfulness(k=[20], n_random=0).lost
    )
    refused('must be "neurons"', read.with_model, gpt, sn.load_sae("tiny-gpt/mlp.0"))
    refused("must be tiny-gpt", read.with_model, sn.load_model("tiny-vit"), "neurons")


def plain_vit() -> sn.LiveModel:
    """A model whose processor is not known: of its pixel values no picture can be shown."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ViTConfig(
        **sizes, intermediate_size=16, image_size=16, patch_size=8, num_labels=3
    )
    return sn.wrap(transformers.ViTForImageClassification(config).eval(), name="plain")


@pytest.mark.parametrize(
    ("made", "given"),
    [
        pytest.param(lambda: sn.load_model("tiny-vit"), sn.data.scenes(1), marks=pytest.mark.slow),
        pytest.param(lambda: sn.load_model("tiny-audio"), sn.data.sounds(1), marks=pytest.mark.slow),
        (plain_vit, {"pixel_values": 3 * torch.randn(1, 3, 16, 16)}),
    ],
    ids=["image", "sound", "pixel values"],
)  # fmt: skip
def test_a_graph_keeps_what_was_read(tmp_path: Path, made: Any, given: Any) -> None:
    """From a file it is asked again at the same input, and drawn with the picture where there is one."""
    model = made()
    graph = attribution_graph(model, "neurons", given, target=lambda y: y[1], progress=False)
    graph.save(tmp_path / "graph")
    again = load_graph(tmp_path / "graph").with_model(model, "neurons")
    read, now = (one.passes.batch.first_tensor for one in (graph, again))
    torch.testing.assert_close(now, read, rtol=0, atol=2**-15)  # a sound is kept in 16 bits
    shown = graph.passes.batch.pictures
    assert again.picture is None if shown is None else torch.equal(again.picture, shown)


def test_the_graph_of_a_known_circuit_is_its_copy_and_no_neuron() -> None:
    """In tiny-induction the MLPs do nothing, and the answer is copied from behind the earlier letter."""
    model = sn.load_model("tiny-induction")
    pairs = sn.data.prompt_pairs("induction", 4, seed=0, model=model)
    for clean, corrupted, answer in zip(pairs.clean, pairs.corrupted, pairs.answers, strict=True):
        letters = clean.split()
        behind = letters.index(letters[-1]) + 1
        copied = 1 + behind  # the first token is the start
        assert letters[behind] == answer[0].strip()
        other = " ".join([*letters[:behind], answer[1].strip(), *letters[behind + 1 :]])
        flows = []
        for contrast in (None, other, corrupted):
            graph = attribution_graph(model, "neurons", clean, contrast=contrast, target=answer)
            assert not (graph.nodes.kind == "atom").any()
            flows.append(np.abs(graph.flow[(graph.nodes.kind == "token").to_numpy()]))
        alone, exchanged, moved = flows
        assert alone.argmax() == exchanged.argmax() == copied
        assert exchanged[copied] == pytest.approx(exchanged.sum(), rel=1e-3)
        assert moved.sum() < 0.2 * exchanged[copied]
