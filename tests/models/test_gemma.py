"""Gemma 3's shape against plain torch: two rotations, a window, norms of 1 + w, shared keys, a capped answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import sae_nb as sn
from sae_nb.circuits import written_by_heads
from sae_nb.models._attention import watching
from sae_nb.models._running import run
from sae_nb.steering import SteeringRecipe, summarise_steering
from tests.models.conftest import build_model

WINDOW, CAP, LENGTH = 4, 5.0, 10
KINDS = ("sliding_attention", "full_attention", "sliding_attention")
BASES = {"sliding_attention": 10_000.0, "full_attention": 1e6}
SHAPE: dict[str, Any] = {
    "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 48, "sliding_window": WINDOW, "layer_types": list(KINDS),
    "final_logit_softcapping": CAP, "query_pre_attn_scalar": 32,
    "rope_parameters": {
        kind: {"rope_type": "default", "rope_theta": base} for kind, base in BASES.items()
    },
}  # fmt: skip
IDS = torch.randint(3, 64, (2, LENGTH), generator=torch.Generator().manual_seed(4))

Edit = Callable[[str, Tensor], Tensor]


def normed(norm: Any, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * (1 + norm.weight)


def turned(x: Tensor, base: float) -> Tensor:
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] / base ** (torch.arange(half) / half)
    a, b = x.split(half, dim=-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def by_hand(
    module: Any, ids: Tensor, edit: Edit = lambda _, x: x, kinds: Any = KINDS, window: int = WINDOW
) -> dict[str, Tensor]:
    """Every hook point, pattern and logit of Gemma 3, from its weights alone; `edit` changes what it is given."""
    kept: dict[str, Tensor] = {}

    def keep(name: str, x: Tensor) -> Tensor:
        kept[name] = edit(name, x)
        return kept[name]

    n, d = ids.shape[1], module.config.hidden_size
    x = keep("embed", F.embedding(ids, module.model.embed_tokens.weight) * math.sqrt(d))
    ago = torch.arange(n)[:, None] - torch.arange(n)
    for i, (block, kind) in enumerate(zip(module.model.layers, kinds, strict=True)):
        attention, mlp = block.self_attn, block.mlp
        x = keep(f"resid_pre.{i}", x)
        read = normed(block.input_layernorm, x)
        q, k, v = (
            (read @ part.weight.T).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        q, k = normed(attention.q_norm, q), normed(attention.k_norm, k)
        q, k = (turned(one, BASES[kind]) for one in (q, k))
        k, v = (one.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for one in (k, v))
        hidden = (ago < 0) | ((ago >= window) & (kind == "sliding_attention"))
        scores = q @ k.mT / math.sqrt(module.config.query_pre_attn_scalar)
        pattern = keep(f"pattern.{i}", scores.masked_fill(hidden, -torch.inf).softmax(-1))
        heads = keep(f"head_out.{i}", (pattern @ v).transpose(1, 2).flatten(-2))
        out = normed(block.post_attention_layernorm, heads @ attention.o_proj.weight.T)
        x = keep(f"resid_mid.{i}", x + keep(f"attn_out.{i}", out))
        read = keep(f"mlp_in.{i}", normed(block.pre_feedforward_layernorm, x))
        gate = F.gelu(read @ mlp.gate_proj.weight.T, approximate="tanh")
        neurons = keep(f"mlp_post.{i}", gate * (read @ mlp.up_proj.weight.T))
        out = normed(block.post_feedforward_layernorm, neurons @ mlp.down_proj.weight.T)
        x = keep(f"resid_post.{i}", x + keep(f"mlp_out.{i}", out))
    x = keep("final_norm", normed(module.model.norm, x))
    logits = x @ module.lm_head.weight.T
    cap = module.config.final_logit_softcapping
    kept["logits"] = logits if cap is None else cap * (logits / cap).tanh()
    return kept


def near(found: Any, wanted: Tensor) -> None:
    """Within 1e-4 of the size of what is wanted."""
    found, wanted = torch.as_tensor(found).detach().float(), wanted.detach()
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())


@pytest.fixture(scope="module")
def module() -> Any:
    return build_model("gemma3_text", **SHAPE)


@pytest.fixture(scope="module")
def model(module: Any) -> sn.LiveModel:
    return sn.wrap(module, name="gemma")


@pytest.fixture(scope="module")
def states(module: Any) -> dict[str, Tensor]:
    return by_hand(module, IDS)


def test_every_hook_point_is_what_plain_torch_computes(
    model: Any, states: dict[str, Tensor]
) -> None:
    points = [str(point) for point in model.hook_points()]
    acts = sn.capture(model, IDS, points, drop_first=False, drop_massive=False, progress=False)
    assert len(points) == 26
    for name, found in acts.items():
        near(found.x.reshape(2, LENGTH, -1), states[name])
    near(model(IDS).logits, states["logits"])


def test_a_pattern_ends_at_the_window(model: Any, states: dict[str, Tensor]) -> None:
    found: dict[int, Tensor] = {}
    (batch,) = model.batches(IDS)
    with watching(model, lambda place, seen: found.__setitem__(place.layer, seen.pattern)):
        model.forward(batch)
    for i, kind in enumerate(KINDS):
        near(found[i], states[f"pattern.{i}"])
        ago = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
        assert bool((found[i][..., ago >= WINDOW] == 0).all()) == (kind == "sliding_attention")
    scores = sn.circuits.head_scores(model, IDS[:1]).table
    sinks = [float(states[f"pattern.{i}"][0, h, 1:, 0].mean()) for i in range(3) for h in range(4)]
    near(scores.sink.to_numpy(), torch.tensor(sinks))


def test_lenses_read_through_norm_and_cap(
    module: Any, model: Any, states: dict[str, Tensor]
) -> None:
    logit = sn.fit_lens(model, IDS, kind="logit", progress=False)
    jacobian = sn.fit_lens(model, IDS, skip_first=2, progress=False)
    maps = torch.zeros(2, 64, 64)
    valid = range(2, LENGTH - 1)
    for row in range(64):
        total = states["resid_post.2"][:, valid, row].sum()
        for i in range(2):
            (slope,) = torch.autograd.grad(total, states[f"resid_post.{i}"], retain_graph=True)
            maps[i, row] = slope[:, valid].mean(dim=(0, 1))
    near(jacobian.maps[:, 0], maps)
    directions = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    head, gain = module.lm_head.weight, 1 + module.model.norm.weight
    for lens, through in ((logit, torch.eye(64)), (jacobian, maps[1])):
        near(lens.effects(directions, 1), (directions @ through.T * gain) @ head.T)
        near(lens.direction(7, 1), (head[7] * gain) @ through)
        read = lens.read(IDS[:1], k=64)
        then = normed(module.model.norm, states["resid_post.1"][0] @ through.T)
        wanted = (CAP * (then @ head.T / CAP).tanh()).softmax(-1)
        layer = read.layers.index(1)
        near(read.top_probability[layer], wanted.gather(1, torch.as_tensor(read.top[layer])))


def test_heads_bring_what_plain_torch_says(
    module: Any, model: Any, states: dict[str, Tensor]
) -> None:
    one, names = IDS[:1], [f"head_out.{i}" for i in range(3)]
    for i, name in enumerate(names):
        block = module.model.layers[i]
        alone = states[name].unflatten(-1, (4, 16))[:, :, :, None] * torch.eye(4)[:, :, None]
        wanted = normed(
            block.post_attention_layernorm, alone.flatten(-2) @ block.self_attn.o_proj.weight.T
        )
        near(written_by_heads(model, i, alone.flatten(-2)), wanted)
    # What each head itself adds along the stream, and through no later part.
    found = sn.circuits.direct_effects(model, one, (3, 5))
    last, slope = states["resid_post.2"][:1, -1].detach().requires_grad_(), 0.0
    size = (last.square().mean() + module.model.norm.eps).sqrt().detach()
    x = last / size * (1 + module.model.norm.weight) @ module.lm_head.weight[[3, 5]].T
    a, b = (CAP * (x / CAP).tanh())[0]
    (slope,) = torch.autograd.grad(a - b, last)
    for i, name in enumerate(names):
        block = module.model.layers[i]
        written = states[name][0, -1].unflatten(-1, (4, 16))[:, None] * torch.eye(4)[:, :, None]
        branch = written.flatten(-2) @ block.self_attn.o_proj.weight.T
        whole = branch.sum(0)
        scale = (whole.square().mean() + block.post_attention_layernorm.eps).sqrt()
        near(
            found.values[i],
            branch / scale * (1 + block.post_attention_layernorm.weight) @ slope[0],
        )
    # Each head at its mean, in the running model.
    found = sn.circuits.head_contributions(model, IDS, target=(3, 5), method="ablation")
    answers = states["logits"][:, -1, 3] - states["logits"][:, -1, 5]
    wanted = torch.zeros(3, 4)
    for i, name in enumerate(names):
        mean = states[name].mean(dim=(0, 1))
        for h in range(4):
            part = torch.arange(64) // 16 == h
            then = by_hand(
                module,
                IDS,
                lambda at, x, name=name, part=part, mean=mean: (
                    torch.where(part, mean, x) if at == name else x
                ),
            )["logits"][:, -1]
            wanted[i, h] = (answers - then[:, 3] + then[:, 5]).mean()
    near(found.values, wanted)


@pytest.mark.parametrize("layer", [1, 2])
def test_atoms_make_a_head_look(model: Any, states: dict[str, Tensor], layer: int) -> None:
    """In a block with a window the pairs are those of visible keys, and a key beyond it is refused."""
    sae = sn.TopK(d_in=64, n_atoms=128, k=8, generator=torch.Generator().manual_seed(0))
    sae.hook_point = f"resid_post.{layer - 1}"
    found = sn.circuits.qk(model, sae, IDS[:1], layer, 1, query=8, key=6)
    pattern = states[f"pattern.{layer}"][0, 1, 8]
    assert found.attention == pytest.approx(float(pattern[6]), abs=1e-4)
    logs = pattern[pattern > 0].log()
    wanted = float(pattern[6].log() - logs.mean())
    assert found.difference == pytest.approx(wanted, abs=1e-4)
    assert sum(found.shares.values()) == pytest.approx(wanted, abs=1e-3)


def test_neurons_of_a_graph_add_up_to_the_answer(model: Any) -> None:
    """By every neuron at once, through the cap; each neuron's forecast is its attribution by plain torch."""
    graph = sn.circuits.attribution_graph(
        model, "neurons", IDS[:1], contrast=IDS[1:], target=(3, 5), progress=False, drop_first=False
    )
    curve = graph.faithfulness(
        k=[sum(len(site.entries) for site in graph.passes.sites)], n_random=0
    )
    assert curve.kept[0] == pytest.approx(1, abs=1e-4)
    assert curve.lost[0] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
