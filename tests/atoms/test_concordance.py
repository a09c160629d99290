"""Firings as lines of text, for a reader who is to name an atom."""

from __future__ import annotations

import numpy as np
import pytest

import sae_nb as sn
from sae_nb.atoms import AtomCatalogue, concordance
from sae_nb.pretrained import load_examples, load_sae

GPT = "tiny-gpt/resid_post.3"


@pytest.fixture(scope="module")
def catalogue() -> AtomCatalogue:
    return load_examples(GPT).catalogue(load_sae(GPT))


def test_the_marked_token_is_the_one_it_fires_on(catalogue: AtomCatalogue) -> None:
    tokens = catalogue.acts.tokens
    assert tokens is not None
    for atom in catalogue.order("frequency", alive_only=True)[5:25].tolist():
        lines = concordance(catalogue, atom, n=4, before=0, after=0)
        rows, strengths = catalogue.strengths(atom)
        first = tokens[int(rows[np.argmax(np.abs(strengths))])]
        assert lines[0].startswith("100%")
        assert f"«{first.strip()}»" in lines[0].replace("↵", "\n")


def test_white_space_shows_as_in_every_figure() -> None:
    acts = sn.capture(
        sn.load_model("tiny-gpt"), ["One day\n\tTom ran home."], "resid_post.3", progress=False
    )
    sae = load_sae(GPT)
    catalogue = AtomCatalogue(sae, acts)
    lines = [
        line
        for atom in catalogue.order(alive_only=True)
        for line in concordance(catalogue, int(atom))
    ]
    assert any("↵" in line for line in lines)
    assert not any(sign in line for line in lines for sign in "\n\t")


def test_one_half_is_the_top_and_the_other_the_middle(catalogue: AtomCatalogue) -> None:
    atom = int(catalogue.order("frequency")[20])
    shares = [int(line.split("%")[0]) for line in concordance(catalogue, atom)]
    assert len(shares) == 20
    assert shares == sorted(shares, reverse=True)
    _, strengths = catalogue.strengths(atom)
    size = np.abs(strengths) / np.abs(strengths).max()
    low, high = (round(100 * float(np.quantile(size, q))) for q in (0.29, 0.81))
    assert all(low <= share <= high for share in shares[10:])
