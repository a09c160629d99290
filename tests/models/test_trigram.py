"""Promises of the trigram baseline: a distribution, by the book, and hard to beat where it should be."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

TOY = [[1, 2, 3, 1, 2, 4], [1, 2, 3], [5, 1, 2], [3, 3, 3, 1]]


def _every_pair(n_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.meshgrid(np.arange(n_tokens), np.arange(n_tokens))
    return first.ravel(), second.ravel()


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_every_distribution_sums_to_one(seed, trigram):
    """After every pair of tokens, seen or not; no token is impossible."""
    texts = TOY
    if seed is not None:
        generator = np.random.default_rng(seed)
        texts = [(1 + generator.zipf(1.5, 40) % 11).tolist() for _ in range(60)]
    model = trigram.KneserNeyTrigram(texts, n_tokens=12, boundary=0)
    p = model.probabilities(*_every_pair(12))
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-12)
    assert p.min() > 0


def test_it_is_kneser_ney_written_out(trigram):
    """The recursion of the textbook, with dictionaries, on a corpus with every small count."""
    generator = np.random.default_rng(4)
    texts = [(1 + generator.zipf(1.3, 40) % 59).tolist() for _ in range(20)]
    v = 60
    model = trigram.KneserNeyTrigram(texts, n_tokens=v, boundary=0)
    padded = [[0, 0, *text, 0] for text in texts]
    triples = Counter(tuple(t[i : i + 3]) for t in padded for i in range(len(t) - 2))
    pairs = Counter(gram[1:] for gram in triples)
    singles = Counter(gram[1:] for gram in pairs)

    def estimate(table: Counter, gram: tuple[int, ...], lower: float) -> float:
        n = [sum(c == i for c in table.values()) for i in range(5)]
        assert min(n[1:]) > 0, "the corpus of this test must have every count"
        y = n[1] / (n[1] + 2 * n[2])
        d = [0.0, *(i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3))]
        d = [min(max(value, 0.0), i) for i, value in enumerate(d)]
        after = {g: c for g, c in table.items() if g[:-1] == gram[:-1]}
        if not after:
            return lower
        given = sum(d[min(c, 3)] for c in after.values())
        count = table.get(gram, 0)
        return (count - d[min(count, 3)] + given * lower) / sum(after.values())

    seen = generator.permutation(list(triples))[:150]
    unseen = generator.integers(v, size=(150, 3))
    asked = np.concatenate([seen, unseen])
    given = model.probability(*asked.T)
    for (a, b, c), p in zip(asked.tolist(), given, strict=True):
        one = estimate(singles, (c,), 1 / v)
        two = estimate(pairs, (b, c), one)
        assert p == pytest.approx(estimate(triples, (a, b, c), two), abs=1e-12)


def test_a_word_known_from_one_context_only_is_not_expected_elsewhere(trigram):
    """ "Francisco" is frequent but follows "San" alone: a new context expects others more."""
    san, francisco, cat = 1, 2, 3
    texts = [[san, francisco]] * 30 + [[i, cat] for i in range(4, 9)]
    model = trigram.KneserNeyTrigram(texts, n_tokens=12, boundary=0)
    p = model.probabilities(np.array([10]), np.array([11]))[0]
    assert p[cat] > 2 * p[francisco]


def test_a_deterministic_language_costs_almost_nothing(trigram):
    """0 1 2 3 0 1 2 3 …: below 0.1 nats, where guessing costs ln 8."""
    model = trigram.KneserNeyTrigram([[1, 2, 3, 4] * 50], n_tokens=8, boundary=0)
    assert model.nats_per_token([[1, 2, 3, 4] * 20]) < 0.1
    assert model.nats_per_token([[7, 7, 5, 6]]) > math.log(8)


def test_nats_per_token_is_the_mean_over_tokens_and_the_end(trigram):
    """A text of n tokens asks for n + 1."""
    model = trigram.KneserNeyTrigram(TOY, n_tokens=6, boundary=0)
    p = model.probability(np.array([0, 0, 1]), np.array([0, 1, 2]), np.array([1, 2, 0]))
    assert model.nats_per_token([[1, 2]]) == pytest.approx(-np.log(p).mean())
