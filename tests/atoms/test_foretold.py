"""Words of a forecast, by hand: thirds, errors, what came, what is not known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sae_nb.atoms import Foretold

NAN = np.nan
TOLD = Foretold(
    stability=np.array([0.8, 0.2, 0.5, NAN, 0.8]),
    spread=np.array([3.0, 3.0, 3.0, NAN, 9.0]),
    errors=(0.1, 2.0),
    came_stability=np.array([0.7, NAN, NAN, NAN, NAN]),
    came_spread=np.array([4.0, NAN, NAN, NAN, NAN]),
    thirds=(0.3, 0.6, 6.0),
    ranks=(0.7, 0.5),
    n_pushed=90,
    n_inputs=12,
    input_word="text",
)


def test_words_are_those_of_outer_thirds() -> None:
    """At least the upper border is steady, at most the lower depends, and spread is said beside."""
    said = [TOLD.words(atom) for atom in range(5)]
    assert said == ["steady", "depends on the text", "in between", "", "steady, spreads"]
    edge = dataclasses.replace(TOLD, thirds=(0.2, 0.8, 3.0))
    assert edge.words(0) == "steady, spreads"
    assert edge.words(1) == "depends on the text, spreads"
    image = dataclasses.replace(TOLD, input_word="image")
    assert image.words(1) == "depends on the image"


def test_sentences_have_numbers_and_what_came() -> None:
    """Foretold with its error, then the push of an atom that was pushed."""
    assert "0.80 ± 0.10" in TOLD.sentence(0)
    assert "3 ± 2 outcomes" in TOLD.sentence(0)
    assert "Pushed in 12 texts: 0.70, over 4" in TOLD.sentence(0)
    assert "Pushed" not in TOLD.sentence(1)
    assert TOLD.sentence(3) == ""
    far = dataclasses.replace(TOLD, came_spread=np.full(5, NAN))  # the equal KL was out of reach
    assert far.sentence(0).endswith("Pushed in 12 texts: 0.70.")
    half = dataclasses.replace(TOLD, errors=(NAN, 2.0), stability=np.full(5, NAN))
    assert "alike" not in half.sentence(4)
    assert "9 ± 2 outcomes" in half.sentence(4)
    assert half.words(4) == "spreads"


@pytest.mark.parametrize("atom", [0, 1])
def test_nothing_foretold_is_said(atom: int) -> None:
    """What came is told all the same."""
    nothing = dataclasses.replace(TOLD, errors=(NAN, NAN))
    said = nothing.sentence(atom)
    assert "cannot be foretold here" in said
    assert "90 atoms" in said
    assert ("Pushed in 12 texts: 0.70" in said) == (atom == 0)
