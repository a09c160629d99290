"""Do the five best induction heads of SmolLM2-135M carry the gain on text that comes again?

Random tokens come twice; the gain is the mean log-probability of the second half less that of the first. The five
heads of the largest induction score (measured on other drawn texts) are replaced together by their mean over the
texts, then five random heads of the same layers, not among the twenty best. A seed draws texts and random heads.
And why head 17.4 looks where it looks: beginnings of stories that come again, its score at the last token split into
pairs of atoms of the SAE in front of it; pairs are taken out at random and the score that is left is compared with
what the parts said (`qk`), next to the same numbers shuffled.
tiny-induction, of a short run, has four induction heads in one block: two of them against random heads of block 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

import sae_nb as sn
from sae_nb.circuits import part_places
from sae_nb.models import run as run_model

SHORT = {"n_texts": 2, "n_tokens": 16, "n_random": 2}
NAME = "smollm2-135m"
Heads = Sequence[tuple[int, int]]


def run(
    seed: int,
    *,
    model: str = "smollm2-135m",
    n_texts: int = 6,
    n_tokens: int = 32,
    n_best: int = 5,
    n_random: int = 4,
) -> dict[str, float]:
    """Measure the gain on `n_texts` texts, with the best heads off and `n_random` times with random ones."""
    live = sn.load_model(model, "cpu")
    scores = sn.circuits.head_scores(live, seed=1_000 + seed)
    order = np.argsort(-scores.score("induction"), kind="stable")
    best = [(int(scores.layer[i]), int(scores.head[i])) for i in order[:n_best]]
    among = {(int(scores.layer[i]), int(scores.head[i])) for i in order[: 4 * n_best]}
    rng = np.random.default_rng(seed)
    usual = np.asarray([i for i in range(live.vocabulary_size or 0) if i not in live.special_ids])
    rows = np.stack([rng.choice(usual, n_tokens, replace=False) for _ in range(n_texts)])
    ids = torch.from_numpy(np.concatenate([rows, rows], axis=1))
    untouched = gain(live, ids, n_tokens)
    without = gain(live, ids, n_tokens, best)
    n_heads = int(live.n_heads or 1)
    random = []
    for _ in range(n_random):
        drawn: list[tuple[int, int]] = []
        for layer, _ in best:
            free = [
                (layer, head)
                for head in range(n_heads)
                if (layer, head) not in among and (layer, head) not in drawn
            ]
            drawn.append(free[rng.integers(len(free))])
        random.append(gain(live, ids, n_tokens, drawn))
    lost = (untouched - without) / untouched
    lost_random = (untouched - np.asarray(random)) / untouched
    numbers = {} if live.name != NAME else why(live, seed)
    return numbers | {
        "gain, nats a token": untouched,
        "gain without the five best": without,
        "gain without five random heads": float(np.mean(random)),
        "share lost without the five best": float(lost),
        "share lost without five random heads": float(lost_random.mean()),
        "most lost without five random heads": float(lost_random.max()),
    }


def why(live: sn.LiveModel, seed: int, n: int = 6) -> dict[str, float]:
    """Split the score of head 17.4 on beginnings of stories that come again, and take pairs of atoms out."""
    sae = sn.load_sae(f"{NAME}/resid_post.16")
    tokenizer, rng = live.tokenizer, np.random.default_rng(seed)
    sums, ranks, shuffled, before, without, random = [], [], [], [], [], []
    for text in sn.data.stories(n, seed=seed).texts:
        ids = tokenizer(text).input_ids[:20]
        again = torch.tensor([ids + ids[:9]])
        found = sn.circuits.qk(live, sae, again, layer=17, head=4, key=9, n_random=40, seed=seed)
        table = found.removals
        left, expected = table.difference.to_numpy()[1:], table.expected.to_numpy()[1:]
        sums.append(abs(found.values.sum() - found.difference))
        ranks.append(float(spearmanr(expected, left).statistic))
        shuffled.append(float(spearmanr(rng.permutation(expected), left).statistic))
        before.append(found.attention)
        without.append(found.without)
        random.append(float(found.random.mean()))
    return {
        "sum of the parts less the score, largest": float(np.max(sums)),
        "rank correlation of what the pairs say and what is left": float(np.mean(ranks)),
        "rank correlation, shuffled": float(np.mean(shuffled)),
        "attention of 17.4": float(np.mean(before)),
        "attention of 17.4 without the largest pair": float(np.mean(without)),
        "attention of 17.4 without random pairs": float(np.mean(random)),
    }


def gain(live: sn.LiveModel, ids: Tensor, n_tokens: int, heads: Heads = ()) -> float:
    """Return mean log p of the second half less that of the first; some heads at their mean over the texts."""
    (batch,) = live.batches(ids, batch_size=len(ids))
    batch = batch.to(live.device)
    places, n_heads = part_places(live, "head"), int(live.n_heads or 1)

    def without(layer: int, x: Tensor) -> Tensor:
        parts = x.clone().reshape(*x.shape[:-1], n_heads, -1)
        for of, head in heads:
            if of == layer:
                parts[..., head, :] = parts[..., head, :].mean(dim=(0, 1))
        return parts.flatten(-2)

    puts = [
        (places[layer], lambda x, layer=layer: without(layer, x))
        for layer in sorted({layer for layer, _ in heads})
    ]
    with torch.no_grad():
        logits = run_model(live, batch, put=puts).answer.tensor.float()
    first = logits.shape[1] - ids.shape[1]  # a token before the text
    here = logits[:, first:-1].log_softmax(-1)
    found = here.gather(2, ids[:, 1:, None].to(here.device))[..., 0]
    return float(found[:, n_tokens:].mean() - found[:, : n_tokens - 1].mean())
