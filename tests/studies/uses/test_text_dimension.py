"""Promises of the dimension of texts: of one length, whatever the batch; by groups; with atoms and counts beside it."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

import sae_nb as sn
from sae_nb_studies.geometry import tree_dimension
from sae_nb_studies.uses import TextDimension, _text_dimension, column_correlations, text_dimension
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


def test_batches_change_nothing() -> None:
    """Three texts at a time."""
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
    """With the interval of a mean, and no text that is too short."""
    result = measured()
    groups = result.groups.set_index("group")
    for kind, own in (("a", result.dimension[0:8:2]), ("b", result.dimension[1:8:2])):
        assert groups["n"][kind] == 4
        assert groups["dimension"][kind] == pytest.approx(own.mean())
        half = 1.96 * own.std(ddof=1) / 2
        assert groups["high"][kind] - groups["low"][kind] == pytest.approx(2 * half)
    assert list(result.groups["dimension"]) == sorted(result.groups["dimension"])
    assert list(result.simpler["count"]) == ["distinct", "tokens"]


def test_atoms_are_correlated_as_numpy_does() -> None:
    """And what they are asked about must be the same texts."""
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


def test_a_column_that_never_changes_correlates_with_nothing() -> None:
    """Zero, not NaN."""
    columns = csr_matrix(np.array([[1.0, 0.0, 2.0], [1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    r = column_correlations(columns, np.array([0.0, 1.0, 2.0]))
    assert r == pytest.approx([0.0, 0.0, -1.0])


def test_bad_input_is_refused_by_name() -> None:
    """Before anything runs, but for texts that turn out too short."""
    model = sn.load_model("tiny-gpt")
    refused("one entry per text, 9, got 1", text_dimension, model, texts(), groups=["a"])
    with pytest.raises(TypeError, match="`groups` must be a list, got 3"):
        text_dimension(model, texts(), groups=cast(Any, 3))
    one = text_dimension(model, texts()[:1], length=LENGTH, progress=False)
    docs = sn.uses.documents(
        model, sn.load_sae("tiny-gpt/resid_post.3"), texts()[:1], "resid_post.3", progress=False
    )
    refused("at least 3 texts of 40 tokens, got 1", one.atoms, docs, min_count=1)
    with pytest.raises(ValueError, match="length=40 .* got at most"):
        text_dimension(model, ["A cat.", "A dog."], length=40, progress=False)
    with pytest.raises(ValueError, match="must read texts"):
        text_dimension(sn.wrap(torch.nn.Sequential(torch.nn.Identity())), texts())
