"""Heads of five trainings of tiny-induction: do patching and scores name the same, and do pairs of atoms tell why?

A seed trains the model anew (the recipe of tiny-induction). Scores: the larger of induction and previous-token
attention on drawn texts (`head_scores`). Patching: clean outputs of each head put into the corrupted run. Then an
SAE of the first block's output, and for each head of block 1 that is named for induction the split of its score
at the last letter into pairs of atoms (`qk`): the largest pair and random pairs are taken out of the stream, and
the score that is left is compared with what the parts said. Control of the ranks: the same numbers shuffled; of the
largest pair: random ones.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

import sae_nb as sn
from sae_nb.circuits import PatchMap
from sae_nb_studies.recipes.known_circuits import CIRCUIT_RECIPES, train_circuit

SHORT = {"n_texts": 4, "n_pairs": 4, "steps": 300}
RECIPE = "tiny-induction"
LEAST = 0.4
"""Induction score from which a head is asked."""


def run(
    seed: int, *, n_pairs: int = 8, n_texts: int = 12, n_random: int = 40, steps: int = 1_000
) -> dict[str, float]:
    """Train the model with a seed, score and patch its heads, and split the scores of `n_texts` texts."""
    model = trained(seed)
    pairs = sn.data.prompt_pairs("induction", n_pairs, seed=seed, model=model)
    given = model, list(pairs.clean), list(pairs.corrupted), pairs.answers
    patched = sn.circuits.patch(*given, sites="heads", progress=False, seed=seed)
    assert isinstance(patched, PatchMap)
    effect = np.abs(patched.effect)
    scores = sn.circuits.head_scores(model, seed=seed)
    looks = np.fmax(scores.score("previous"), scores.score("induction")).reshape(effect.shape)
    sink = scores.score("sink").reshape(effect.shape)
    numbers = {
        "first by patching is first of its block by score": float(
            looks[0].argmax() == effect[0].argmax()
        ),
        "rank agreement of patching and score": rank_correlation(effect.ravel(), looks.ravel()),
        "rank agreement of patching and first-token attention": rank_correlation(
            effect.ravel(), sink.ravel()
        ),
        "largest effect": float(effect.max()),
        "largest effect of an unnamed head": float(effect[looks < LEAST].max(initial=0.0)),
    }
    return numbers | of_pairs(model, scores, list(pairs.clean), seed, n_texts, n_random, steps)


def trained(seed: int) -> sn.LiveModel:
    """Return tiny-induction trained with a seed."""
    from dataclasses import replace

    recipe = replace(CIRCUIT_RECIPES[RECIPE], seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        train_circuit(recipe, Path(folder))
        found = sorted(Path(folder).rglob("config.json"))
        return sn.load_model(str(found[0].parent))


def of_pairs(
    model: sn.LiveModel,
    scores: sn.circuits.HeadScores,
    texts: list[str],
    seed: int,
    n_texts: int,
    n_random: int,
    steps: int,
) -> dict[str, float]:
    """Take pairs of atoms out and compare what comes of the score with what they said."""
    rng = np.random.default_rng(seed)
    rows = [repeated(rng) for _ in range(400)]
    acts = sn.capture(model, rows, "resid_post.0", progress=False)
    generator = torch.Generator().manual_seed(seed)
    sae = sn.TopK(acts.d_in, n_atoms=128, k=4, generator=generator)
    sn.train(sae, acts, steps=steps, batch_size=512, learning_rate=3e-3, seed=seed, progress=False)
    asked = np.flatnonzero((scores.layer == 1) & (scores.score("induction") >= LEAST))
    kept, before, without, random, ranks, shuffled, told = [], [], [], [], [], [], []
    for text in texts[:n_texts] + rows[: max(0, n_texts - len(texts))]:
        for head in scores.head[asked].tolist():
            found = sn.circuits.qk(
                model, sae, text, layer=1, head=head, n_random=n_random, seed=seed
            )
            if len(found.left) < 8:
                continue
            kept.append(abs(found.values.sum() - found.difference))
            before.append(found.attention)
            without.append(found.without)
            random.append(float(found.random.mean()))
            table = found.removals
            lost = found.difference - table.difference.to_numpy()
            ranks.append(rank_correlation(table.contribution.to_numpy(), lost))
            shuffled.append(rank_correlation(rng.permutation(table.contribution.to_numpy()), lost))
            told.append(found.shares["atoms × atoms"] / found.difference)
    return {
        "sum of the parts less the score, largest": float(np.max(kept)),
        "attention": float(np.mean(before)),
        "attention without the largest pair": float(np.mean(without)),
        "attention without random pairs": float(np.mean(random)),
        "rank correlation of what the pairs say and what is left": float(np.mean(ranks)),
        "rank correlation, shuffled": float(np.mean(shuffled)),
        "share of atoms × atoms": float(np.mean(told)),
        "heads asked": float(len(asked)),
    }


def repeated(rng: np.random.Generator) -> str:
    """Return letters of which a stretch comes twice."""
    letters = rng.permutation(list("abcdefghijklmnopqrstuvwxyz"))
    size, gap = rng.integers(3, 9), rng.integers(0, 8)
    return " ".join([*letters[: size + gap], *letters[:size]])


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's correlation; NaN of a constant."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)
