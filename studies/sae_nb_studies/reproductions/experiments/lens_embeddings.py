"""How well is an atom's effect on a sentence's embedding foreseen: by the direct path, by a mean Jacobian?

all-MiniLM-L6-v2 has no unembedding: which tokens an atom raises cannot be asked of it. It answers with an
embedding, the mean of its last states over a text's tokens, so what can be asked is where an atom moves that,
and which other texts come closer by it. A Jacobian of the embedding is averaged over some texts; atoms of SAEs
that trained on other texts are added at every token of texts seen by neither, each at its largest strength, and
so are random directions of the same sizes. "Direct path": the embedding moves by the direction itself, as if
the later blocks passed it on unchanged. Seeds draw the SAEs, the texts that they are measured on, and the atoms.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

import sae_nb as sn
from sae_nb.models import run as run_model
from sae_nb.statistics import rank_correlation

SHORT = {"model": "tiny-gpt", "n_fit": 2, "n_train": 60, "steps": 60, "n_atoms": 8}
LENGTH, N_MEASURED, N_REFERENCES = 24, 6, 100
COPIES = 16
"""Of a text in one pass, each differentiated for another number; they divide the width."""

LAYERS = {"early": 1, "middle": 3}
"""Of 6."""


def run(
    seed: int,
    *,
    model: str = "minilm",
    n_fit: int = 8,
    n_train: int = 300,
    steps: int = 250,
    n_atoms: int = 24,
) -> dict[str, float]:
    """Measure two blocks of the encoder.

    `model`: a folder; `n_fit`: texts of the Jacobian; `n_train`, `steps`: texts and steps of the SAEs;
    `n_atoms`: atoms that are measured.
    """
    live = sn.load_model(model)
    layers = LAYERS if live.n_layers == 6 else {"early": 0, "middle": 1}
    train, test = texts_of("train", 0), texts_of("test", seed)
    rows = texts_of("train", seed + 1)
    fitted = set(train[:n_fit])
    rows = [text for text in rows if text not in fitted][:n_train]
    held_out, others = test[:N_MEASURED], test[N_MEASURED : N_MEASURED + N_REFERENCES]
    references = normalize(embeddings(live, others), dim=1)
    numbers: dict[str, float] = {}
    for name, layer in layers.items():
        point = f"resid_post.{layer}"
        jacobian = mean_jacobian(model, n_fit)[layer]
        added = directions(live, point, rows, held_out, seed, steps, n_atoms)
        before = embeddings(live, held_out)
        after = torch.stack([embeddings(live, held_out, point, one) for one in added])
        lens, n = added @ jacobian.T, len(added) // 2
        truth = after - before
        for kind, some in (("", slice(n)), (", random", slice(n, None))):
            for by, guess in (("lens", lens[some]), ("direct path", added[some])):
                key = f"{name}, {by}{kind}"
                numbers |= scores(key, guess, truth[some], before, references)
        another = lens[:n].roll(1, dims=0)
        numbers |= scores(f"{name}, another atom", another, truth[:n], before, references)
        numbers[f"{name}, gained"] = numbers[f"{name}, lens"] - numbers[f"{name}, direct path"]
    return numbers


@cache
def texts_of(split: str, seed: int) -> list[str]:
    """Return paragraphs of documentation in an order that the seed draws."""
    texts = sn.data.prose(split).texts  # type: ignore[arg-type]
    order = np.random.default_rng(seed).permutation(len(texts))
    return [texts[i] for i in order]


def embeddings(
    model: Any, texts: list[str], point: str = "", added: Tensor | None = None
) -> Float[Tensor, "texts d"]:
    """Return the mean of the last states over each text's tokens, with a direction added at every token."""
    last = f"resid_post.{model.n_layers - 1}"
    put = {} if added is None else {point: lambda x: x + added}
    found = []
    for batch in model.batches(texts, batch_size=32, context_length=LENGTH):
        with torch.no_grad():
            states = run_model(model, batch, read=[last], put=put).states[last]
        keep = batch.keep.to(states)[..., None]
        found.append((states * keep).sum(dim=1) / keep.sum(dim=1))
    return torch.cat(found)


@cache
def mean_jacobian(model: str, n_fit: int) -> dict[int, Float[Tensor, "d d"]]:
    """Return ∂ embedding / ∂ (what is added at every token), by layer: the mean over texts, the same for all seeds."""
    live = sn.load_model(model)
    n, d = live.n_layers or 0, live.width() or 0
    last, points = f"resid_post.{n - 1}", [f"resid_post.{layer}" for layer in range(n - 1)]
    sums = torch.zeros(len(points), d, d)
    for text in texts_of("train", 0)[:n_fit]:
        copies = live.batches([text] * COPIES, batch_size=COPIES, context_length=LENGTH)
        ran = run_model(live, next(iter(copies)), read=[last], grad=points)
        embedding = ran.states[last].mean(dim=1)
        leaves = [ran.leaves[point] for point in points]
        for begin in range(0, d, COPIES):
            numbers = embedding.diagonal(begin)[:COPIES]  # another one of each copy
            slopes = torch.autograd.grad(numbers.sum(), leaves, retain_graph=True)
            sums[:, begin : begin + COPIES] += torch.stack([slope.sum(dim=1) for slope in slopes])
    return dict(enumerate(sums / n_fit))


def directions(
    model: Any,
    point: str,
    rows: list[str],
    texts: list[str],
    seed: int,
    steps: int,
    n_atoms: int,
) -> Float[Tensor, "twice_atoms d"]:
    """Return atoms that fire on the texts, each at its largest strength there, then random directions as large."""
    acts, seen = (
        sn.capture(model, part, point, context_length=LENGTH, progress=False)
        for part in (rows, texts)
    )
    torch.manual_seed(seed)
    sae = sn.TopK(acts.d_in, 1024, k=16)
    sn.train(sae, acts, steps=steps, batch_size=512, seed=seed, progress=False)
    generator = torch.Generator().manual_seed(seed)
    strongest = sae.encode(seen.x).max(axis=0).detach()
    alive = (strongest > 0).nonzero().flatten()
    which = alive[torch.randperm(len(alive), generator=generator)[:n_atoms]]
    own = sae.dictionary[which].detach() * strongest[which][:, None]
    random = torch.randn(own.shape, generator=generator)
    return torch.cat([own, normalize(random, dim=1) * own.norm(dim=1, keepdim=True)])


def scores(
    name: str,
    guess: Float[Tensor, "n d"],
    truth: Float[Tensor, "n texts d"],
    before: Float[Tensor, "texts d"],
    references: Float[Tensor, "m d"],
) -> dict[str, float]:
    """Return how foreseen and measured changes compare, mean over directions.

    Rank correlation of the change of cosine similarity with the reference texts, the share of the ten that come
    closest found, and the cosine of the two changes of the embedding itself.
    """
    start = normalize(before, dim=1)

    def nearer(change: Tensor) -> Tensor:
        return ((normalize(before + change, dim=1) - start) @ references.T).mean(dim=0)

    rows = []
    for one, measured in zip(guess, truth, strict=True):
        foreseen, real = nearer(one), nearer(measured)
        both = {*foreseen.topk(10).indices.tolist()} & {*real.topk(10).indices.tolist()}
        cosine = float(torch.cosine_similarity(one, measured.mean(dim=0), dim=0))
        rows.append((rank_correlation(foreseen.numpy(), real.numpy()), len(both) / 10, cosine))
    correlation, hits, cosine = np.array(rows).mean(axis=0).tolist()
    return {name: correlation, f"{name}, hits": hits, f"{name}, cosine": cosine}