def test_edits_are_those_of_plain_torch(
    module: Any, model: Any, states: dict[str, Tensor], backend: Any
) -> None:
    """Added, capped, behind a gate, in units; an SAE that never saw the first token, a sink, does not rebuild it."""
    x = states["resid_post.1"].detach()
    v = F.normalize(torch.randn(64, generator=torch.Generator().manual_seed(2)), dim=0)
    high = float((x @ v).median())

    def moved(change: Tensor, first: int) -> Tensor:
        change = change.clone()
        change[:, :first] = 0
        return by_hand(module, IDS, lambda at, x: x + change if at == "resid_post.1" else x)[
            "logits"
        ]

    def steered(**how: Any) -> Tensor:
        with sn.steer(model, "resid_post.1", **how, backend=backend):
            return model(IDS).logits

    pushed = (40 * v).expand_as(x)
    near(steered(direction=v, by=40.0), moved(pushed, 0))
    near(steered(direction=v, by=40.0, positions="not_first"), moved(pushed, 1))
    below = (high - x @ v).clamp_max(0)[..., None] * v
    near(steered(direction=v, by=high, mode="cap"), moved(below, 0))
    acts = sn.capture(model, IDS, "resid_post.1", drop_massive=False, progress=False)
    sae = sn.TopK(d_in=64, n_atoms=128, k=8, generator=torch.Generator().manual_seed(0))
    sn.train(sae, acts, steps=2, batch_size=8, progress=False)
    codes = sae.encode(x.flatten(0, 1)).to_dense().detach().unflatten(0, (2, LENGTH))
    atom = int((codes[:, 1:] > 0).sum(dim=(0, 1)).argmax())
    fires, d = codes[..., atom] > 0, F.normalize(sae.dictionary[atom].detach(), dim=0)
    near(steered(sae=sae, atom=atom, by=40.0, where=atom), moved(fires[..., None] * 40 * d, 0))
    unit = float(codes[:, 1:, atom][fires[:, 1:]].quantile(0.99))
    more = (1.5 * unit * d).expand_as(x)
    near(steered(sae=sae, atom=atom, by=1.5, unit="p99", acts=acts), moved(more, 0))
    read = sae.decode(sae.encode(x.flatten(0, 1))).detach().unflatten(0, (2, LENGTH)) - x
    near(steered(sae=sae, atom=atom, by=1.5 * unit, keep_error=False), moved(read + more, 1))


