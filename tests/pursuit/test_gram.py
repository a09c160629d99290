"""The Gram matrix of an unchanged dictionary is made once, and never outlives a change."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.pursuit import _gram as gram, matching_pursuit


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    gram.forget()
    made: list[torch.Tensor] = []
    original = gram.gram_matrix

    def counted(*arguments: Any, **options: Any) -> torch.Tensor:
        made.append(original(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(gram, "gram_matrix", counted)
    return made


def _problem(n_atoms: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 16, generator=generator)
    dictionary = torch.randn(n_atoms, 16, generator=generator)
    return x, dictionary / dictionary.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("n_atoms", [1, 7, 1024, 1100])
def test_it_is_the_product_of_all_pairs(n_atoms: int) -> None:
    dictionary = torch.randn(n_atoms, 5, dtype=torch.float64)
    assert torch.allclose(gram.gram_matrix(dictionary), dictionary @ dictionary.T, atol=1e-12)


def test_an_unchanged_dictionary_pays_once(made: list[torch.Tensor]) -> None:
    """Through the tensor, its detached self and a parameter that shares its memory."""
    x, dictionary = _problem()
    parameter = torch.nn.Parameter(dictionary)
    for same in (dictionary, dictionary, dictionary.detach(), parameter, parameter.detach()):
        matching_pursuit(x, same, 4)
    with torch.inference_mode():
        matching_pursuit(x, dictionary, 4)
    assert len(made) == 1


def test_a_normalised_dictionary_pays_once_too(made: list[torch.Tensor]) -> None:
    x, dictionary = _problem()
    long = 2 * dictionary
    results = [matching_pursuit(x, long, 4, normalise=True).to_dense() for _ in range(3)]
    assert len(made) == 1
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("how", ["in place", "data", "numpy"])
def test_a_changed_dictionary_is_noticed(how: str, made: list[torch.Tensor]) -> None:
    x, dictionary = _problem()
    matching_pursuit(x, dictionary, 4)
    flipped = -dictionary.clone()
    if how == "in place":
        dictionary.neg_()
    elif how == "data":
        dictionary.data.neg_()
    else:
        np.negative(dictionary.numpy(), out=dictionary.numpy())
    codes = matching_pursuit(x, dictionary, 4)
    assert len(made) == 2
    assert torch.equal(codes.to_dense(), matching_pursuit(x, flipped, 4).to_dense())


def test_a_change_to_a_bad_dictionary_is_refused() -> None:
    x, dictionary = _problem()
    matching_pursuit(x, dictionary, 4)
    dictionary[3] *= 2
    with pytest.raises(ValueError, match="worst is row 3"):
        matching_pursuit(x, dictionary, 4)


def test_training_reuses_the_memory(made: list[torch.Tensor]) -> None:
    """A new version is written where the old one was."""
    x, dictionary = _problem()
    for _ in range(3):
        matching_pursuit(x, dictionary, 4)
        dictionary.neg_()
    assert len({part.data_ptr() for part in made}) == 1


@pytest.mark.slow
def test_it_goes_with_the_dictionary() -> None:
    gram.forget()
    gc.collect()
    before = len(gram._KNOWN)
    x, dictionary = _problem()
    matching_pursuit(x, dictionary, 4)
    assert len(gram._KNOWN) == before + 1
    del dictionary
    gc.collect()
    assert len(gram._KNOWN) == before


def test_an_sae_finds_the_kept_gram_matrix() -> None:
    """The parameter, and `sae.dictionary`, are one dictionary to the cache; a step makes it new."""
    generator = torch.Generator().manual_seed(0)
    x = 3 + torch.randn(200, 8, generator=generator)
    sae = sn.MatchingPursuit(8, 20, 3, generator=generator)
    sae.initialise(x, None)
    sae.encode(x)
    facts = gram.known(sae.dictionary, norms="unit")
    assert facts is not None
    assert facts.grams
    sae.encode(x[:10], k=5)
    sn.matching_pursuit(x, sae.dictionary, 2)
    assert gram.known(sae.operator.weight, norms="unit") is facts
    with torch.no_grad():
        sae.operator.weight.neg_()
    assert gram.known(sae.dictionary, norms="unit") is None
