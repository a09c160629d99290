"""Do groups of atoms that behave alike over prompts hold together on prompts of other words?

tiny-gpt and its bundled transcoders read the beginning of a sentence with different names in it. The seed
draws the sentences, and for each the names that groups are made from and those that groups are judged on.
Atoms are those of all four layers, and for the transfer of early layers those of the first two only. A group
at the last token is named after the word that most of its atoms raise; this word is compared with the tokens
that the model finds likely there. The floor is the same comparison with another sentence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb_studies.circuits import PromptGroups, probe_prompts

SHORT = {"n_prompts": 2, "sentences": 1}
SENTENCES = (
    "One day {} went to the",
    "That same night {} lost the",
    "A week later {} was very",
    "In the end {} came home with the",
    "Once upon a time {} had a",
    "The next day {} gave her the",
)
PEOPLE = (
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jack", "Lucy", "Max", "Nora",
    "Oscar", "Rose", "Tom",
)  # fmt: skip
LIKELY = 20
"""A word is likely if it is among this many likeliest next tokens."""


def run(seed: int, *, n_prompts: int = 3, sentences: int = 4) -> dict[str, float]:
    """Group the atoms on `n_prompts` prompts of each of some sentences, and judge them on as many others."""
    rng = np.random.default_rng(seed)
    model = sn.load_model("tiny-gpt")
    transcoders = [sn.load_sae(f"tiny-gpt/mlp.{layer}") for layer in range(model.n_layers)]  # type: ignore[arg-type]  # it has blocks
    chosen = [SENTENCES[i] for i in rng.choice(len(SENTENCES), sentences, replace=False)]
    drawn = [families(model, sentence, n_prompts, rng) for sentence in chosen]
    whole = [grouped(model, transcoders, pair, seed) for pair in drawn]
    early = [grouped(model, transcoders[:2], pair, seed) for pair in drawn]
    numbers = means(whole) | {"early transfer": means(early)["behaviour transfer"]}
    for measure in ("consistency", "similarity"):
        of = {way: numbers[f"{way} {measure}"] for way in ("behaviour", "direction")}
        numbers[f"{measure} ahead"] = of["behaviour"] - of["direction"]
    return numbers | said(model, whole)


def families(
    model: Any, sentence: str, n: int, rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Return two lists of the sentence with different names, all of the commonest number of tokens."""
    lengths = [len(model.tokens(sentence.format(name))) for name in PEOPLE]
    usual = max(set(lengths), key=lengths.count)
    names = [name for name, length in zip(PEOPLE, lengths, strict=True) if length == usual]
    order = rng.permutation(len(names))[: 2 * n]
    texts = [sentence.format(names[i]) for i in order]
    return texts[: len(texts) // 2], texts[len(texts) // 2 :]


def grouped(
    model: Any, transcoders: list[Any], pair: tuple[list[str], list[str]], seed: int
) -> PromptGroups:
    """Group the atoms for one sentence."""
    return probe_prompts(model, transcoders, pair[0], held_out=pair[1], seed=seed)


def means(found: list[PromptGroups]) -> dict[str, float]:
    """Average every measure of every way of grouping over sentences."""
    tables = [one.comparison.set_index("way") for one in found]
    return {
        f"{way} {measure}": float(np.nanmean([table.loc[way, measure] for table in tables]))
        for way in tables[0].index
        for measure in ("consistency", "similarity", "transfer")
    }


def said(model: Any, found: list[PromptGroups]) -> dict[str, float]:
    """Return the share of groups' words that the model finds likely there, and in the next sentence."""
    likely = [next_words(model, one.held_out) for one in found]
    own, other, n = [], [], 0
    for i, one in enumerate(found):
        names = one.groups.group[one.groups.role == "say"]
        words = [name.removeprefix("say “").removesuffix("”") for name in names]
        n += len(words)
        own += [word in likely[i] for word in words]
        other += [word in likely[(i + 1) % len(found)] for word in words]
    numbers = {"say groups": n / len(found)}
    return numbers | (
        {"said": float(np.mean(own)), "said elsewhere": float(np.mean(other))} if n else {}
    )


def next_words(model: Any, texts: tuple[str, ...]) -> set[str]:
    """Return the likeliest next tokens after any of some texts of one length."""
    (batch,) = model.batches(list(texts), batch_size=len(texts))
    with torch.no_grad():
        logits = model.main_output(model.forward(batch))[:, -1]
    ids = logits.topk(LIKELY).indices.unique().tolist()
    return {model.tokenizer.decode([i]).strip() for i in ids}