def test_one_answer_unembeds_one_token(module: Any, model: Any) -> None:
    """Of copies of a text, patches of heads and a steered panel's passes: the last token's logits alone."""
    lengths: list[int] = []
    hook = module.lm_head.register_forward_pre_hook(lambda _, x: lengths.append(x[0].shape[1]))
    try:
        sn.circuits.head_contributions(model, IDS, target=(3, 5), method="ablation")
        sn.circuits.head_scores(model, n_tokens=6)
        sae = sn.TopK(d_in=64, n_atoms=128, k=8, generator=torch.Generator().manual_seed(0))
        recipe = SteeringRecipe(hook_point="resid_post.1", atom=3, strength=2.0)
        summarise_steering(model, IDS[:1], sae, recipe)
        assert sorted(lengths)[-2:] == [1, 4]  # four tokens, by which the unembedding was found
        lengths.clear()
        sn.circuits.attribution_graph(
            model, "neurons", IDS[:1], contrast=IDS[1:], target=(3, 5), progress=False
        )
        # What is likely anywhere, and by which unembedding, is read of all; the traced passes need one.
        assert lengths.count(LENGTH) == 3
        # Besides the two, one more where this model is asked for the first time whether all else is linear.
        assert lengths.count(1) == len(lengths) - 3
        assert lengths.count(1) in (2, 3)
    finally:
        hook.remove()
    padded = torch.nn.utils.rnn.pad_sequence([IDS[0], IDS[1, :7]], batch_first=True)
    ids = [IDS[0].tolist(), IDS[1, :7].tolist()]
    (batch,) = model.batches(ids, batch_size=2)
    found = run(model, batch, answer="end").answer
    assert found.tensor.shape[1] == padded.shape[1]  # of different lengths: all of them
    near(found.one(1), by_hand(module, IDS[1:, :7])["logits"][0, -1])


