"""Fine-tuning with a price, or a reward, on one atom: does behaviour follow, and what does it cost?

tiny-gpt goes on learning stories. The atom is drawn among those of block 3 that fire on a hundredth to a fifth of their
tokens; its words are the ten tokens of stories that its direction raises most. Counted is the share of these words in
what is written afterwards, and the loss on held-out stories. Controls: the same price on another atom, whose words are
others, and one on the words themselves, −log(1 − p).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.behaviour import (
    MODEL,
    PLACE,
    first_sentences,
    held_out_loss,
)
from sae_nb_studies.uses import penalty
from sae_nb_studies.uses._synthesis import usual_strengths

SHORT = {"steps": 3, "n_written": 8, "n_draws": 1}
WORDS, FIRES, COMMON = 10, (0.01, 0.2), 0.02
PRICES = {"price": 0.3, "reward": 0.03, "words": 1.0}


class Drawn(NamedTuple):
    """An atom, its words, its usual strength; another atom."""

    atom: int
    words: Int[Tensor, " k"]
    usual: float
    other: int
    other_usual: float


def run(seed: int, *, steps: int = 40, n_written: int = 24, n_draws: int = 1) -> dict[str, float]:
    """Fine-tune in each way for `n_draws` atoms; averages over them."""
    sae, stories = sn.load_sae(f"{MODEL}/{PLACE}"), sn.data.stories(300, seed=30_000 + seed).texts
    held_out = list(sn.data.stories(60, seed=40_000 + seed).texts)
    prompts = first_sentences(n_written, 50_000 + seed)
    found: list[dict[str, float]] = []
    for one in drawn(sae, list(stories), n_draws, seed):
        numbers = {}
        for way, (kind, atom, limit) in {
            "plain": ("", 0, 0.0),
            "price": ("price", one.atom, 0.0),
            "price, other atom": ("price", one.other, 0.0),
            "price on words": ("words", 0, 0.0),
            "reward": ("reward", one.atom, one.usual),
            "reward, other atom": ("reward", one.other, one.other_usual),
        }.items():
            model = sn.load_model(MODEL)
            tune(model, sae, kind, atom, limit, one.words, list(stories), steps, seed)
            numbers[f"{way}: words"] = words_written(model, prompts, one.words, seed)
            numbers[f"{way}: loss"] = held_out_loss(model, held_out)
        found.append(numbers | _against_plain(numbers))
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def _against_plain(numbers: dict[str, float]) -> dict[str, float]:
    plain = max(numbers["plain: words"], 1e-3)
    ways = [name.removesuffix(": words") for name in numbers if name.endswith(": words")]
    kept = {f"{way}: kept": numbers[f"{way}: words"] / plain for way in ways if way != "plain"}
    costs = {
        f"{w}: costs": numbers[f"{w}: loss"] - numbers["plain: loss"] for w in ways if w != "plain"
    }
    return kept | costs


def drawn(sae: Any, stories: list[str], n: int, seed: int) -> list[Drawn]:
    """Draw atoms whose words are common enough to become rarer, each with another whose words are others."""
    model = sn.load_model(MODEL)
    acts = sn.capture(model, stories[:60], PLACE, progress=False)
    codes = sae.encode(acts.x).detach()
    share = np.bincount(codes.atoms.numpy(), minlength=codes.n_atoms) / codes.n_rows
    ids = np.concatenate([model.tokens(text)["id"].to_numpy() for text in stories[:60]])
    often = np.bincount(ids, minlength=model.vocabulary_size or 0) / len(ids)
    module: Any = model.module
    raises = module.get_output_embeddings().weight.detach() @ sae.dictionary.detach().T
    raises[often == 0] = -torch.inf
    words = raises.topk(WORDS, dim=0).indices.T
    common = often[words.numpy()].sum(axis=1)
    usual = usual_strengths(codes)
    able = np.flatnonzero(
        (share > FIRES[0]) & (share < FIRES[1]) & (common > COMMON) & (common < 0.3)
    )
    order = np.random.default_rng(seed).permutation(able).tolist()
    made = []
    for atom in order[:n]:
        other = next(
            j for j in order[::-1] if not set(words[j].tolist()) & set(words[atom].tolist())
        )
        made.append(Drawn(atom, words[atom], float(usual[atom]), other, float(usual[other])))
    return made


def tune(
    model: Any,
    sae: Any,
    kind: str,
    atom: int,
    limit: float,
    words: Int[Tensor, " k"],
    stories: list[str],
    steps: int,
    seed: int,
) -> None:
    """Train in place by AdamW on 16 stories per step, with a price or reward on an atom, or a price on words."""
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.module.parameters(), lr=3e-4)
    of_atom = kind in ("price", "reward")
    term: Any = (
        penalty(model, sae, atom, PLACE, weight=PRICES[kind], limit=limit, reward=kind == "reward")
        if of_atom
        else nullcontext()
    )
    with term:
        for _ in range(steps):
            (batch,) = model.batches(
                [stories[i] for i in rng.choice(len(stories), 16)], batch_size=16
            )
            logits = model.module(batch.token_ids, attention_mask=batch.keep.long()).logits
            on = batch.has_next()
            rows = logits[:, :-1][on]
            loss = torch.nn.functional.cross_entropy(rows, batch.token_ids[:, 1:][on])
            if of_atom:
                loss = loss + term(batch.keep)
            elif kind == "words":
                p = rows.softmax(dim=1)[:, words].sum(dim=1)
                loss = loss - PRICES[kind] * torch.log1p(-p.clamp(max=0.999)).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()


def words_written(model: Any, prompts: list[str], words: Int[Tensor, " k"], seed: int) -> float:
    """Return the share of written tokens that are among the words."""
    new = model.generate(prompts, 40, temperature=1.0, seed=seed, return_ids=True, echo=False)
    return float(
        torch.isin(torch.cat([torch.as_tensor(ids) for ids in new]), words).double().mean()
    )
