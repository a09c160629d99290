"""Quiz questions are fair: one option fires, the others do not anywhere in what is shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.atoms import AtomCatalogue
from sae_nb.atoms._quiz import ask_about, askable_atoms


@pytest.fixture(scope="module")
def catalogues() -> list[AtomCatalogue]:
    torch.set_num_threads(1)
    names = ("tiny-vit/resid_post.6", "tiny-gpt/resid_post.3")
    return [sn.load_examples(name).catalogue(sn.load_sae(name)) for name in names]


@pytest.mark.slow
def test_one_option_fires_and_the_others_are_silent(catalogues) -> None:
    """In the whole picture, and in every token shown; answers are at all places."""
    for catalogue in catalogues:
        places = set()
        for atom in askable_atoms(catalogue)[:25]:
            question = ask_about(catalogue, int(atom))
            places.add(question.answer)
            for number, option in enumerate(question.options):
                z = option.heat if option.heat is not None else option.token_strengths
                prefix = [value for _, value in option.prefix]
                fires = bool((np.nan_to_num(np.append(z.ravel(), prefix)) != 0).any())
                assert fires == (number == question.answer)
        assert len(places) >= 4


def test_examples_and_options_are_of_different_samples(catalogues) -> None:
    for catalogue in catalogues:
        question = ask_about(catalogue, int(askable_atoms(catalogue)[3]))
        samples = [e.sample for e in (*question.examples, *question.options)]
        assert len(set(samples)) == len(samples) == 9
        assert question.chance == 0.2


def test_questions_repeat_with_their_seed(catalogues) -> None:
    atom = int(askable_atoms(catalogues[0])[3])
    first, again, other = (ask_about(catalogues[0], atom, seed=s) for s in (0, 0, 1))
    assert [o.row for o in first.options] == [o.row for o in again.options]
    assert [o.row for o in first.options] != [o.row for o in other.options]