@pytest.mark.slow
def test_the_real_model_is_what_plain_torch_computes() -> None:
    """Of Gemma 3 270M, where `sae-nb get gemma-3-270m --accept-terms` fetched it."""
    try:
        model = sn.load_model("gemma-3-270m")
    except FileNotFoundError:
        pytest.skip("needs gemma-3-270m: sae-nb get gemma-3-270m --accept-terms")
    module, text = model.module, "The capital of France is Paris, and the capital of Italy is"
    ids = torch.tensor(model.tokenizer([text]).input_ids)
    wanted = by_hand(module, ids, kinds=module.config.layer_types, window=512)
    points = ["embed", "head_out.5", "attn_out.5", "mlp_post.9", "resid_post.9", "final_norm"]
    acts = sn.capture(model, [text], points, drop_first=False, drop_massive=False, progress=False)
    for name, found in acts.items():
        for one, other in zip(found.x, wanted[name][0], strict=True):
            near(one, other)
    lens = sn.fit_lens(model, [text], kind="logit", progress=False)
    near(lens.read([text], k=1).answer_probability, wanted["logits"][0].softmax(-1).amax(-1))
    direction = sn.random_direction(640, seed=0)
    with sn.steer(model, "resid_post.9", direction=direction, by=2000.0):
        steered = model([text]).logits
    moved = by_hand(
        module, ids, lambda at, x: x + 2000 * direction if at == "resid_post.9" else x,
        kinds=module.config.layer_types, window=512,
    )  # fmt: skip
    near(steered, moved["logits"])
