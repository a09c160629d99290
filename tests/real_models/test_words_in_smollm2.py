"""A word finds its atoms: in the find box, and under it in the text that is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw

import sae_nb as sn
from sae_nb.atoms import AtomCatalogue, examples_of, find_atoms, named
from sae_nb.pretrained import needed_examples
from sae_nb.sessions import names_of

pytestmark = pytest.mark.slow

WORDS = (
    "wedding", "France", "british", "sports", "football", "Paris", "sad", "because", "school", "doctor",
)  # fmt: skip
NEAR = {
    9: {"wedding": "marr", "football": "basketball", "school": "school", "doctor": "medical"},
    16: {"wedding": "marr", "France": "paris", "sad": "sad", "doctor": "medic"},
    23: {"wedding": "marr", "football": "game", "school": "school", "doctor": "medic"},
}
"""What one of the first three atoms that the model lights at a word fires on, by block."""


@cache
def at(block: int) -> Any:
    sae = sn.load_sae(f"smollm2-135m/resid_post.{block}")
    catalogue = needed_examples(sae).catalogue(sae)
    return sae, catalogue, names_of(sae, catalogue, None)


@pytest.mark.parametrize("block", sorted(NEAR))
def test_ten_words_find_atoms_that_fire_on_them(
    block: int, open_real: Callable[[str], Any]
) -> None:
    """In the texts where they stand there, in the running model always; strongest first, dense atoms last."""
    model = open_real("smollm2")
    sae, catalogue, names = at(block)
    for word in WORDS:
        in_texts, live = find_atoms(catalogue, word), find_atoms(catalogue, word, model=model)
        if in_texts.n_places:
            fired, _ = catalogue.strengths(int(in_texts.atoms[0]))
            assert int(in_texts.rows[0]) in fired, word
            assert in_texts.shares[0] >= 0.3, word
        assert len(live), word
        # What is called so comes first, whatever its strength.
        called = np.isin(live.atoms, named(word, catalogue.labels, catalogue.n_atoms))
        dense = catalogue.frequency[live.atoms] > 0.1
        order = [*zip(~called, dense & ~called, -live.strengths, strict=True)]
        assert order == sorted(order), word
        # What the model lights at the word in a sentence of its own.
        acts = sn.capture(
            model, [f"We spoke about {word}"], str(catalogue.acts.hook_point), progress=False
        )
        here = AtomCatalogue(sae, acts).codes.to_dense()[-1].abs()
        assert float(here[live.atoms[:3].tolist()].max()) > 0, word
        if word in NEAR[block]:
            said = " ".join(names.short(atom) for atom in live.atoms[:3].tolist()).casefold()
            assert NEAR[block][word] in said, (word, said)


FIRST = {
    "harvest": "farm", "violin": "music", "Brazil": "greece", "angry": "disappointed", "Tuesday": "today",
    "percent": "%", "kitchen": "bathtub", "the law": "law", "sports": "basketball", "wedding": "bride",
}  # fmt: skip
"""What the first atom found at a word fires on, among its eight strongest."""

NOT_IN_TEXTS = {"violin", "angry", "Tuesday", "kitchen", "the law", "wedding"}
PLURALS = {"dogs": "dog", "houses": "house", "books": "book", "women": "woman"}
"""The same of words in the plural, which an atom of every plural noun fires on, too."""


def fires_on(catalogue: AtomCatalogue, atom: int) -> set[str]:
    """Return what an atom fires on, of its eight strongest examples."""
    strongest = examples_of(catalogue, atom, 8)
    return {one.tokens[one.position - one.first_position].strip().casefold() for one in strongest}


def test_a_word_in_the_plural_finds_what_it_is_about(open_real: Callable[[str], Any]) -> None:
    model, (_, catalogue, _) = open_real("smollm2"), at(16)
    for word, expected in PLURALS.items():
        found = find_atoms(catalogue, word, model=model)
        assert expected in fires_on(catalogue, int(found.atoms[0])), word


def test_the_first_atom_that_a_word_finds_is_about_it(open_real: Callable[[str], Any]) -> None:
    """With the model, of all words; from the texts alone, of those that stand there."""
    model, (_, catalogue, _) = open_real("smollm2"), at(16)
    for word, expected in FIRST.items():
        found = find_atoms(catalogue, word, model=model)
        assert expected in fires_on(catalogue, int(found.atoms[0])), word
        in_texts = find_atoms(catalogue, word)
        assert (len(in_texts) == 0) == (word in NOT_IN_TEXTS), word
        if len(in_texts):
            assert in_texts.atoms[0] == found.atoms[0], word


def test_a_sentence_shows_which_word_lights_what(open_real: Callable[[str], Any]) -> None:
    """Marriage stands under "wedding", grammar under nothing, and a long text reads as a short one does."""
    lens = sw.InputLens(open_real("smollm2"), at(9)[0])
    lens.wait(120)
    lens.text = "They celebrated the wedding with music and a long dinner."
    lens.wait(120)
    under = {word["text"]: word["name"] for word in lens._view.lattice.words}
    assert "marr" in under["wedding"]
    assert "music" in under["music"]
    assert (under["the"], under["and"]) == ("", "")
    assert "wedding" in lens.headline
    assert len(lens.answer.split()) <= 12
    lens.text = "."
    lens.wait(120)
    assert lens.headline == ""
    lens.text = ("They celebrated the wedding with music. " * 50).strip()
    lens.wait(120)
    assert len(lens._view.lattice.words) == 300
    assert sum(bool(word["name"]) for word in lens._view.lattice.words) <= 40
    lens.close()
