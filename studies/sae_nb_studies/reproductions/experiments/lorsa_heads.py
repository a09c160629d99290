"""An attention layer as heads of one direction (Lorsa): is it as good, are its heads of one kind, is induction found?

Layer 2 of tiny-gpt and layer 1 of tiny-induction, all of whose four heads do induction. A seed draws texts, atoms and
batches; texts that are judged are others. Beside the Lorsa: itself before training (random directions of what each
head writes, the model's own queries and keys), one whose queries and keys are random and stay so, and a transcoder
of as many atoms, which sees the present token alone. In tiny-induction the Lorsa begins with random queries and keys
and learns them. `models` takes "smollm2-135m" too: its layer 17, where three of nine heads do induction.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.architectures import Lorsa
from sae_nb_studies.circuits import lorsa_head_scores

SHORT = {"n_texts": 60, "steps": 40}
LAYERS = {"tiny-gpt": 2, "smollm2-135m": 17, "tiny-induction": 1}
SIZES = {"tiny-gpt": (256, 16), "smollm2-135m": (1152, 32), "tiny-induction": (128, 8)}
"""Atoms, and the most of them at a token."""

N_BEST = 8
KINDS = ("induction", "previous", "same")


def run(
    seed: int, *, n_texts: int = 150, steps: int = 300, models: Sequence[str] = ("tiny-gpt",)
) -> dict[str, float]:
    """Train and judge on layers that are begun as they are, and on tiny-induction from random looks."""
    numbers = _found(seed, steps)
    for name in models:
        numbers |= _whole(name, seed, n_texts, steps)
    return numbers


def letters(n: int, seed: int) -> list[str]:
    """Return texts of thirteen different letters that come again, as tiny-induction reads them."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(26)[:13].tolist() * 2 for _ in range(n)]
    return [" ".join(string.ascii_lowercase[i] for i in row) for row in rows]


def with_random_looks(lorsa: Lorsa, seed: int, *, learned: bool) -> Lorsa:
    """Draw the queries and keys of a Lorsa; learned or fixed."""
    fresh = Lorsa(
        lorsa.d_in,
        lorsa.d_out,
        lorsa.n_atoms,
        lorsa.k,
        n_heads=lorsa.n_heads,
        d_head=lorsa.d_head,
        generator=torch.Generator().manual_seed(seed),
    )
    fresh.frequencies.copy_(lorsa.frequencies)
    for weight in fresh.looking():
        weight.requires_grad_(learned)
    fresh.hook_point, fresh.target_hook_point = lorsa.places
    return fresh


def _whole(name: str, seed: int, n_texts: int, steps: int) -> dict[str, float]:
    model, (n_atoms, k) = sn.load_model(name, "cpu"), SIZES[name]
    texts = sn.data.stories(n_texts, seed=seed).texts
    others = sn.data.stories(n_texts // 5, seed=1_000 + seed).texts
    generator = torch.Generator().manual_seed(seed)
    lorsa = Lorsa.of_layer(model, LAYERS[name], texts[:16], n_atoms, k, generator=generator)
    judged = _capture(model, others, lorsa)
    train = _trainer(_capture(model, texts, lorsa), steps, seed)
    numbers = _kinds(name, "before training", model, lorsa, seed)
    numbers[f"{name}: R², before training"] = _r2(lorsa, judged)
    transcoder = sn.Transcoder(
        lorsa.d_in, lorsa.d_out, n_atoms, k, generator=torch.Generator().manual_seed(seed)
    )
    fixed = with_random_looks(lorsa, seed, learned=False)
    ways = {"Lorsa": lorsa, "token alone": transcoder, "random looks": fixed}
    for way, one in ways.items():
        train(one)
        numbers[f"{name}: R², {way}"] = _r2(one, judged)
    numbers |= _kinds(name, "Lorsa", model, lorsa, seed)
    numbers |= _kinds(name, "random looks", model, fixed, seed)
    own = sn.circuits.head_scores(model, seed=1_000 + seed)
    here = own.layer == LAYERS[name]
    numbers[f"{name}: best own head, induction"] = float(own.score("induction")[here].max())
    roles = np.asarray(own.roles)[here]
    numbers[f"{name}: own heads of one kind"] = float(np.isin(roles, KINDS).mean())
    if name == "tiny-gpt":
        mean = judged[1].x.mean(dim=0)
        clean = _loss(model, others)
        without = _loss(model, others, lorsa.places[1], lambda x: mean.to(x).expand_as(x))
        for way, one in ways.items():
            spliced = _loss(model, others, lorsa.places[1], one)
            numbers[f"{name}: loss recovered, {way}"] = (without - spliced) / (without - clean)
    return numbers


def _found(seed: int, steps: int) -> dict[str, float]:
    name = "tiny-induction"
    model, (n_atoms, k) = sn.load_model(name, "cpu"), SIZES[name]
    texts, others = letters(400, seed), letters(100, 1_000 + seed)
    start = Lorsa.of_layer(model, LAYERS[name], texts[:32], n_atoms, k)
    train = _trainer(_capture(model, texts, start), steps, seed)
    judged = _capture(model, others, start)
    numbers = {}
    for way, learned in (("learned looks", True), ("random looks", False)):
        lorsa = with_random_looks(start, seed, learned=learned)
        train(lorsa)
        numbers[f"{name}: R², {way}"] = _r2(lorsa, judged)
        numbers |= _kinds(name, way, model, lorsa, seed)
    own = sn.circuits.head_scores(model, seed=1_000 + seed)
    best = float(own.score("induction")[own.layer == LAYERS[name]].max())
    return numbers | {f"{name}: best own head, induction": best}


def _kinds(name: str, way: str, model: Any, lorsa: Lorsa, seed: int) -> dict[str, float]:
    scores = lorsa_head_scores(model, lorsa, n_texts=4, seed=1_000 + seed)
    scored = np.isfinite(scores.score("previous"))
    induction = np.sort(np.nan_to_num(scores.score("induction")))
    return {
        f"{name}: heads of one kind, {way}": float(
            np.isin(np.asarray(scores.roles)[scored], KINDS).mean()
        ),
        f"{name}: eighth best induction, {way}": float(induction[-N_BEST]),
        f"{name}: heads that were scored, {way}": float(scored.sum()),
    }


def _capture(model: Any, texts: Sequence[str], lorsa: Lorsa) -> tuple[Any, Any]:
    acts = sn.capture(model, texts, list(lorsa.places), drop_first=False, progress=False)
    return acts[lorsa.places[0]], acts[lorsa.places[1]]


def _trainer(acts: tuple[Any, Any], steps: int, seed: int) -> Callable[[Any], object]:
    return lambda one: sn.train(one, acts, steps=steps, batch_size=1024, seed=seed, progress=False)


def _r2(one: Any, acts: tuple[Any, Any]) -> float:
    with torch.no_grad():
        return float(sn.evaluation.explained_variance(acts[1].x, one(acts[0])))


def _loss(model: Any, texts: Sequence[str], place: str = "", edit: Any = None) -> float:
    """Cross-entropy of the next token, nats."""
    lost: list[Tensor] = []
    for text in texts:
        ids = model.tokenizer([text], return_tensors="pt").input_ids
        with torch.no_grad(), sn.splice(model, place, edit) if edit else nullcontext():
            log_p = model(ids)[0].float().log_softmax(dim=-1)
        lost.append(-log_p[:-1].gather(1, ids[0, 1:, None])[:, 0])
    return float(torch.cat(lost).mean())
