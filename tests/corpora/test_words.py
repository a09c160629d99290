"""Promises of the words of texts: the same as when each text is joined and read by itself, whatever the tokens."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

import sae_nb as sn
from sae_nb.activations import Context
from sae_nb.corpora import Documents, diff
from sae_nb.corpora._words import WORD, words_of

SPACED = (
    "", " the", "re", "'t", " ", "\n", "a_b", ",", " x1", "É", " d.e", "S", " don't stop", "-", "  Wo", "rd",
)  # fmt: skip
UNSPACED = ("", "play", "##ing", "##", ".", "don", "'", "t", "##é-a", "x y", "#", "Un", "##1")


joined = Context(kind="language").joined


def word_of_each(tokens: list[str]) -> list[str]:
    whole = joined(tokens)
    ends = [len(joined(tokens[: i + 1])) for i in range(len(tokens))]
    if any(token[:1].isspace() for token in tokens):
        ends = list(itertools.accumulate(map(len, tokens)))
    spans = [(w.start(), w.end(), w.group()) for w in WORD.finditer(whole.lower())]
    return [
        next((name for a, b, name in spans if b > begin and a < end), "")
        for begin, end in itertools.pairwise([0, *ends])
    ]


@pytest.mark.parametrize("vocabulary", [SPACED, UNSPACED, UNSPACED + SPACED])
@pytest.mark.parametrize("seed", range(2))
def test_words_are_those_of_the_joined_text(vocabulary: tuple[str, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, 60)
    ids = rng.integers(0, len(vocabulary), lengths.sum()) + 7
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    found = words_of(ids, offsets, {i + 7: name for i, name in enumerate(vocabulary)})
    texts = [[vocabulary[i - 7] for i in ids[a:b]] for a, b in itertools.pairwise(offsets)]
    counter = CountVectorizer(token_pattern=WORD.pattern)
    counts = counter.fit_transform(map(joined, texts))
    assert found.names == tuple(counter.get_feature_names_out())
    assert (found.counts != counts).nnz == 0
    assert found.counts.shape == counts.shape
    names = (*found.names, "")
    for begin, tokens in zip(found.starts, texts):
        mine = found.of_token[begin : begin + len(tokens)]
        assert [names[i] for i in mine] == word_of_each(tokens), tokens


def former_peak(docs: Documents, atom: int) -> str:
    column = docs.matrix.tocsc()[:, [atom]]
    best = np.argsort(-np.abs(column.data), kind="stable")[:5]
    words = []
    for document in column.indices[best]:
        row = slice(*docs.matrix.indptr[document : document + 2])
        entry = row.start + int(np.flatnonzero(docs.matrix.indices[row] == atom)[0])
        ids = docs.context.token_ids.sample(int(docs.sample[document]))  # type: ignore[union-attr]
        tokens = [docs.context.vocabulary[int(i)] for i in ids]
        words.append(word_of_each(tokens)[docs.position[entry]])
    return Counter(words).most_common(1)[0][0] if words else ""


@pytest.fixture(scope="module")
def docs() -> Documents:
    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    found = sn.uses.documents(
        gpt, sae, sn.data.stories(12, seed=1).texts, "resid_post.3", progress=False
    )
    names = {
        i: "" if name.startswith("<|") else name for i, name in found.context.vocabulary.items()
    }
    return replace(found, context=replace(found.context, vocabulary=names))


@pytest.mark.slow
def test_peaks_of_all_atoms_are_those_of_each(docs: Documents) -> None:
    atoms = np.flatnonzero(docs.counts)[:40]
    some = docs.subset([7, 2, 2, 9, 0])
    for corpus in (docs, some):
        together = corpus.peak_words(atoms)
        assert together == [former_peak(corpus, int(atom)) for atom in atoms]
        assert together == [corpus.peak_word(int(atom)) for atom in atoms]
        _ = corpus.words  # all texts are read now, and the answers stay
        assert together == corpus.peak_words(atoms)
    silent = np.flatnonzero(docs.counts == 0)[:1]
    assert docs.peak_words([*silent, *atoms[:1]])[-1] == docs.peak_word(int(atoms[0]))
    assert [docs.peak_word(int(atom)) for atom in silent] == [""] * len(silent)


@pytest.mark.slow
def test_what_words_say_of_a_difference_is_counted_by_hand(docs: Documents) -> None:
    """The word of each atom comes from the side that has more of it, and its shares are exact."""
    a, b = docs.subset(slice(6)), docs.subset(slice(6, 12))
    found = diff(a, b, min_count=2)
    held = [[set(WORD.findall(one.text(i).lower())) for i in range(6)] for one in (a, b)]
    for row in found.table.head(30).itertuples():
        assert row.word == former_peak(a if row.a >= row.b else b, row.atom)
        shares = [np.mean([row.word in words for words in side]) for side in held]
        if row.word:
            assert row.word_difference == pytest.approx(shares[0] - shares[1], abs=1e-12)
        else:
            assert np.isnan(row.word_difference)
