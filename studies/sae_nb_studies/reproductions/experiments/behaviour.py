"""Behaviours of tiny-gpt, and the atoms that should announce, cause and prevent them.

Repetition: texts that it writes at temperature 0 after the beginnings of prose passages; the atom that
rises most between the first and the last occurrence of four tokens is chosen on one half of the texts and
evaluated on the other. Steps: atoms at full stops before sad sentences of stories, turned up and down
there. Penalty: fine-tuning on stories, half of them sad, with a penalty on the atoms that fire more on
sad stories. Settings were tried on draws of other seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.evaluation.causal._target_odds import repeated_share
from sae_nb_studies.uses import Rise

SHORT = {"n_prompts": 60, "n_stories": 60, "steps": 4, "n_written": 12}
MODEL, PLACE = "tiny-gpt", "resid_post.3"
LOOPS = 0.3
"""Share of repeated 4-grams above which a text counts as a loop."""

EARLY = 20
"""Number of new tokens from which a loop is predicted."""

SAD = (
    r"\blost the\b|angry|fell ill|broke|storm|missed|thieves|ran away|very sad|wept|ashamed|howled|heavy heart|"
    r"lonely|bitter|worst|grief|misery|all was lost"
)
"""Words that mark the sad sentences of `sn.data.stories`."""

N_ATOMS, N_RANDOM, BY = 5, 5, 4.0


def run(
    seed: int, *, n_prompts: int = 300, n_stories: int = 300, steps: int = 60, n_written: int = 100
) -> dict[str, float]:
    """Measure all three once; `steps` of fine-tuning on 16 stories, `n_written` texts per arm."""
    sae = sn.load_sae(f"{MODEL}/{PLACE}")
    return (
        repetition(sae, seed, n_prompts)
        | steps_turned(sae, seed, n_stories, n_written)
        | tuned(sae, seed, n_stories, steps, n_written)
    )


# -------------------------------------------------------------------------------------------------
# Repetition


def repetition(sae: Any, seed: int, n_prompts: int) -> dict[str, float]:
    """Test whether the atom that rises in loops predicts them, and whether texts repeat less without it."""
    model = sn.load_model(MODEL)
    prompts = beginnings(model, n_prompts, seed)
    new: Any = model.generate(prompts, 60, return_ids=True, echo=False)
    whole = [torch.cat(pair) for pair in zip(prompts, new, strict=True)]
    half = n_prompts // 2
    found = sn.uses.repetition(model, sae, whole[:half], PLACE)
    best = found.table.iloc[0]
    test = [i for i in range(half, n_prompts) if len(new[i]) > EARLY]
    loops = np.array([repeated_share(new[i].tolist()) > LOOPS for i in test])
    early = [whole[i][: len(prompts[i]) + EARLY] for i in test]
    strengths = mean_strengths(model, sae, early, len(prompts[0]))
    alive = np.flatnonzero(strengths.sum(axis=0) > 0)
    random = [auroc(loops, strengths[:, j]) for j in drawn(alive, found.atom, 20, seed)]
    counted = [repeated_share(new[i][:EARLY].tolist()) for i in test]
    numbers = {
        "rise": float(best["rise"]),
        "rise floor": float(best["floor"]),
        "loops": float(loops.mean()),
        "auroc atom": auroc(loops, strengths[:, found.atom]),
        "auroc random": float(np.mean(random)),
        "auroc n-grams": auroc(loops, np.array(counted)),
    }
    looping = [prompts[i] for i, on in zip(test, loops) if on]
    return numbers | shortened(
        model, sae, found.atom, looping, drawn(alive, found.atom, N_RANDOM, seed)
    )


def beginnings(model: Any, n: int, seed: int) -> list[Tensor]:
    """Return the first six tokens of `n` different passages of prose, or of as many as there are."""
    texts = sn.data.prose().texts
    order = np.random.default_rng(1000 + seed).permutation(len(texts))
    ids = (torch.tensor(model.tokens(texts[i][:200])["id"].to_numpy()[:6]) for i in order)
    return [row for row in ids if len(row) == 6][:n]


def mean_strengths(model: Any, sae: Any, texts: Sequence[Tensor], first: int) -> np.ndarray:
    """Average every atom's strength over the tokens of each text from `first` on; one row per text."""
    acts = sn.capture(model, list(texts), PLACE, progress=False)
    codes = sae.encode(acts).to_scipy()
    new = np.asarray(acts.position) >= first
    return np.stack(
        [codes[new & (np.asarray(acts.sample) == i)].mean(axis=0).A1 for i in range(len(texts))]
    )


