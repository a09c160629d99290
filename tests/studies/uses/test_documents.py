"""Promises of documents and of corpora compared: pooled by brute force, sparse, checked, found and not found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import fisher_exact

import sae_nb as sn
from sae_nb.corpora import Documents, documents
from tests.studies.uses.planting import documents_of

TEXTS = (
    "The dog ran to the river.",
    "Anna was sad and wept.",
    "Tom found a lamp and smiled.",
    "It rained.",
)
POINT = "resid_post.3"


@pytest.fixture(scope="module")
def sae() -> sn.SparseAutoencoder:
    return sn.load_sae(f"tiny-gpt/{POINT}")


@pytest.fixture(scope="module")
def docs(gpt: sn.LiveModel, sae: sn.SparseAutoencoder) -> Documents:
    return documents(gpt, sae, TEXTS, POINT, labels={1: "a happy dog"}, progress=False)


def planted(rows: list[list[int]], n_atoms: int = 8) -> Documents:
    """Documents of one position in which exactly these atoms fire, through the public call."""
    x = torch.zeros(len(rows), n_atoms)
    for i, atoms in enumerate(rows):
        x[i, atoms] = 1.0
    return documents_of(x)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["max", "mean", "count"])
def test_pooling_is_that_of_a_dense_matrix(
    pool: Any, gpt: sn.LiveModel, sae: sn.SparseAutoencoder
) -> None:
    docs = documents(gpt, sae, TEXTS, POINT, pool, batch_size=3, progress=False)
    acts = sn.capture(gpt, TEXTS, POINT, keep_special=False, progress=False)
    dense = sae.encode(acts.x).to_dense().detach()
    for i in range(len(TEXTS)):
        mine = dense[acts.sample == i]
        of_max = mine.gather(0, mine.abs().argmax(dim=0)[None])[0]
        wanted = {"max": of_max, "mean": mine.mean(dim=0), "count": (mine != 0).float().sum(dim=0)}[
            pool
        ]
        got = torch.from_numpy(docs.matrix[i].toarray()[0])
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)
        entries = slice(*docs.matrix.indptr[i : i + 2])
        where = torch.from_numpy(docs.position[entries]).long()
        places = (acts.position[acts.sample == i][:, None] == where).int().argmax(dim=0)
        at = mine[places, torch.from_numpy(docs.matrix.indices[entries]).long()]
        torch.testing.assert_close(at.abs(), mine.abs().amax(dim=0)[docs.matrix.indices[entries]])


def test_strongest_bounds_every_document(
    gpt: sn.LiveModel, sae: sn.SparseAutoencoder, docs: Documents
) -> None:
    few = documents(gpt, sae, TEXTS, POINT, strongest=5, progress=False)
    assert np.diff(few.matrix.indptr).max() == 5
    for i in range(len(TEXTS)):
        whole = np.sort(np.abs(docs.matrix[i].data))[-5:]
        assert np.allclose(np.sort(np.abs(few.matrix[i].data)), whole)


def test_a_subset_keeps_texts_positions_and_means(docs: Documents) -> None:
    part = docs.subset([2, 0])
    assert part.text(0) == docs.text(2)
    assert (part.matrix[1] != docs.matrix[0]).nnz == 0
    assert np.array_equal(
        part.position[: len(part.matrix[0].data)], docs.position[slice(*docs.matrix.indptr[2:4])]
    )
    assert len(docs.subset(np.array([True, False, True, False]))) == 2
    assert np.array_equal(part.means[1], docs.means[0])


def test_words_are_those_of_the_text(docs: Documents) -> None:
    """Pieces of a word are that word, and the strongest place of an atom has its word."""
    for place in range(1, int(docs.n_rows[0]) + 1):
        assert docs.word_at(0, place) in {"the", "dog", "ran", "to", "river", ""}
    atom = int(docs.matrix[0].indices[0])
    top = docs.top(atom)
    assert top["text"][0] in TEXTS
    assert top["value"].abs().is_monotonic_decreasing
    assert docs.find("dog") == [1]


@pytest.mark.slow
def test_images_are_documents_of_patches() -> None:
    vit, images = sn.load_model("tiny-vit"), sn.data.scenes(6).images
    docs = documents(
        vit, sn.load_sae("tiny-vit/resid_post.6"), images, "resid_post.6", progress=False
    )
    assert set(docs.n_rows) == {64}
    assert docs.word_at(0, int(docs.position[0])).startswith("patch")
    result = sn.uses.diff(docs.subset(slice(3)), docs.subset(slice(3, 6)), min_count=1)
    assert result.simpler.columns[0] == "channel"
    assert len(result.simpler) == 64


def test_the_strongest_patch_is_drawn_where_it_is() -> None:
    """The one strength that is known of an image is on the patch at its position, behind cls and registers."""
    vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    docs = documents(vit, sae, sn.data.scenes(2).images, "resid_post.6", progress=False)
    (example, *_) = docs.examples(int(docs.counts.argmax()), n=1)
    assert example.heat is not None
    row, column = divmod(example.position - vit.prefix_tokens, example.heat.shape[1])
    assert example.heat[row, column] == example.strength
    assert np.isfinite(example.heat).sum() == 1


def test_shares_differences_and_intervals_are_those_counted_by_hand() -> None:
    """Fisher's test doubles a tail; Newcombe's interval of 56/70 − 48/80 is (.0524, .3339), as published."""
    a = planted([[0]] * 56 + [[1]] * 14)
    b = planted([[0]] * 48 + [[1]] * 32)
    row = sn.uses.diff(a, b).table.set_index("atom").loc[0]
    assert (row.a, row.b) == (0.8, 0.6)
    assert (row.low, row.high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))
    tail = fisher_exact([[56, 14], [48, 32]], alternative="greater")[1]
    assert row.q == pytest.approx(2 * tail)  # of two atoms that mirror each other
    assert row.relative == pytest.approx(0.25)


def test_nothing_differs_within_one_corpus() -> None:
    docs = planted([[0, 1], [2], [3], [0]] * 10)
    assert sn.uses.diff(docs, docs).table["q"].min() == 1.0
