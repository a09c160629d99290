"""Whether codes keep distances: closed forms, floor, control, and the row of the report."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import distances_kept
from sae_nb.evaluation.dictionary._distances import _code_cosines, _cosines, _ranks, distances_row
from sae_nb.evaluation.report._measurement import Resampling


def rows(n: int = 120, d: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def any_sae(d: int = 6, n_atoms: int = 12, k: int = 3) -> sn.TopK:
    return sn.TopK(d, n_atoms, k, generator=torch.Generator().manual_seed(1))


def test_codes_that_are_the_rows_keep_every_distance(monkeypatch):
    clock = SimpleNamespace(perf_counter=iter([10.0, 12.5]).__next__)
    monkeypatch.setattr("sae_nb.evaluation.dictionary._distances.time", clock)
    x = rows()
    codes = SparseCodes.from_dense(torch.cat([x - x.mean(dim=0), torch.zeros(120, 6)], dim=1))
    kept = distances_kept(any_sae(), x, codes, n_bootstrap=50)
    assert kept.value == pytest.approx(1, abs=1e-6)
    assert abs(kept.floor) < 0.05
    assert kept.control < 0.95
    assert kept.seconds == 2.5


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


def test_rows_of_no_length_have_no_cosine_and_equal_ones_one_rank() -> None:
    """Below a millionth of the longest; what differs in the tenth digit alone is equal."""
    x = np.array([[1.0, 0], [0, 0], [1e-7, 0], [1e-5, 1e-5]])
    half = 0.5**0.5
    np.testing.assert_allclose(
        _cosines(x), [[1, 0, 0, half], [0] * 4, [0] * 4, [half, 0, 0, 1]], atol=1e-12
    )
    one = np.array([[9.0, 0.5, 0.5 + 2e-10], [0.3, 9, 0.3 + 3e-9], [0.1, 0.2, 9]])
    ranks = _ranks(one)
    assert ranks.tolist() == [[0, 0, 0], [-0.5, 0, 0.5], [-0.5, 0.5, 0]]
    codes = SparseCodes.from_dense(torch.tensor([[3.0, 4], [0, 2], [0, 0]]))
    np.testing.assert_allclose(
        _code_cosines(codes), [[1, 0.8, 0], [0.8, 1, 0], [0, 0, 0]], atol=1e-6
    )


def test_two_rows_have_no_order_and_three_have() -> None:
    x = torch.tensor([[1.0, 0], [0.8, 0.6], [0, 1]])
    codes = SparseCodes.from_dense(x)
    row = distances_row(x, codes, codes, np.arange(3), Resampling(0))
    assert row is not None
    assert (row.value, row.control, row.n) == (pytest.approx(1), pytest.approx(1), 3)
    two = SparseCodes.from_dense(x[:2])
    assert distances_row(x[:2], two, two, np.arange(2), Resampling(0)) is None
    sae = any_sae(2, 2, 1)
    assert distances_kept(sae, x, codes, n_bootstrap=0).n == 3
    with pytest.raises(ValueError, match="at least 3 rows, got 2"):
        distances_kept(sae, x[:2], two)


def test_floor_and_control_are_of_the_codes_they_name() -> None:
    """Three directions 0°, 37° and 90°: the order of each row's two neighbours is kept, or turned around."""
    x = torch.tensor([[1.0, 0], [0.8, 0.6], [0, 1]])
    turned = SparseCodes.from_dense(x[[1, 0, 2]])
    row = distances_row(x, SparseCodes.from_dense(x), turned, np.arange(3), Resampling(0, 5))
    assert row is not None
    order = np.random.default_rng(5).permutation(3)
    near = (x @ x.T).numpy()

    def signs(cosines: np.ndarray) -> np.ndarray:
        return np.array([np.sign(np.diff(np.delete(cosines[i], i))[0]) for i in range(3)])

    kept = signs(near)
    assert row.control == pytest.approx(
        (kept * signs((x @ x.T).numpy()[np.ix_([1, 0, 2], [1, 0, 2])])).mean()
    )
    assert row.floor == pytest.approx((kept * signs(near[np.ix_(order, order)])).mean())


def test_its_interval_is_of_means() -> None:
    x = rows(12)
    codes = SparseCodes.from_dense(x + 0.5 * rows(12, seed=1))
    row = distances_row(x, codes, codes, np.arange(12), Resampling(200))
    assert row is not None
    low, high = row.interval
    assert -1 <= low < row.value < high <= 1
