"""Promises of debugging: the ranking is the gradient, controls are of the same size, texts are escaped."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb_studies.uses import Debugged, debug
from sae_nb_studies.uses._writing import Along

pytestmark = pytest.mark.slow

PLACE = "resid_post.3"


def run(gpt: Any, sae: Any, **more: Any) -> Debugged:
    settings = {"max_new_tokens": 12, "n_controls": 1} | more
    return debug(gpt, sae, "The list of", PLACE, **settings)


def test_a_little_less_of_an_atom_costs_what_its_attribution_says(gpt: Any, sae: Any) -> None:
    """The rank is a derivative: of 2 % of two atoms, 2 % of their attribution."""
    found = run(gpt, sae, atoms=[454, 25], strength=0.02)
    exact = (found.table["logp"][0] - found.table["logp"][1]) * len(found.tokens)
    expected = 0.02 * found.atoms["attribution"][found.atoms["chosen"]].sum()
    assert exact == pytest.approx(expected, rel=0.05)


def test_without_its_atoms_the_output_is_less_likely_than_without_random_ones(
    gpt: Any, sae: Any
) -> None:
    output = " the lists of the lists of the lists"
    found = run(gpt, sae, output=output, n_controls=3, score=len)
    by = found.table.groupby("without")["logp"].mean()
    assert by["atoms"] < by["random atoms"] < by["as it was"] + 0.1
    assert found.output == output
    assert len(found.strengths) == len(found.chosen) == 3
    assert found.strengths.shape[1] == len(found.tokens)
    assert found.table["score"].tolist() == [len(text) for text in found.table["text"]]


def test_a_contrast_ranks_by_the_difference_of_means(gpt: Any, sae: Any) -> None:
    found = run(gpt, sae, good=" words.", by="contrast", n=2)
    contrast = found.atoms["contrast"].to_numpy()
    assert (contrast[:-1] >= contrast[1:]).all()
    assert found.chosen == tuple(found.atoms["atom"][:2])


def test_texts_are_escaped_and_the_figure_names_every_token(gpt: Any, sae: Any) -> None:
    found = run(gpt, sae, output=" <b>bold</b>")
    assert "<b>bold" not in found._repr_html_()
    assert "&lt;b&gt;bold" in found._repr_html_()
    assert len(found.plot().layout.xaxis.ticktext) == len(found.tokens)


def test_controls_change_each_position_by_the_same_length(gpt: Any) -> None:
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    acts = sn.capture(gpt, ["The list of the lists"], "resid_post.3", progress=False)
    x = acts.x[None]
    atoms = [454, 25]
    own = x - Along(sae, atoms, 1.5)(x)
    for along in (sae.dictionary[[1, 2]], torch.randn(sae.d_in)):
        other = x - Along(sae, atoms, 1.5, along)(x)
        assert torch.allclose(other.norm(dim=-1), own.norm(dim=-1), atol=1e-3)
        assert not torch.allclose(other, own, atol=1e-2)
