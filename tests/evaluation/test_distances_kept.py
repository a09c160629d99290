"""Whether codes keep distances: closed forms, floor, control, and the row of the report."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import distances_kept


def rows(n: int = 120, d: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def any_sae(d: int = 6, n_atoms: int = 12, k: int = 3) -> sn.TopK:
    return sn.TopK(d, n_atoms, k, generator=torch.Generator().manual_seed(1))


def test_codes_that_are_the_rows_keep_every_distance():
    x = rows()
    codes = SparseCodes.from_dense(torch.cat([x - x.mean(dim=0), torch.zeros(120, 6)], dim=1))
    kept = distances_kept(any_sae(), x, codes, n_bootstrap=50)
    assert kept.value == pytest.approx(1, abs=1e-6)
    assert abs(kept.floor) < 0.05
    assert kept.control < 0.95


def test_it_is_the_mean_over_rows_of_spearmans_correlation():
    x, codes = rows(40), SparseCodes.from_dense(rows(40, 12, seed=5).relu())
    kept = distances_kept(any_sae(), x, codes, n_bootstrap=0)
    a, b = (torch.nn.functional.normalize(m.double()) for m in (x - x.mean(0), codes.to_dense()))
    near, coded = (a @ a.T).numpy(), (b @ b.T).numpy()
    by_hand = [
        spearmanr(np.delete(near[t], t), np.delete(coded[t], t)).statistic for t in range(40)
    ]
    assert kept.value == pytest.approx(np.mean(by_hand), abs=1e-6)


@pytest.mark.slow
def test_training_keeps_more_than_random_atoms():
    """Rows of planted atoms: a trained SAE is above a dictionary of random atoms with the same L0."""
    planted = sn.data.planted_dictionary(32, d_in=16, n=2000, k=2, seed=0)
    sae = sn.TopK(16, 32, 2, generator=torch.Generator().manual_seed(0))
    sn.train(sae, planted.x, steps=400, batch_size=256, progress=False)
    kept = distances_kept(sae, planted.x, n_rows=400, n_bootstrap=200)
    assert kept.interval[0] > kept.control > kept.floor


@pytest.mark.slow
def test_the_report_has_the_row_over_the_same_rows():
    """With at most 1024 rows the report's row is the function's, floor and control included."""
    x, sae = rows(300), any_sae()
    row, alone = sn.evaluate(sae, x)["distances_kept"], distances_kept(sae, x)
    assert row.value == pytest.approx(alone.value, abs=1e-6)
    assert row.control == pytest.approx(alone.control, abs=1e-6)
    assert row.interval == pytest.approx(alone.interval, abs=1e-6)
    assert row.n == 300


def test_rows_of_one_sample_are_resampled_together():
    x = rows(200)
    acts = sn.Activations.from_tensor(x, sample=torch.arange(200) // 25)
    few, many = (distances_kept(any_sae(), one).interval for one in (acts, x))
    assert few[1] - few[0] != pytest.approx(many[1] - many[0])
