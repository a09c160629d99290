"""Heads: decomposition against one written by hand, removal against hooks, and what must be nothing."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sae_nb as sn
from sae_nb.circuits import Contributions, head_contributions
from sae_nb.models._interventions import Intervention
from sae_nb.models._running import intervening, run
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
    place = Intervention(model.hook_point(f"head_out.{layer}"), lambda x, _: seen.append(x[0]) or x)
    with torch.no_grad(), intervening(model, [place]):
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
    made = head_contributions(model, texts)
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


@pytest.mark.parametrize(("layer", "head"), [(0, 1), (3, 2)])
def test_removal_is_a_run_with_the_mean_in_its_place(layer: int, head: int) -> None:
    model = gpt()
    mean = torch.cat(outputs(layer)).mean(dim=0)
    width = len(mean) // model.n_heads
    here = slice(head * width, (head + 1) * width)
    found = []

    def exchange(x: torch.Tensor, _: Any) -> torch.Tensor:
        x = x.clone()
        x[..., here] = mean[here]
        return x

    edit = Intervention(model.hook_point(f"head_out.{layer}"), exchange)
    for batch in model.batches(TEXTS, batch_size=1):
        with torch.no_grad():
            clean = difference(model.main_output(model.forward(batch))[0, -1])
            with intervening(model, [edit]):
                found.append(clean - difference(model.main_output(model.forward(batch))[0, -1]))
    assert of("ablation").values[layer, head] == pytest.approx(np.mean(found), rel=1e-3, abs=1e-4)
