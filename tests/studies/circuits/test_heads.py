"""Heads: decomposition against one written by hand, removal against hooks, and what must be nothing."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import sae_nb as sn
from sae_nb.circuits import Contributions, head_contributions, neuron_contributions
from sae_nb.circuits._heads import Sizes, diverges
from sae_nb.models import run
from sae_nb_studies.circuits import KnownCircuit, known_circuit

TEXTS = ["One day she went to", "When he came to the"]
WORDS = (" her", " his")


@cache
def gpt() -> Any:
    return sn.load_model("tiny-gpt")


@cache
def circuit_of_induction() -> KnownCircuit:
    return known_circuit(sn.load_model("tiny-induction"), n=20)


@cache
def of(method: Any, n: int = 2) -> Contributions:
    return head_contributions(gpt(), TEXTS[:n], target=WORDS, method=method)


@cache
def outputs(layer: int, n: int = 2) -> list[torch.Tensor]:
    model, seen = gpt(), []
    with torch.no_grad(), sn.splice(model, f"head_out.{layer}", lambda x: seen.append(x[0]) or x):
        for batch in model.batches(TEXTS[:n], batch_size=1):
            model.forward(batch)
    return seen


def difference(logits: torch.Tensor) -> float:
    first, second = (
        gpt().tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in WORDS
    )
    return float(logits[first] - logits[second])


@pytest.mark.slow
@pytest.mark.parametrize("head", [0, 2])
def test_a_decomposition_of_the_last_block_is_that_by_hand(head: int) -> None:
    """β through the output matrix, the held norms and the split MLP, written with the block's own modules."""
    model, layer = gpt(), gpt().n_layers - 1
    block, norm = model.module.model.layers[layer], model.module.model.norm
    rows = torch.cat(outputs(layer))
    mean, found = rows.mean(dim=0), []
    for text, x in zip(TEXTS, outputs(layer), strict=True):
        acts = {
            name: sn.capture(model, [text], name, progress=False, drop_first=False).x
            for name in (f"resid_mid.{layer}", f"resid_post.{layer}")
        }
        width = x.shape[1] // model.n_heads
        part = torch.zeros_like(x)
        part[:, head * width : (head + 1) * width] = (x - mean)[
            :, head * width : (head + 1) * width
        ]
        with torch.no_grad():
            beta = block.self_attn.o_proj(part)
            mid, end = (acts[name][-len(x) :] for name in acts)

            def held(of: nn.Module, at: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
                scale = (at.square().mean(dim=-1, keepdim=True) + of.variance_epsilon).rsqrt()
                return rows * scale * of.weight

            b, t = (held(block.post_attention_layernorm, mid, r) for r in (beta, mid))
            g = block.mlp
            beta = beta + 0.5 * (g(b) - g(torch.zeros_like(b)) + g(t) - g(t - b))
            found.append(difference(model.module.lm_head(held(norm, end, beta))[-1]))
    for method in ("contextual", "held"):
        assert of(method).values[layer, head] == pytest.approx(np.mean(found), rel=1e-3, abs=1e-4)


def _held(norm: nn.LayerNorm, at: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """A layer norm with the scale that it has at a state; rows of 0 become its bias."""
    scale = (at.var(dim=-1, unbiased=False, keepdim=True) + norm.eps).rsqrt()
    return (rows - rows.mean(dim=-1, keepdim=True)) * scale * norm.weight + norm.bias


@pytest.mark.parametrize("head", [1, 2])
def test_attention_is_split_with_its_queries_and_keys(head: int) -> None:
    """A head of the first block, through the whole attention of the second, by the model's own modules."""
    model = sn.load_model("tiny-induction")
    texts = list(circuit_of_induction().inputs)[:2]
    first, second = model.module.transformer.h
    names = ["head_out.0", "resid_mid.0", "resid_pre.1", "resid_mid.1", "resid_post.1"]
    states = [
        {name: one.states[name][0] for name in names}
        for one in (run(model, batch, read=names) for batch in model.batches(texts, batch_size=1))
    ]
    mean = torch.cat([one["head_out.0"] for one in states]).mean(dim=0)

    def split(g: Any, rows: torch.Tensor, beta: torch.Tensor, none: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return beta + 0.5 * (g(beta + none) - g(none) + g(rows) - g(rows - beta))

    def through_mlp(block: Any, at: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        rows, bias = _held(block.ln_2, at, at), block.ln_2.bias
        inner = _held(block.ln_2, at, beta) - bias
        return beta - inner + split(block.mlp, rows, inner, torch.zeros_like(inner))

    found = []
    for one in states:
        part = torch.zeros_like(one["head_out.0"])
        here = slice(head * 16, (head + 1) * 16)
        part[:, here] = (one["head_out.0"] - mean)[:, here]
        with torch.no_grad():
            beta = part @ first.attn.c_proj.weight
        mid, mid_1 = one["resid_mid.0"], one["resid_mid.1"]
        beta = through_mlp(first, mid, beta)
        pre = one["resid_pre.1"]
        attend = lambda r, at=pre: second.attn(_held(second.ln_1, at, r)[None])[0][0]  # noqa: E731
        beta = split(attend, pre, beta, torch.zeros_like(beta))
        beta = through_mlp(second, mid_1, beta)
        end, norm = one["resid_post.1"], model.module.transformer.ln_f
        with torch.no_grad():
            logits = model.module.lm_head(_held(norm, end, end))[-1]
            lead = model.module.lm_head(_held(norm, end, beta) - norm.bias)[-1]
        found.append(float((lead - lead.mean())[int(logits.argmax())]))
    made = head_contributions(model, texts, method="contextual")
    assert made.values[0, head] == pytest.approx(np.mean(found), rel=1e-3, abs=1e-4)


def test_a_head_that_moves_where_others_look_is_found() -> None:
    texts = list(circuit_of_induction().inputs)[:8]
    sizes = {
        method: np.abs(
            head_contributions(sn.load_model("tiny-induction"), texts, method=method).values
        )
        for method in ("contextual", "held")
    }
    others = [0, 1, 3]
    assert sizes["contextual"][0, 2] > 10 * sizes["contextual"][0, others].max()
    assert sizes["held"][0, 2] < 5 * sizes["held"][0, others].max()


def gated(n_layers: int) -> Any:
    """A random Llama in each of whose blocks two heads read the same and write almost opposite states."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "vocab_size": 40}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = LlamaConfig(**sizes, **ids, num_hidden_layers=n_layers, num_key_value_heads=1)
    module = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
        for layer in module.model.layers:
            attention = layer.self_attn
            attention.q_proj.weight[8:] = attention.q_proj.weight[:8]
            attention.o_proj.weight.mul_(20)
            attention.o_proj.weight[:, 8:] = -0.95 * attention.o_proj.weight[:, :8]
    return sn.wrap(module)


IDS = [[5, 9, 3, 7, 11], [8, 4, 30, 12]]


@pytest.mark.parametrize("part", ["head", "neuron"])
def test_the_default_is_removal_and_finite(part: str) -> None:
    """By plain hooks, a part at its mean."""
    contributions = {"head": head_contributions, "neuron": neuron_contributions}[part]
    model = gated(2)
    found = contributions(model, IDS, target=(4, 6))
    place = "self_attn.o_proj" if part == "head" else "mlp.down_proj"
    layer = model.module.model.layers[1].get_submodule(place)
    width = 8 if part == "head" else 1
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, x: seen.append(x[0][0]))

    def asked(ids: list[int]) -> float:
        with torch.no_grad():
            z = model.module(torch.tensor([ids])).logits[0, -1]
        return float(z[4] - z[6])

    clean = [asked(ids) for ids in IDS]
    hook.remove()
    mean = torch.cat(seen).mean(dim=0)

    def at_mean(_: Any, x: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        y = x[0].clone()
        y[..., :width] = mean[:width]
        return (y,)

    hook = layer.register_forward_pre_hook(at_mean)
    without = [asked(ids) for ids in IDS]
    hook.remove()
    assert found.values[1, 0] == pytest.approx(
        np.mean(clean) - np.mean(without), rel=1e-3, abs=1e-5
    )
    assert found.method == "ablation"
    assert not found.diverges
    assert "DIVERGES" not in str(found)


def test_a_decomposition_that_diverges_says_so_first_or_is_refused() -> None:
    """A head is ten times what both add; gated MLPs square that again and again."""
    said = head_contributions(gated(2), IDS, target=(4, 6), method="contextual")
    assert said.diverges
    assert said.grown > 5
    once = head_contributions(gated(1), IDS, target=(4, 6), method="contextual")
    assert once.grown < said.grown
    assert said.headline.startswith("DIVERGES: a part reaches")
    assert repr(said).startswith("Contributions(DIVERGES")
    with pytest.raises(
        ValueError, match=r"must be finite, .*of the 20 heads.*Pass method='ablation'"
    ):
        head_contributions(gated(10), IDS, target=(4, 6), method="contextual")


def test_parts_are_measured_beside_the_whole() -> None:
    """√(3² + 4²) of 10, and 1 of 10 that is missing; what is no number is as large as can be."""
    whole, part = torch.tensor([[6.0, 8.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    rest = torch.tensor([[3.0, 4.0], [6.0, 7.0]])
    for unit in (1e-3, 1):
        sizes = Sizes()
        sizes.see(unit * part, unit * rest, unit * whole)
        assert (sizes.grown, sizes.misses) == pytest.approx((0.5, 0.1))
    assert not diverges(1.0, 0.005)
    assert diverges(1.01, 0.0)
    assert diverges(0.5, 0.02)
    sizes.see(part * torch.nan, part, whole)
    assert diverges(sizes.grown, sizes.misses)


@pytest.mark.parametrize(("layer", "head"), [(0, 1), (3, 2)])
def test_removal_is_a_run_with_the_mean_in_its_place(layer: int, head: int) -> None:
    model = gpt()
    mean = torch.cat(outputs(layer)).mean(dim=0)
    width = len(mean) // model.n_heads
    here = slice(head * width, (head + 1) * width)
    found = []

    def exchange(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[..., here] = mean[here]
        return x

    for batch in model.batches(TEXTS, batch_size=1):
        with torch.no_grad():
            clean = difference(model.main_output(model.forward(batch))[0, -1])
            with sn.splice(model, f"head_out.{layer}", exchange):
                found.append(clean - difference(model.main_output(model.forward(batch))[0, -1]))
    assert of("ablation").values[layer, head] == pytest.approx(np.mean(found), rel=1e-3, abs=1e-4)
