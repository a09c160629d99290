"""Quiz questions are fair: one option fires, the others do not anywhere in what is shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Activations, Context
from sae_nb.atoms import AtomCatalogue
from sae_nb.atoms._quiz import _silent_row, ask_about, askable_atoms
from tests.left_out import numbers_left_out
from tests.small_catalogues import catalogue_of, text_of


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


def test_questions_repeat_with_their_seed(catalogues) -> None:
    atom = int(askable_atoms(catalogues[0])[3])
    first, again, other = (ask_about(catalogues[0], atom, seed=s) for s in (0, 0, 1))
    assert [o.row for o in first.options] == [o.row for o in again.options]
    assert [o.row for o in first.options] != [o.row for o in other.options]


def of_samples(fired: list[list[float]]) -> AtomCatalogue:
    """Samples of one patch row each, on which one atom has these strengths."""
    n, width = len(fired), len(fired[0])
    context = Context(
        kind="vision", n_samples=n, patch_grid=(1, width),
        pictures=torch.zeros(n, 3, 2, 2 * width, dtype=torch.uint8),
    )  # fmt: skip
    acts = Activations.from_tensor(
        torch.ones(n * width, 2), context=context, sample=torch.arange(n).repeat_interleave(width),
        position=torch.arange(width).repeat(n),
    )  # fmt: skip
    return catalogue_of(torch.tensor(fired).reshape(-1, 1), acts=acts)


def test_a_question_shows_the_strongest_row_of_each_sample() -> None:
    """Three samples fire, the strongest first; one of them is the answer, silent ones are the others."""
    catalogue = of_samples([[1, -5], [0, 0], [3, 2], [0, 7], [0, 0]])
    places = set()
    for seed in range(6):
        question = ask_about(catalogue, 0, n_examples=2, n_options=3, seed=seed)
        shown = [one.row for one in question.examples]
        answer = question.options[question.answer]
        assert sorted([*shown, answer.row]) == [1, 4, 7]
        assert shown == sorted(shown, key=[7, 1, 4].index)
        assert answer.strength == {1: -5, 4: 3, 7: 7}[answer.row]
        others = [one for at, one in enumerate(question.options) if at != question.answer]
        assert sorted(one.sample for one in others) == [1, 4]
        assert [one.strength for one in others] == [0, 0]
        assert (question.maximum, question.chance) == (7, pytest.approx(1 / 3))
        places.add(question.answer)
    assert len(places) > 1
    with pytest.raises(ValueError, match="at least 4"):
        ask_about(catalogue, 0, n_examples=3, n_options=3)
    with pytest.raises(ValueError, match="in 2"):
        ask_about(catalogue, 0, n_examples=2, n_options=4)


def test_where_there_are_enough_a_question_is_of_samples_that_reach_half_the_maximum() -> None:
    """Of six samples that fire, four do with 4 and more of 8; the weak two are in no question."""
    catalogue = of_samples([[8], [3], [0], [-4], [5], [1], [6], [0]])
    for seed in range(6):
        question = ask_about(catalogue, 0, n_examples=3, n_options=3, seed=seed)
        answer = question.options[question.answer]
        assert sorted([*(one.row for one in question.examples), answer.row]) == [0, 3, 4, 6]


def test_an_atom_can_be_asked_about_that_fires_in_one_sample_more_than_examples() -> None:
    """Of five samples it fires in three, twice in one of them, and is silent in two."""
    catalogue = of_samples([[1, -5], [0, 0], [3, 0], [0, 7], [0, 0]])
    asked = {
        (n, m): askable_atoms(catalogue, n_examples=n, n_options=m).tolist()
        for n, m in ((2, 3), (3, 3), (2, 4), (1, 2))
    }
    assert numbers_left_out(askable_atoms) == {"n_examples": 4, "n_options": 5}
    assert numbers_left_out(ask_about) == {"n_examples": 4, "n_options": 5, "seed": 0}
    assert asked == {(2, 3): [0], (3, 3): [], (2, 4): [], (1, 2): [0]}


@pytest.mark.parametrize(("at", "row"), [(5, 30), (6, None), (42, None), (43, 30), (54, 30)])
def test_an_atom_is_silent_where_it_is_so_in_the_whole_window(at: int, row: int | None) -> None:
    """Token 30 is shown with 24 tokens before it and 12 after: 6 to 42."""
    n = 55
    z = np.zeros((n, 1))
    z[at] = 1
    catalogue = catalogue_of(z, acts=text_of([f" w{i}" for i in range(n)]).acts)
    only: Any = SimpleNamespace(permutation=lambda _: np.array([30]))
    assert _silent_row(catalogue, 0, 0, only) == row
