"""What is judged clear of a report, and which sample moves a number."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.evaluation import (
    Measurement,
    RowSums,
    comparable,
    explained_variance,
    judge,
    key_rows,
    sums_by_sample,
)

NAN = (math.nan, math.nan)


def measured(
    value: float,
    floor: float | None,
    control: float | None,
    id: str = "r2_pooled",
    interval: tuple[float, float] = NAN,
) -> Measurement:
    return Measurement(
        value=value, floor=floor, control=control, interval=interval, definition=id, n=9, unit="samples"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("m", "verdict"),
    [
        (measured(0.9, 0.0, 0.5, interval=(0.8, 0.95)), "clear"),
        (measured(0.9, 0.0, 0.85, interval=(0.8, 0.95)), "not clear"),  # inside the interval
        (measured(0.9, 0.0, 0.5, interval=(0.5, 0.95)), "not clear"),  # at either end of it
        (measured(0.3, 0.0, 0.5, "nats_read", (0.2, 0.5)), "not clear"),
        (measured(0.9, 0.0, 0.87, interval=(0.899, 0.901)), "not clear"),  # within a twentieth
        (measured(0.3, 0.0, 0.5), "not clear"),  # the control is better
        (measured(-0.1, 0.0, None), "not clear"),  # worse than the floor
        (measured(0.1, 1.0, 0.5, "fvu_pooled"), "clear"),  # lower is better
        (measured(0.6, 1.0, 0.5, "fvu_pooled"), "not clear"),
        (measured(16.0, None, 16.0, "l0_mean"), "description"),
        (measured(math.nan, 0.0, 0.5), "undefined"),
        (measured(1.0, 1.0, 1.0, "shrinkage_gamma"), "not clear"),  # all are at the ideal
        (measured(2.2, 1.0, 1.0, "shrinkage_gamma"), "not clear"),
        (measured(0.1, None, 0.6, "dense_fraction"), "description"),  # no merit by itself
        (measured(0.6, None, 0.1, "dense_fraction"), "not clear"),
        (measured(0.6, 0.0, 0.5, "nats_read"), "not clear"),
        (measured(0.3, 0.0, 0.5, "nats_read"), "clear"),  # 0 is a limit, and no rival
        (measured(0.0, 0.0, 0.0, "duplicate_fraction"), "not clear"),  # perfect, as chance is
        (measured(0.0, 0.0, 0.2, "duplicate_fraction"), "clear"),
        (measured(0.0, None, 0.0, "dead_fraction"), "description"),
        (measured(0.0, None, None, "dead_fraction"), "description"),
        # Nearly perfect, and so is chance: better than the floor alone is no merit.
        (measured(0.998, 0.2, 0.99, "ce_recovered_zero", (0.99, 1.0)), "not clear"),
        (measured(0.998, 0.97, 0.99, "ce_recovered_zero", (0.99, 1.0)), "not clear"),
        (measured(0.9, 0.2, 0.99, "ce_recovered_zero", (0.89, 0.91)), "not clear"),
        (measured(0.004, 2.3, 0.04, "kl_clean_spliced"), "clear"),  # small, and a tenth of chance's
    ],
)
def test_verdicts_by_hand(m: Measurement, verdict: str) -> None:
    assert judge(m)[0] == verdict, judge(m)[1]


def test_a_random_dictionary_is_no_rival_of_rare_atoms() -> None:
    """Of what is dead its control is left out, elsewhere it stays."""
    assert comparable(measured(0.3, None, 0.0, "dead_fraction")).control is None
    assert comparable(measured(0.3, None, 0.1, "dense_fraction")).control == 0.1
    assert judge(measured(0.3, None, 0.0, "dead_fraction"))[0] == "description"


def test_own_measures_come_before_the_short_report_and_six_are_enough() -> None:
    good = measured(0.9, 0.0, 0.3)
    report = dict.fromkeys(["fvu", "l1", "effective_rank", "kl", "l0", "r2", "max_cosine"], good)
    report["mine"] = measured(0.9, 0.0, 0.3, "stability_hungarian")
    found = key_rows(report)
    assert found[0] == "mine"
    assert sorted(found[1:]) == ["effective_rank", "kl", "l0", "max_cosine", "r2"]
    assert key_rows({"fvu": good, "l1": good}) == ["fvu", "l1"]


@pytest.fixture(scope="module")
def rows() -> torch.Tensor:
    planted = sn.data.planted_dictionary(d_in=16, n_atoms=32, k=3, n=1500, seed=0)
    return planted.x


def test_the_most_moving_sample_is_the_one_that_was_spoiled(rows: torch.Tensor) -> None:
    """One sample is made a hundred times as long; R² over all rows is that of `explained_variance`."""
    spoiled = rows.clone()
    spoiled[60:63] *= 30
    sample = torch.arange(len(rows)) // 3
    acts = sn.Activations(spoiled, sample=sample, position=torch.arange(len(rows)) % 3)
    sae = sn.TopK(d_in=16, n_atoms=32, k=3, generator=torch.Generator().manual_seed(0)).eval()
    sums = sums_by_sample(sae, acts)
    found = sums.most_moving("r2_pooled")
    assert found is not None
    assert found.sample == 20
    with torch.no_grad():
        expected = explained_variance(spoiled, sae(spoiled))
    assert found.value == pytest.approx(expected, abs=1e-5)
    assert abs(found.without - found.value) > 5 * found.typical
    assert sums.most_moving("coherence") is None


def test_sums_of_a_sample_are_those_of_its_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    sae = sn.TopK(d_in=4, n_atoms=8, k=2, generator=generator).eval()
    rows = torch.randn(7, 4, generator=generator) + 2
    sample = torch.tensor([3, 3, 5, 5, 5, 9, 9])
    found = sums_by_sample(sae, sn.Activations(rows, sample=sample, position=torch.arange(7)))
    with torch.no_grad():
        x, y, z = rows.double(), sae(rows).double(), sae.encode(rows).to_dense().double()
    dx, dy = x - x.mean(dim=0), y - x.mean(dim=0)
    by_row = {
        "n": torch.ones(7), "e2": ((x - y) ** 2).sum(1), "v2": (dx**2).sum(1),
        "x2": (x**2).sum(1), "xh2": (y**2).sum(1), "xxh": (x * y).sum(1),
        "cos": (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1)),
        "cosc": (dx * dy).sum(1) / (dx.norm(dim=1) * dy.norm(dim=1)),
        "ratio": y.norm(dim=1) / x.norm(dim=1), "l0": (z != 0).sum(1), "l1": z.abs().sum(1),
    }  # fmt: skip
    assert found.samples.tolist() == [3, 5, 9]
    assert found.columns.keys() == by_row.keys()
    for name, values in by_row.items():
        sums = [float(values[sample == s].double().sum()) for s in (3, 5, 9)]
        np.testing.assert_allclose(found.columns[name], sums, rtol=1e-5, err_msg=name)


def test_an_sae_that_reads_sequences_is_judged_by_whole_ones() -> None:
    """The numbers behind a row are those that `evaluate` reports: with the part the past predicts."""
    sae = sn.Temporal(d_in=8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0)).eval()
    sample, position = torch.arange(6).repeat_interleave(5), torch.arange(5).repeat(6)
    x = torch.randn(30, 8, generator=torch.Generator().manual_seed(1))
    acts = sn.Activations.from_tensor(x, sample=sample, position=position)
    found = sums_by_sample(sae, acts).most_moving("r2_pooled")
    assert found is not None
    assert found.value == pytest.approx(sn.evaluate(sae, acts, n_bootstrap=0)["r2"].value, abs=1e-5)
    assert found.n_samples == 6
    assert sums_by_sample(sae, acts, most_rows=7).columns["n"].sum() == 10


def test_leave_one_out_by_hand() -> None:
    sums = RowSums(samples=np.arange(3), columns={"l0": np.array([1.0, 2, 9]), "n": np.ones(3)})
    found = sums.most_moving("l0_mean")
    assert found is not None
    assert (found.sample, found.value, found.without) == (2, 4.0, 1.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("r2_pooled", 0.6), ("fvu_pooled", 0.4), ("mse_token", 1), ("r2_uncentred", 0.8),
     ("cosine_uncentred", 0.5), ("cosine_centred", 0.375), ("norm_ratio", 0.75),
     ("shrinkage_gamma", 0.8), ("l0_mean", 2), ("l1_mean", 2.5)],
)  # fmt: skip
def test_numbers_of_all_samples_follow_from_their_sums(name: str, value: float) -> None:
    columns = {
        "n": [2, 2], "e2": [1, 3], "v2": [4, 6], "x2": [10, 10], "xh2": [8, 4], "xxh": [9, 6],
        "cos": [1.5, 0.5], "cosc": [1, 0.5], "ratio": [2, 1], "l0": [3, 5], "l1": [6, 4],
    }  # fmt: skip
    sums = RowSums(
        samples=np.arange(2), columns={k: np.array(v, float) for k, v in columns.items()}
    )
    found = sums.most_moving(name)
    assert found is not None
    assert found.value == pytest.approx(value)
