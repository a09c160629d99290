"""Promises of the dimension of texts: of one length, whatever the batch; by groups; with atoms and counts beside it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import sae_nb as sn
from sae_nb_studies.geometry import tree_dimension
from sae_nb_studies.uses import TextDimension, _text_dimension, text_dimension
from tests.refusing import refused

LENGTH = 40


@cache
def texts() -> list[str]:
    return [*sn.data.stories(8, seed=0).texts, "Too short."]


@cache
def measured() -> TextDimension:
    groups = ["a", "b"] * 4 + ["b"]
    return text_dimension(
        sn.load_model("tiny-gpt"), texts(), length=LENGTH, groups=groups, progress=False
    )


@pytest.mark.slow
def test_it_is_the_dimension_of_the_first_tokens() -> None:
    """Those that `capture` keeps, at the last block; a short text has none."""
    acts = sn.capture(sn.load_model("tiny-gpt"), texts(), "resid_post.3", progress=False)
    result = measured()
    for text in (0, 5):
        rows = acts.x[acts.sample == text]
        assert result.dimension[text] == pytest.approx(tree_dimension(rows[:LENGTH]), rel=1e-3)
        assert result.table["tokens"][text] == len(rows)
    assert np.isnan(result.dimension[8])
    assert np.isnan(result.table["distinct"][8])
    assert "8 texts of 40 tokens at resid_post.3" in repr(result)


@pytest.mark.slow
def test_batches_change_nothing() -> None:
    model = sn.load_model("tiny-gpt")
    again = text_dimension(model, texts()[:5], length=LENGTH, batch_size=3, progress=False)
    np.testing.assert_allclose(again.dimension, measured().dimension[:5], rtol=1e-3)


def test_an_infinite_dimension_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree of a text's tokens may grow as fast as their number; means and correlations stay finite."""
    given = iter([3.0, np.inf, 5.0, 4.0, np.inf, np.inf])
    monkeypatch.setitem(_text_dimension._ESTIMATORS, "tree", lambda _x, _seed: next(given))
    model = sn.load_model("tiny-gpt")
    result = text_dimension(model, texts()[:4], length=LENGTH, progress=False)
    assert np.isnan(result.dimension).tolist() == [False, True, False, False]
    assert result.groups["dimension"][0] == pytest.approx(4.0)
    assert np.isfinite(result.simpler.set_index("count")["rho"]["tokens"])
    assert "1 more have no finite dimension" in repr(result)
    refused("finite dimension", text_dimension, model, texts()[:2], length=LENGTH, progress=False)


def test_groups_are_means_of_their_texts_in_order() -> None:
    result = measured()
    groups = result.groups.set_index("group")
    for kind, own in (("a", result.dimension[0:8:2]), ("b", result.dimension[1:8:2])):
        assert groups["n"][kind] == 4
        assert groups["dimension"][kind] == pytest.approx(own.mean())
        half = 1.96 * own.std(ddof=1) / 2
        assert groups["high"][kind] - groups["low"][kind] == pytest.approx(2 * half)
    assert list(result.groups["dimension"]) == sorted(result.groups["dimension"])
    assert list(result.simpler["count"]) == ["distinct", "tokens"]


@pytest.mark.slow
def test_atoms_are_correlated_as_numpy_does() -> None:
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    model = sn.load_model("tiny-gpt")
    docs = sn.uses.documents(model, sae, texts(), "resid_post.3", progress=False)
    table = measured().atoms(docs)
    ranks = np.argsort(np.argsort(measured().dimension[:8]))
    strength = docs.matrix[:8, int(table["atom"][0])].toarray().ravel()
    assert table["r"][0] == pytest.approx(np.corrcoef(strength, ranks)[0, 1])
    assert (table["r"].abs().diff().dropna() <= 0).all()
    refused("9 texts that were measured, got 3", measured().atoms, docs.subset(slice(3)))
    refused("min_count=50", measured().atoms, docs, min_count=50)