def auroc(on: np.ndarray, score: np.ndarray) -> float:
    """Return the probability that a looping text has the higher score."""
    return float(roc_auc_score(on, score)) if 0 < on.sum() < len(on) else float("nan")


def drawn(alive: np.ndarray, atom: int, n: int, seed: int) -> list[int]:
    """Draw `n` other atoms that fire."""
    return [
        int(j)
        for j in np.random.default_rng(seed).choice(np.setdiff1d(alive, atom), n, replace=False)
    ]


def shortened(
    model: Any, sae: Any, atom: int, prompts: list[Tensor], others: Sequence[int]
) -> dict[str, float]:
    """Compare the share of repeated 4-grams without the atom, and with as much removed along other atoms."""

    def written(along: int | None) -> float:
        change = taking(sae, atom, atom if along is None else along)
        with sn.splice(model, PLACE, change, "not_first", backend="hooks"):
            new = model.generate(prompts, 60, return_ids=True, echo=False)
        return float(np.mean([repeated_share(ids.tolist()) for ids in new]))

    clean = model.generate(prompts, 60, return_ids=True, echo=False)
    before = float(np.mean([repeated_share(ids.tolist()) for ids in clean]))
    atom_drop = before - written(None)
    random_drop = before - float(np.mean([written(other) for other in others]))
    return {
        "repeated": before,
        "atom shortens": atom_drop,
        "random shortens": random_drop,
        "atom ahead of random": atom_drop - random_drop,
    }


def taking(sae: Any, atom: int, along: int) -> Callable[[Tensor], Tensor]:
    """Return x ↦ x − z_j d, where d is the atom's own direction or another atom's."""
    direction = sae.dictionary[along].detach()

    def change(x: Tensor) -> Tensor:
        with torch.no_grad():
            codes = sae.encode(x)
        rows = codes.support.rows[codes.atoms == atom]
        z = x.new_zeros(x.shape[0] * x.shape[1])
        z = z.index_add(0, rows.long(), codes.values[codes.atoms == atom].to(x))
        return x - z.reshape(*x.shape[:2], 1) * direction

    return change


# -------------------------------------------------------------------------------------------------
# Steps


def steps_turned(sae: Any, seed: int, n_stories: int, n_written: int) -> dict[str, float]:
    """Measure how far the share of sad sentences moves from the atoms turned down to the atoms turned up."""
    model = sn.load_model(MODEL)
    found = sad_steps(model, sae, n_stories, seed)
    prompts = first_sentences(n_written, 20_000 + seed)
    ways = {
        by: sn.uses.rise_effect(
            model,
            sae,
            found,
            prompts,
            "sad",
            n=N_ATOMS,
            by=by,
            max_new_tokens=30,
            seed=seed,
            n_controls=3,
        )
        for by in (BY, -BY)
    }
    moved = {
        added: ways[BY].share(added) - ways[-BY].share(added)
        for added in ("atoms", "random atoms", "mean activation")
    }
    return {
        "silhouette": found.silhouette,
        "silhouette shuffled": found.shuffled,
        "sad steps": ways[BY].share("nothing"),
        "steps atoms": moved["atoms"],
        "steps random": moved["random atoms"],
        "steps mean": moved["mean activation"],
        "steps ahead of random": moved["atoms"] - moved["random atoms"],
    }


def sad_steps(model: Any, sae: Any, n_stories: int, seed: int) -> Rise:
    """Find the atoms that rise before sad sentences of stories; sad ones are found by their words."""
    texts = sn.data.stories(n_stories, seed=10_000 + seed).texts
    return sn.uses.rise(model, sae, texts, PLACE, {"sad": SAD})


