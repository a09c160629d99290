"""Words and phrases by contextual decomposition where it is planted what each brings: negation.

A seed trains a GPT-2 of two blocks from nothing. A row has twelve words; the answer, logit("yes") − logit("no"),
is a sum over phrases: an adjective brings +1 or −1, "very" before it doubles that, "not" before both turns it
over. "not" also comes before other words, where it means nothing. Judged on rows not trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import mse_loss

import sae_nb as sn
from sae_nb_studies.circuits import phrase_contributions, phrase_tree
from sae_nb_studies.circuits._phrases import TreeMethod
from sae_nb_studies.data.tasks import START, Task
from sae_nb_studies.models._small_gpt import new_tokenizer, waves

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

SHORT = {"steps": 30, "texts": 8}
GOOD, BAD = ["good", "kind", "bright", "warm", "brave"], ["bad", "cruel", "grim", "cold", "vile"]
PLAIN = ["the", "dog", "cat", "sun", "road", "house", "a", "walked", "and", "saw", "was", "there"]
WORDS = ("not", "very", "=", "yes", "no", *GOOD, *BAD, *PLAIN)
LENGTH, WIDTH = 12, 64
METHODS: tuple[TreeMethod, ...] = ("alone", "shared", "ablation")


class Phrase(NamedTuple):
    """An adjective with what turns it: its words, first and after the last, and what it brings."""

    first: int
    stop: int
    score: float
    negated: bool


Row = tuple[list[str], list[Phrase]]


def run(seed: int, *, steps: int = 1500, texts: int = 60) -> dict[str, float]:
    """Train, then hold every method's phrases and trees against what is planted, on `texts` rows."""
    model = _trained(seed, steps)
    draws = np.random.default_rng((seed, 1))
    rows = [_row(draws) for _ in range(texts)]
    wrong = [_answer(model, words) - sum(p.score for p in phrases) for words, phrases in rows]
    spread = float(np.var([sum(p.score for p in phrases) for _, phrases in rows]))
    numbers = {"answers: R²": 1 - float(np.mean(np.square(wrong))) / spread}
    for method in METHODS:
        found = [_judged(model, row, method) for row in rows]
        phrases = np.array([one for some, _ in found for one in some if one[0]], float)
        negated = phrases[phrases[:, 4] == 1]
        as_planted = np.sign(negated[:, 1]) == np.sign(negated[:, 0])
        own_sign = np.sign(negated[:, 2]) == -np.sign(negated[:, 0])
        joined = np.array([one for _, some in found for one in some], float).mean(axis=0)
        numbers |= {
            f"{method}: correlation": float(np.corrcoef(phrases[:, 0], phrases[:, 1])[0, 1]),
            f"{method}: negated phrase has its sign": float(as_planted.mean()),
            f"{method}: its adjective has the other": float((as_planted & own_sign).mean()),
            f"{method}: planted phrases joined": float(joined[0]),
        }
        numbers["other words: correlation"] = float(np.corrcoef(phrases[:, 0], phrases[:, 3])[0, 1])
        numbers["random: planted phrases joined"] = float(joined[1])
    return numbers


def _judged(
    model: LiveModel, row: Row, method: TreeMethod
) -> tuple[list[tuple[float, ...]], list[tuple[bool, float]]]:
    """Return per phrase planted score, value, its adjective's value, that of plain words; and phrases joined."""
    words, planted = row
    text = " ".join([*words, "="])
    taken = {i for p in planted for i in range(p.first, p.stop)}
    plain = [i for i in range(LENGTH) if i not in taken and words[i] != "not"] or [LENGTH]
    spans = [
        span
        for i, p in enumerate(planted)
        for at in (plain[i % len(plain)],)
        for span in ((p.first + 1, p.stop + 1), (p.stop, p.stop + 1), (at + 1, at + 2))
    ]
    found = phrase_contributions(model, text, spans, target=("yes", "no"), method=method).value
    values = found.to_numpy().reshape(-1, 3)
    scores = [
        (p.score, *three, p.negated) for p, three in zip(planted, values.tolist(), strict=True)
    ]
    longer = {(p.first, p.stop) for p in planted if p.stop - p.first > 1}
    if not longer:
        return scores, []
    tree = phrase_tree(model, text, target=("yes", "no"), method=method)
    return scores, [(span in tree.spans, _by_chance(*span)) for span in longer]


def _by_chance(first: int, stop: int, draws: int = 400) -> float:
    """Return the share of trees, of neighbours joined at random, in which some words are one group."""
    rng, hits = np.random.default_rng(first * 100 + stop), 0
    for _ in range(draws):
        ends = list(range(LENGTH + 2))
        while len(ends) > 2:
            at = int(rng.integers(1, len(ends) - 1))
            hits += (ends[at - 1], ends[at + 1]) == (first, stop)
            del ends[at]
    return hits / draws


def _answer(model: LiveModel, words: list[str]) -> float:
    logits = model([" ".join([*words, "="])])[0, -1]
    yes, no = model.tokenizer.convert_tokens_to_ids(["yes", "no"])
    return float(logits[yes] - logits[no])


def _trained(seed: int, steps: int) -> LiveModel:
    """Train the model whose answer is the planted sum; of two blocks, from nothing."""
    from transformers import GPT2Config, GPT2LMHeadModel

    task = Task(words=WORDS, length=LENGTH + 2, draw=lambda *_: None, chance=0.5, about="", data="")  # type: ignore[arg-type]
    ids = {word: i for i, word in enumerate(task.vocabulary)}
    sizes: dict[str, Any] = {"n_embd": WIDTH, "n_layer": 2, "n_head": 4, "n_inner": 4 * WIDTH}
    sizes |= {"bos_token_id": 0, "eos_token_id": 0}
    none = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0)
    config = GPT2Config(vocab_size=len(ids), n_positions=LENGTH + 2, **sizes, **none)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = GPT2LMHeadModel(config)
        torch.nn.init.normal_(model.transformer.wte.weight, std=0.3)
    with torch.no_grad():
        model.transformer.wpe.weight.copy_(2 * waves(LENGTH + 2, WIDTH))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.1)
    draws = np.random.default_rng((seed, 0))
    for _ in range(steps):
        rows = [_row(draws) for _ in range(64)]
        read = torch.tensor([[ids[w] for w in (START, *words, "=")] for words, _ in rows])
        planted = torch.tensor([sum(p.score for p in phrases) for _, phrases in rows])
        logits = model(input_ids=read, use_cache=False).logits[:, -1]
        loss = mse_loss(logits[:, ids["yes"]] - logits[:, ids["no"]], planted.float())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return sn.wrap(model.eval(), new_tokenizer(task), name="negation", causal=True)


def _row(draws: np.random.Generator) -> Row:
    """Draw twelve words, and the phrases among them; one adjective at least."""
    while True:
        words: list[str] = []
        phrases: list[Phrase] = []
        while len(words) < LENGTH:
            if draws.random() < 0.55:
                before = ["not"] if draws.random() < 0.25 else []
                words += [*before, PLAIN[draws.integers(len(PLAIN))]]
                continue
            good, negated, doubled = (draws.random(3) < (0.5, 0.3, 0.3)).tolist()
            score = (1.0 if good else -1.0) * (-1 if negated else 1) * (2 if doubled else 1)
            first = len(words)
            adjective = (GOOD if good else BAD)[draws.integers(len(GOOD))]
            words += ["not"] * negated + ["very"] * doubled + [adjective]
            phrases.append(Phrase(first, len(words), score, negated))
        if len(words) == LENGTH and phrases:
            return words, phrases
