"""The baseline a small language model must beat: an interpolated Kneser–Ney trigram.

p(c|ab) = max(n(abc) − D, 0)/n(ab·) + λ(ab) p(c|b), lower orders from continuation counts

Run `python benchmarks/trigram.py`: tiny-gpt's held-out nats per token beside those of trigrams fitted
on what it read, its folder of extra texts aside. `--write FOLDER` puts the trigrams' figures into the
card of a model that `python -m sae_nb_studies.recipes.tiny_gpt` has just made; give it the same
`--extra-text`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from sae_nb.data import stories
from sae_nb_studies.recipes import TrainingText, card_text, gather, judged_ids, token_ids

BUNDLED = Path(__file__).parents[1] / "sae_nb" / "models" / "weights" / "tiny-gpt"
N_STORIES = 8_000


class KneserNeyTrigram:
    """Modified interpolated Kneser–Ney over token ids; every text starts and ends with one token.

    Three discounts per order (for counts of 1, 2 and more) as in Chen and Goodman; below the
    unigrams lies the uniform distribution, so no token is impossible.

    Parameters
    ----------
    texts
        Token ids of each text, without `boundary`.
    n_tokens
        Size of the vocabulary.
    boundary
        Token id before and after every text.

    Source
    ------
    Chen and Goodman, An Empirical Study of Smoothing Techniques for Language Modeling (1999), §3.

    Example
    -------
    >>> model = KneserNeyTrigram([[1, 2, 1, 2], [1, 2, 3]], n_tokens=5, boundary=0)
    >>> p = model.probabilities(np.array([1]), np.array([2]))
    >>> p.shape, round(float(p.sum()), 6)
    ((1, 5), 1.0)
    """

    def __init__(self, texts: Iterable[Sequence[int]], n_tokens: int, boundary: int) -> None:
        self.n_tokens, self.boundary = n_tokens, boundary
        grams = [self._windows(ids) for ids in texts if len(ids)]
        if not grams:
            raise ValueError("`texts` must hold at least one token, got none. Give training text.")
        a, b, c = np.concatenate(grams, axis=1)
        v = n_tokens
        triples, n_triples = np.unique((a * v + b) * v + c, return_counts=True)
        # A lower order counts in how many different contexts a token was seen, not how often.
        pairs, n_pairs = np.unique(triples % (v * v), return_counts=True)
        singles, n_singles = np.unique(pairs % v, return_counts=True)
        self._orders = [
            _Order(singles, n_singles, v),
            _Order(pairs, n_pairs, v),
            _Order(triples, n_triples, v),
        ]

    def _windows(self, ids: Sequence[int]) -> Int[ndarray, "3 n"]:
        padded = np.array([self.boundary, self.boundary, *ids, self.boundary], dtype=np.int64)
        return np.stack([padded[:-2], padded[1:-1], padded[2:]])

    def probability(
        self, first: Int[ndarray, " n"], second: Int[ndarray, " n"], token: Int[ndarray, " n"]
    ) -> Float[ndarray, " n"]:
        """Probability of each token after its two predecessors.

        Parameters
        ----------
        first, second
            The two tokens before.
        token
            The token asked for.

        Returns
        -------
        ndarray
            Between 0 and 1, never 0.
        """
        p = np.full(len(token), 1.0 / self.n_tokens)
        v = self.n_tokens
        contexts = (np.zeros_like(second), second, first * v + second)
        for order, context in zip(self._orders, contexts, strict=True):
            p = order.interpolated(context, token, p)
        return p

    def probabilities(
        self, first: Int[ndarray, " n"], second: Int[ndarray, " n"]
    ) -> Float[ndarray, "n n_tokens"]:
        """The whole distribution after each pair of tokens.

        Parameters
        ----------
        first, second
            The two tokens before.

        Returns
        -------
        ndarray
            Rows that sum to 1.
        """
        n, v = len(first), self.n_tokens
        tokens = np.tile(np.arange(v), n)
        return self.probability(np.repeat(first, v), np.repeat(second, v), tokens).reshape(n, v)

    def nats_per_token(self, texts: Iterable[Sequence[int]]) -> float:
        """Mean −ln p over the tokens of some texts and the boundary that ends each.

        Parameters
        ----------
        texts
            Token ids of each text, without the boundary.

        Returns
        -------
        float
            Lower is better; ln of the vocabulary's size is guessing.
        """
        grams = np.concatenate([self._windows(ids) for ids in texts], axis=1)
        return float(-np.log(self.probability(*grams)).mean())


class _Order:
    """Counts of one order: what is left of each after its discount, and what each context gives."""

    def __init__(self, grams: ndarray, counts: ndarray, n_tokens: int) -> None:
        discount = _discounts(counts)[np.minimum(counts, 3)]
        self._n_tokens = n_tokens
        self._grams, self._kept = grams, counts - discount
        self._contexts, row = np.unique(grams // n_tokens, return_inverse=True)
        self._total = np.bincount(row, weights=counts)
        self._given = np.bincount(row, weights=discount)

    def interpolated(self, context: ndarray, token: ndarray, lower: ndarray) -> ndarray:
        row, known = _find(self._contexts, context)
        gram, seen = _find(self._grams, context * self._n_tokens + token)
        kept = np.where(seen, self._kept[gram], 0.0)
        p = (kept + self._given[row] * lower) / self._total[row]
        return np.where(known, p, lower)


def _find(table: ndarray, keys: ndarray) -> tuple[ndarray, ndarray]:
    at = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return at, table[at] == keys


def _discounts(counts: ndarray) -> ndarray:
    """Chen and Goodman's D for counts 0, 1, 2 and 3 or more; ¾ of a count where they need more."""
    n1, n2, n3, n4 = (float((counts == i).sum()) for i in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) == 0:
        return np.array([0.0, 0.75, 0.75, 0.75])
    y = n1 / (n1 + 2 * n2)
    found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.array([0.0, *np.clip(found, 0.0, [1.0, 2.0, 3.0])])


