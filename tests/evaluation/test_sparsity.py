"""Counts of active latents against dense numpy; active means z ≠ 0."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb.evaluation.report._measurement import Resampling
from sae_nb.evaluation.report._sparsity import SparsitySums, sparsity_rows


def signed_codes(n: int = 300, n_atoms: int = 20) -> torch.Tensor:
    """Codes of both signs: one atom never fires, one fires always, two cancel out in sum."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, n_atoms, generator=generator)
    z = z * (torch.rand(n, n_atoms, generator=generator) < torch.linspace(0, 0.6, n_atoms))
    z[:, 0] = 0
    z[:, 1] = 1
    z[:, 2] = 0
    z[0, 2], z[1, 2] = 5, -5
    return z


def summed(z: torch.Tensor, size: int) -> SparsitySums:
    sums = SparsitySums(z.shape[1], 30)
    for start in range(0, len(z), size):
        rows = np.arange(start, min(start + size, len(z)))
        sums.update(SparseCodes.from_dense(z[start : start + size]), rows % 30)
    return sums


@pytest.mark.parametrize("size", [300, 41, 1])
def test_rows_equal_dense_arithmetic(size):
    """L0, its quantiles, dead, dense and rare shares, median density."""
    z = signed_codes()
    active = (z != 0).numpy()
    sums = summed(z, size)
    rows = sparsity_rows(sums, sums, Resampling(50))
    l0, density = active.sum(axis=1), active.mean(axis=0)
    assert rows["l0"].value == pytest.approx(l0.mean())
    assert rows["l0_p5"].value == np.quantile(l0, 0.05, method="inverted_cdf")
    assert rows["l0_p95"].value == np.quantile(l0, 0.95, method="inverted_cdf")
    assert rows["dead_fraction"].value == pytest.approx((density == 0).mean())
    assert rows["dense_fraction"].value == pytest.approx((density > 0.1).mean())
    assert rows["rare_fraction"].value == pytest.approx((density < 1e-5).mean())
    assert rows["density_median"].value == pytest.approx(np.median(density))
    assert rows["dead_fraction"].n == 20
    assert rows["l1"].value == pytest.approx(float(z.abs().sum(dim=1).mean()))
    assert sums.signed


def test_an_atom_whose_codes_cancel_is_not_dead():
    sums = summed(signed_codes(), 100)
    assert sums.atom_counts[2] == 2
    assert sums.atom_counts[0] == 0


def test_hoyers_sparsity_of_three_rows_by_hand():
    """(√4 − ‖z‖₁ / ‖z‖₂) / (√4 − 1): 2 − √2 for two equal of four, 1 for one, 0 where nothing is active."""
    z = torch.tensor([[1.0, -1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]])
    l1, hoyer, used = SparsitySums(4, 1)._strengths(SparseCodes.from_dense(z))
    assert (l1.tolist(), used.tolist()) == ([2, 2, 0], [1, 1, 0])
    assert hoyer == pytest.approx([2 - 2**0.5, 1, 0])
    long = SparsitySums(4, 1, np.array([2.0, 1, 1, 1]))._strengths(SparseCodes.from_dense(z))
    assert long[0].tolist() == [3, 2, 0]
    assert long[1] == pytest.approx([2 - 3 / 5**0.5, 1, 0])
    alone = SparsitySums(1, 1)._strengths(SparseCodes.from_dense(torch.ones(2, 1)))
    assert np.isnan(alone[1]).all()


def test_means_are_over_all_rows_and_hoyers_over_those_in_use():
    """Of four rows one is silent; the control has two rows of one atom each."""
    z = torch.tensor([[1.0, -1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [3, 0, 3, 0]])
    sums, control = SparsitySums(4, 2), SparsitySums(4, 2)
    sums.update(SparseCodes.from_dense(z), np.array([0, 1, 0, 1]))
    control.update(SparseCodes.from_dense(torch.eye(4)[:2] * 5), np.array([0, 1]))
    rows = sparsity_rows(sums, control, Resampling(0))
    means = {"l0": (5 / 4, 1), "l1": (10 / 4, 5), "hoyer": ((2 * (2 - 2**0.5) + 1) / 3, 1)}
    for name, (value, floor) in means.items():
        assert (rows[name].value, rows[name].control) == pytest.approx((value, floor))


def test_a_ratio_is_of_sums_and_resampled_with_them():
    above, below = np.array([1.0, 2, 6]), np.array([2.0, 2, 2])
    found = Resampling(200).ratio("agreement", above, below)
    assert (found.value, found.n) == (1.5, 3)
    assert found.interval == Resampling(200).interval(
        np.stack([above, below], 1), lambda s: s[:, 0] / s[:, 1]
    )
    assert 0.5 <= found.interval[0] < 1.5 < found.interval[1] <= 3


def test_atoms_not_seen_yet_are_counted_at_every_doubling():
    """Chunks of 10, 5, 5 and 30 rows; atom 2 fires in rows 10 to 14, atom 3 in row 40, atom 1 never."""
    z = torch.zeros(50, 4)
    z[:, 0], z[10:15, 2], z[40, 3] = 1, 1, -1
    sums, start = SparsitySums(4, 1), 0
    for size in (10, 5, 5, 30):
        part = z[start : start + size]
        sums.update(SparseCodes.from_dense(part), np.zeros(size, dtype=int))
        start += size
    assert sums.dead_by_rows == {10: 0.75, 20: 0.5, 50: 0.25}


def test_stored_zeros_are_not_active():
    """An entry may be kept with the value 0: it counts neither for its row nor for its atom."""
    codes = SparseCodes(
        torch.tensor([1.0, 0.0, 2.0]),
        torch.tensor([0, 1, 1], dtype=torch.int32),
        torch.tensor([0, 2, 3]),
        3,
    )
    sums = SparsitySums(3, 2)
    sums.update(codes, np.array([0, 1]))
    assert sums.atom_counts.tolist() == [1, 1, 0]
    assert sums.l0 == 1.0


def test_controls_over_fewer_rows_say_nothing_on_dead_atoms():
    z = signed_codes()
    rows = sparsity_rows(summed(z, 100), summed(z[:50], 50), Resampling(0))
    assert rows["dead_fraction"].control is None
    assert rows["rare_fraction"].control is None
    assert rows["l0"].control is not None


def test_quantiles_of_l0_are_the_smallest_count_that_so_many_rows_do_not_exceed() -> None:
    """Twenty rows with 1, 2 … 20 atoms: a twentieth, half and nineteen twentieths of them."""
    sums = summed(torch.ones(20, 20).tril(), 20)
    rows = sparsity_rows(sums, sums, Resampling(0))
    found = {name: one.value for name, one in rows.items() if name.startswith("l0_")}
    assert found == {"l0_p5": 1, "l0_p50": 10, "l0_p95": 19}
    assert sums.l0_quantile(0.51) == 11
