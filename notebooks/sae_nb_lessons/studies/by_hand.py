"""Heads of a small GPT-2 as matrices, read off its weights, and what the model itself calculates with them.

A norm takes off the mean of a state and divides by its deviation; its gain and offset are folded into the
weights that read it, so that every matrix here reads a normalised state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.models import watching

EPS = 1e-5
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class HeadWeights(NamedTuple):
    """What a head asks with, offers, hands on and writes; d_head is small, d the width of the stream."""

    W_Q: Float[Tensor, "d d_head"]
    b_Q: Float[Tensor, " d_head"]  # noqa: N815
    W_K: Float[Tensor, "d d_head"]
    b_K: Float[Tensor, " d_head"]  # noqa: N815
    W_V: Float[Tensor, "d d_head"]
    b_V: Float[Tensor, " d_head"]  # noqa: N815
    W_O: Float[Tensor, "d_head d"]


class LayerRun(NamedTuple):
    """What the model itself calculates in one layer's attention."""

    x: Float[Tensor, "time d"]
    """The normalised stream that the heads read."""

    pattern: Float[Tensor, "heads time source"]

    written: Float[Tensor, "heads time d"]
    """What each head adds to the stream."""


def normalised(x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """Return states less their mean, divided by their deviation."""
    x = x - x.mean(dim=-1, keepdim=True)
    return x / (x.square().mean(dim=-1, keepdim=True) + EPS).sqrt()


def head_weights(model: Any, layer: int, head: int) -> HeadWeights:
    """Cut one head out of the joint matrices of a GPT-2, with the norm before it folded in.

    Example
    -------
    >>> import sae_nb as sn
    >>> head_weights(sn.load_model("tiny-induction"), 1, 3).W_Q.shape
    torch.Size([64, 16])
    """
    block = model.module.transformer.h[layer]
    gain, offset = block.ln_1.weight.detach().double(), block.ln_1.bias.detach().double()
    joint, bias = (
        of.detach().double() for of in (block.attn.c_attn.weight, block.attn.c_attn.bias)
    )
    n = len(joint) // model.n_heads
    own = slice(head * n, (head + 1) * n)
    weights = zip(joint.chunk(3, dim=1), (bias + offset @ joint).chunk(3), strict=True)
    q, k, v = ((gain[:, None] * W[:, own], b[own]) for W, b in weights)
    return HeadWeights(*q, *k, *v, block.attn.c_proj.weight.detach().double()[own])


@torch.no_grad()
def layer_run(model: Any, text: str, layer: int) -> LayerRun:
    """Run a GPT-2 on a text and return what one layer's attention read, looked at and wrote."""
    attention = model.module.transformer.h[layer].attn
    kept: dict[Any, Tensor] = {}
    norm = model.module.transformer.h[layer].ln_1
    handles = [
        norm.register_forward_pre_hook(lambda _, given: kept.update(x=given[0][0])),
        attention.c_proj.register_forward_pre_hook(lambda _, given: kept.update(z=given[0][0])),
    ]
    try:
        with watching(model, lambda place, seen: kept.update({place.layer: seen.pattern[0]})):
            model.module(model.tokenizer(text, return_tensors="pt").input_ids)
    finally:
        for handle in handles:
            handle.remove()
    z = kept["z"].double().reshape(len(kept["z"]), model.n_heads, -1)
    W_O = attention.c_proj.weight.double().unflatten(0, (model.n_heads, -1))
    written = torch.einsum("thn,hnd->htd", z, W_O)
    return LayerRun(normalised(kept["x"].double()), kept[layer].double(), written)


def letters(model: Any) -> tuple[Float[Tensor, "letters d"], Float[Tensor, "letters d"]]:
    """Return a normalised state for each letter alone, and the direction that its logit is read along."""
    known = model.tokenizer.get_vocab()
    ids = [known[letter] for letter in LETTERS]
    network = model.module
    embedded = network.transformer.wte.weight.detach().double()[ids]
    unembedding = network.lm_head.weight.detach().double()[ids]
    return normalised(embedded), unembedding * network.transformer.ln_f.weight.detach().double()


def copied(model: Any, layer: int, head: int) -> Float[Tensor, "seen answered"]:
    """Return what a head that looks at a letter adds to the logit of each letter."""
    given, answers = letters(model)
    w = head_weights(model, layer, head)
    return given @ w.W_V @ w.W_O @ answers.T


def asked_through(
    model: Any, head: int, earlier: int, *, seed: int | None = None
) -> Float[Tensor, "asks before"]:
    """Return scores of head 1.`head` between the letter that asks and the letter that stood before the key,
    as head 0.`earlier` writes it; with a `seed`, in its place a random matrix as large.
    """
    given, _ = letters(model)
    w, first = head_weights(model, 1, head), head_weights(model, 0, earlier)
    moved = first.W_V @ first.W_O
    if seed is not None:
        drawn = torch.randn(
            moved.shape, generator=torch.Generator().manual_seed(seed), dtype=moved.dtype
        )
        moved = drawn * moved.norm() / drawn.norm()
    return given @ w.W_Q @ (given @ moved @ w.W_K).T / w.W_Q.shape[1] ** 0.5


def own_largest(matrix: Float[Tensor, "n n"]) -> float:
    """Return the share of rows whose largest number is that of their own column."""
    return float((matrix.argmax(dim=1) == torch.arange(len(matrix))).double().mean())


def answers_by_hand(
    texts: Sequence[str],
    asked: Float[Tensor, "asks before"],
    copies: Float[Tensor, "seen answered"],
) -> list[str]:
    """Return the letter that follows each text by two matrices alone: where to look, and what to copy."""
    found = []
    for text in texts:
        row = torch.tensor([LETTERS.index(letter) for letter in text.split()])
        weight = asked[row[-1], row[:-1]].softmax(dim=0)
        found.append(LETTERS[int((weight @ copies[row[1:]]).argmax())])
    return found