def baselines(
    tokenizer: Any, material: TrainingText, judged: dict[str, list[list[int]]]
) -> dict[str, dict[str, float]]:
    """Nats per token of Kneser–Ney trigrams on held-out texts, by what they were fitted on.

    Parameters
    ----------
    tokenizer
        As the model has it.
    material
        The training text.
    judged
        Name → token ids of held-out texts.

    Returns
    -------
    dict
        "all" → fitted on everything the model reads; then on CPython's text and on stories alone,
        which suits the judged texts better, each → name of the held-out texts → nats per token.
    """
    ids = {name: token_ids(tokenizer, texts) for name, texts in material.sources.items()}
    ids["stories"] = token_ids(tokenizer, stories(N_STORIES, material.seed).texts)
    choices = {"all": list(ids), "cpython": ["prose", "docstrings"], "stories": ["stories"]}
    boundary = int(tokenizer.bos_token_id)
    table = {}
    for label, names in choices.items():
        texts = [text for name in names for text in ids[name]]
        trigram = KneserNeyTrigram(texts, len(tokenizer), boundary)
        table[label] = {k: round(trigram.nats_per_token(v), 4) for k, v in judged.items()}
    return table


def add_to_card(folder: Path, material: TrainingText) -> dict[str, Any]:
    """Write the trigrams' figures into the card of a model, as JSON and as text.

    Parameters
    ----------
    folder
        With tokenizer and `card.json`.
    material
        What the model was trained on.

    Returns
    -------
    dict
        The card.
    """
    card: dict[str, Any] = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card["held_out"]["trigram"] = measured(folder, material)
    (folder / "card.json").write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
    (folder / "card.md").write_text(card_text(card), encoding="utf-8")
    return card


def measured(folder: Path, material: TrainingText) -> dict[str, dict[str, float]]:
    """The baselines on a model's held-out texts, in its own tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    judged = {name: judged_ids(tokenizer, texts) for name, texts in material.held_out.items()}
    return baselines(tokenizer, material, judged)


def main() -> None:
    """Prints the table, or writes it into a card."""
    parser = argparse.ArgumentParser(description="Trigrams that a small language model must beat.")
    parser.add_argument("--write", type=Path, help="folder of a model: write into its card")
    parser.add_argument("--extra-text", type=Path, help="folder of texts that the model read, too")
    given = parser.parse_args()
    folder = given.write or BUNDLED
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    material = gather(given.extra_text, card["seed"])
    if given.write:
        card = add_to_card(folder, material)
    table = card["held_out"]["trigram"] if given.write else measured(folder, material)
    print(f"| held out, nats per token | {card['name']} | {' | '.join(table)} |")
    print("| --- " * (2 + len(table)) + "|")
    for name, nats in card["held_out"]["nats_per_token"].items():
        cells = " | ".join(f"{fitted[name]:.3f}" for fitted in table.values())
        print(f"| {name} | {nats:.3f} | {cells} |")


if __name__ == "__main__":
    main()