def first_sentences(n: int, seed: int) -> list[str]:
    """Return the first sentences of stories, which are neither sad nor glad."""
    return [text.split(".")[0] + "." for text in sn.data.stories(n, seed=seed).texts]


# -------------------------------------------------------------------------------------------------
# Penalty


def tuned(sae: Any, seed: int, n_stories: int, steps: int, n_written: int) -> dict[str, float]:
    """Fine-tune without a penalty, with one on the atoms of sad stories, and with one on random atoms."""
    model = sn.load_model(MODEL)
    stories = sn.data.stories(n_stories, seed=30_000 + seed)
    sad = (stories.sentiment == 0).numpy()
    sides = [[text for text, on in zip(stories.texts, sad) if on == side] for side in (True, False)]
    means = [np.asarray(atom_means(model, sae, side)) for side in sides]
    chosen = np.argsort(means[1] - means[0])[:8].tolist()
    alive = np.setdiff1d(np.flatnonzero(means[1] > 0), chosen)
    random = np.random.default_rng(seed).choice(alive, 8, replace=False).tolist()
    held_out = sn.data.stories(200, seed=40_000 + seed)
    glad = [text for text, side in zip(held_out.texts, held_out.sentiment) if side == 1][:60]
    prompts = first_sentences(n_written, 50_000 + seed)
    numbers = {}
    for name, atoms in (("plain", None), ("penalty", chosen), ("random", random)):
        model = sn.load_model(MODEL)
        fine_tuned(model, sae, atoms, stories.texts, sides[1][:60], steps, seed)
        numbers[f"{name} sad"] = sad_share(model, prompts, seed)
        numbers[f"{name} loss"] = held_out_loss(model, glad)
    plain = max(numbers["plain sad"], 1e-6)
    return numbers | {
        "penalty kept": numbers["penalty sad"] / plain,
        "random kept": numbers["random sad"] / plain,
        "penalty costs": numbers["penalty loss"] - numbers["plain loss"],
        "random costs": numbers["random loss"] - numbers["plain loss"],
    }


def atom_means(model: Any, sae: Any, texts: list[str]) -> np.ndarray:
    """Average every atom's strength over all tokens."""
    codes = sae.encode(sn.capture(model, texts, PLACE, progress=False)).to_scipy()
    return codes.mean(axis=0).A1


def fine_tuned(
    model: Any,
    sae: Any,
    atoms: list[int] | None,
    texts: Sequence[str],
    like: list[str],
    steps: int,
    seed: int,
) -> None:
    """Train in place by AdamW on 16 stories per step.

    With `atoms`, a penalty is added: the mean excess of these atoms over their mean on the texts `like`.
    """
    generator = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.module.parameters(), lr=3e-4)
    term = None if atoms is None else sn.uses.penalty(
        model, sae, atoms, PLACE, weight=0.05, like=like
    )  # fmt: skip
    with nullcontext() if term is None else term:
        for _ in range(steps):
            loss, real = loss_of(model, [texts[i] for i in generator.choice(len(texts), 16)])
            total = loss if term is None else loss + term(real)
            optimiser.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()


def loss_of(model: Any, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Return the nats per token, and a mask of the real tokens."""
    (batch,) = model.batches(texts, batch_size=len(texts))
    ids, real = batch.token_ids, batch.keep
    logits = model.module(ids, attention_mask=real.long()).logits
    on = batch.has_next()
    return torch.nn.functional.cross_entropy(logits[:, :-1][on], ids[:, 1:][on]), real


def sad_share(model: Any, prompts: list[str], seed: int) -> float:
    """Return the share of written sentences that contain words of sad ones."""
    import re

    texts = model.generate(prompts, 40, temperature=1.0, seed=seed, echo=False)
    sentences = [part for text in texts for part in text.split(".")[:-1]]
    return float(np.mean([re.search(SAD, part) is not None for part in sentences]))


@torch.no_grad()
def held_out_loss(model: Any, texts: list[str]) -> float:
    """Return the nats per token of held-out stories."""
    return loss_of(model, texts)[0].item()
