"""Correlations and AUROC: by definition, by hand, and as scipy and scikit-learn have them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from sae_nb.statistics import (
    Bootstrap,
    auroc,
    correlation,
    correlation_p,
    rank_correlation,
    ranks_of,
)


def test_correlation_of_rows_and_of_ranks() -> None:
    """Row by row as numpy's; of ranks, ties among them, scipy's Spearman; 0 where nothing changes."""
    a, b = np.random.default_rng(0).integers(0, 6, (2, 8, 30)).astype(float)
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(correlation(a, b), expected)
    assert correlation(a[0], b[0]) == pytest.approx(expected[0])
    ranks = ranks_of(a, digits=9), ranks_of(b + 1e-12, digits=9)
    spearman = [stats.spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(correlation(*ranks), spearman)
    assert correlation(np.ones(4), np.arange(4.0)) == 0
    for size in (1e300, 1e-300):  # whose squares no number holds
        np.testing.assert_allclose(correlation(a * size, b), expected)
    assert ranks_of(np.array([0.31, 0.12, 0.34, 0.2]), digits=1).tolist() == [3.5, 1, 3.5, 2]


def test_rank_correlation_is_scipys_and_defined_as_asked() -> None:
    """Ranks 1 2 3 and 1 3 2: 1 − 6·2/(3·8); 1 with a growing function; a constant has what is asked for."""
    assert rank_correlation([1.0, 2, 3], [1.0, 3, 2]) == 0.5
    a, b = np.random.default_rng(0).normal(size=(2, 30))
    assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-11)
    assert rank_correlation(a, np.exp(a)) == 1
    assert np.isnan(rank_correlation(a, np.ones(30)))
    assert rank_correlation([], [], undefined=0.0) == 0
    assert rank_correlation(np.ones(30), a, undefined=0.0) == 0
    twelve = rank_correlation(a, b)
    assert twelve == round(twelve, 12)


def test_p_of_a_correlation_is_scipys() -> None:
    """Of numbers and of ranks; of 1 it is 0, of what is undefined undefined."""
    a, b = np.random.default_rng(0).normal(size=(2, 30))
    assert correlation_p(correlation(a, b), 30) == pytest.approx(stats.pearsonr(a, b).pvalue)
    ranked = stats.spearmanr(a, b)
    assert correlation_p(rank_correlation(a, b), 30) == pytest.approx(ranked.pvalue)
    np.testing.assert_array_equal(correlation_p(np.array([1.0, -1.0, np.nan]), 9), [0, 0, np.nan])


def test_auroc_by_hand_and_as_sklearn() -> None:
    """Scores 1, 2, 2, 3 for no, no, yes, yes: 3.5 of 4 pairs; ties count half; weights are repeats."""
    truth = np.array([False, False, True, True])
    scores = np.array([1.0, 2.0, 2.0, 3.0])
    assert auroc(scores, truth).tolist() == [3.5 / 4]
    assert auroc(np.ones(4), truth)[0] == 0.5
    assert auroc(scores[[0, 3]], truth[[0, 3]])[0] == 1
    assert np.isnan(auroc(scores, truth | True)[0])
    generator = np.random.default_rng(0)
    scores, truth = generator.integers(0, 9, 200).astype(float), generator.random(200) < 0.3
    weights = Bootstrap(5).weights(np.arange(200), 200)
    found = auroc(scores, truth, weights)
    for w, value in zip(weights, found, strict=True):
        assert value == pytest.approx(roc_auc_score(truth, scores, sample_weight=w))
