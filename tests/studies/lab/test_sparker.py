"""Promises of SparKer: its statistic, its p, and where its kernels come to lie."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from sae_nb_studies.lab import AnomalyTest, SparKer
from sae_nb_studies.lab._sparker_fit import gradients, kernels_at

ANOMALY = torch.tensor([1.6, -1.2])
WIDTHS = (1.5, 0.25)


def drawn(n: int, seed: int, n_odd: int = 0, d_in: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, d_in, generator=generator)
    if n_odd:
        rows[-n_odd:, :2] = ANOMALY + 0.12 * rows[-n_odd:, :2]
    return rows


@pytest.fixture(scope="module")
def found() -> AnomalyTest:
    kernels = SparKer(4, widths=WIDTHS, n_steps=100)
    return kernels.fit(drawn(1000, 0), drawn(330, 1, n_odd=30), n_toys=19)


@pytest.mark.slow
def test_a_clump_is_found(found: AnomalyTest) -> None:
    """The strongest kernel lies on it, no toy reaches the statistic, and the rows nearest to it are its rows."""
    strongest = found.centres[found.amplitudes.argmax()]
    assert float((strongest - ANOMALY).norm()) < 0.3
    assert found.p_value == 1 / 20
    assert found.rejects(0.05)
    assert set(found.nearest(5)[0].tolist()) <= set(range(300, 330))


@pytest.mark.slow
def test_rows_that_differ_have_the_largest_ratio(found: AnomalyTest) -> None:
    """In the clump data are many times denser than the reference; far away the ratio is 1."""
    assert float(found.log_ratio(ANOMALY[None])) > 1
    assert float(found.log_ratio(torch.full((1, 2), 50.0)).abs()) < 1e-6


@pytest.mark.slow
def test_table_counts_rows_within_reach(found: AnomalyTest) -> None:
    """Rows within two widths of a kernel, and how many the reference has there, for the same number of rows."""
    first = found.table.iloc[0]
    at = found.centres[int(first.kernel)]
    near, expected = (
        int(((rows - at).norm(dim=1) <= 0.5).sum()) for rows in (found.data, found.reference)
    )
    assert first.data == near
    assert first.expected == pytest.approx(expected * 330 / 1000)
    assert near > 3 * first.expected


@pytest.mark.slow
def test_one_kernel_as_wide_as_all_counts_rows() -> None:
    """f is then one number, and −2 L twice the log-likelihood ratio of the Poisson number of rows."""
    n, expected = 150, 100.0
    wide = SparKer(1, widths=(1e4, 1e4), n_steps=400)
    found = wide.fit(
        drawn(400, 0), drawn(n, 1), n_toys=0, draw=lambda n, _: torch.randn(n, 2), expected=expected
    )
    ratio = 2 * (n * math.log(n / expected) - (n - expected))
    assert found.statistic == pytest.approx(ratio, rel=1e-3)
    assert float(found.amplitudes) == pytest.approx(math.log(n / expected), rel=1e-2)


def test_competition_shares_a_row_between_equal_kernels() -> None:
    """Two kernels at one place with competition are one kernel; without it they add up."""
    one, two = drawn(60, 0), drawn(40, 1)
    ratios = {}
    for m, competition in ((1, True), (1, False), (2, True), (2, False)):
        kernels = SparKer(m, widths=WIDTHS, competition=competition, n_steps=1)
        fit = kernels.fit(one, two, n_toys=0)
        place = fit.path[:, :1].expand(-1, m, -1)
        same = AnomalyTest(
            settings=kernels,
            reference=one,
            data=two,
            statistic=0.0,
            null=fit.null,
            level=0.05,
            amplitudes=torch.full((m,), 0.7),
            path=place,
            widths=fit.widths,
        )
        ratios[m, competition] = same.log_ratio(two)
    assert torch.allclose(ratios[2, True], ratios[1, True], rtol=1e-4)
    assert torch.allclose(ratios[1, True], ratios[1, False])
    assert torch.allclose(ratios[2, False], 2 * ratios[1, False], rtol=1e-4)


@pytest.mark.parametrize("competition", [True, False])
def test_gradients_are_those_of_the_loss(competition: bool) -> None:
    """By automatic differentiation of L as it is written, with some kernels far from every row."""
    rows, centres = (
        drawn(100, 0).double(),
        drawn(4, 1).double() * torch.tensor([[1], [1], [1], [40]]),
    )
    amplitudes, weight = torch.tensor([1.0, -2.0, 0.5, 3.0]).double(), 1.5
    parts = kernels_at(rows, rows.square().sum(dim=1), centres, 0.6, competition)
    slope = weight * (amplitudes @ parts[0]).exp()
    slope[60:] = -1
    mine = gradients(rows, centres, amplitudes, 0.6, parts, slope)
    given = (centres.requires_grad_(), amplitudes.requires_grad_())
    logs = torch.cdist(centres, rows).square() / (-2 * 0.6**2)
    f = amplitudes @ (logs.exp() * logs.softmax(dim=0) if competition else logs.exp())
    assert torch.allclose(f, amplitudes @ parts[0])
    loss = weight * f[:60].expm1().sum() - f[60:].sum()
    for one, other in zip(mine, torch.autograd.grad(loss, given), strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.slow
def test_the_width_falls_and_then_stays(found: AnomalyTest) -> None:
    """Geometrically from the first to the last in 0.7 of the steps; at once without annealing."""
    widths = found.widths
    assert float(widths[69]) == pytest.approx(0.25)
    assert float(widths[-1]) == pytest.approx(0.25)
    ratio = widths[1:70] / widths[:69]
    assert torch.allclose(ratio, ratio[0])
    assert float(widths[0] / ratio[0]) == pytest.approx(1.5)
    still = SparKer(2, widths=WIDTHS, anneal=False, n_steps=5)
    assert still.fit(drawn(50, 0), drawn(20, 1), n_toys=0).widths.eq(0.25).all()


@pytest.mark.slow
def test_p_values_are_uniform_where_nothing_differs() -> None:
    """By Kolmogorov and Smirnov, over 80 splits of normal rows, ranks spread evenly within their step."""
    kernels = SparKer(2, widths=(1.5, 0.5), n_steps=3)
    rows = drawn(80 * 90, 0).split(90)
    p = [kernels.fit(r[:60], r[60:], n_toys=19, seed=i).p_value for i, r in enumerate(rows)]
    within = torch.rand(80, generator=torch.Generator().manual_seed(1)).numpy() / 20
    assert stats.kstest(p - within, "uniform").pvalue > 0.01


def test_more_toys_than_rows_may_come_fresh() -> None:
    """`draw` makes a Poisson number of rows where `expected` is given, and that number of data where it is not."""
    asked: list[int] = []

    def draw(n: int, generator: torch.Generator) -> Tensor:
        asked.append(n)
        return torch.randn(n, 2, generator=generator)

    kernels = SparKer(1, n_steps=1)
    kernels.fit(drawn(60, 0), drawn(30, 1), n_toys=19, draw=draw)
    assert asked == [30] * 19
    kernels.fit(drawn(60, 0), drawn(30, 1), n_toys=19, draw=draw, expected=200.0)
    assert len(set(asked[19:])) > 5
    assert 180 < sum(asked[19:]) / 19 < 220
