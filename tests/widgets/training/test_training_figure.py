"""The figure of a training: few round ticks, and the same drawing with and without a browser."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from sae_nb_widgets.training._figure import (
    CURVES,
    log_ticks,
    training_figure,
    update_training_figure,
)

from sae_nb.figures import THIN_SPACE, to_svg
from sae_nb.summaries import summarise_training


def records(n: int, **given: float) -> list[SimpleNamespace]:
    """A training of n records."""
    return [
        SimpleNamespace(**({"step": i, "steps": n, "loss": 1 / i, "r2": 1 - 1 / i} | given))
        for i in range(1, n + 1)
    ]


@pytest.mark.parametrize("low", [1e-6, 0.003, 0.11, 0.9, 7.0, 4000.0])
@pytest.mark.parametrize("ratio", [1.05, 2.0, 8.0, 300.0, 1e7])
def test_log_ticks_are_few_and_inside(low: float, ratio: float) -> None:
    """Never more than five, in order, and hardly outside what is drawn."""
    ticks = log_ticks(low, low * ratio)
    assert len(ticks) <= 5
    assert ticks == sorted(set(ticks))
    assert all(0.9 * low <= tick <= 1.1 * low * ratio for tick in ticks)
    if ratio >= 8:
        assert len(ticks) >= 3


def test_small_plots_do_not_overlap() -> None:
    """Rows and columns of axes keep apart, whatever is shown."""
    summary = summarise_training(records(20))
    for strip in (False, True):
        frequency = np.linspace(0, 1, 8) if strip else None
        figure = training_figure([replace(summary, frequency=frequency)], everything=True)
        layout = figure.layout
        rows = [layout.yaxis.domain, layout.yaxis4.domain]
        rows += [layout.yaxis7.domain] if strip else []
        for above, below in pairwise(rows):
            assert below[1] * layout.height < above[0] * layout.height - 25
        assert rows[-1][0] > 0
        columns = [layout.xaxis.domain, layout.xaxis2.domain, layout.xaxis3.domain]
        assert all(left[1] < right[0] for left, right in pairwise(columns))


def test_loss_that_is_not_positive_gets_a_linear_axis() -> None:
    """A logarithm of zero is never asked for, and an axis can change back."""
    figure = training_figure([summarise_training(records(5))])
    assert figure.layout.yaxis2.type == "log"
    update_training_figure(figure, [summarise_training(records(5, loss=-1.0))])
    assert figure.layout.yaxis2.type == "linear"


def test_title_says_the_newest_value_of_a_lone_run() -> None:
    """And only the name where several runs would contradict each other."""
    summary = summarise_training(records(4))
    r2 = [curve.field for curve in CURVES].index("r2")
    alone = training_figure([summary]).layout.annotations[r2].text
    assert alone == f"explained: <b>75.0{THIN_SPACE}%</b>"
    assert (
        training_figure([summary, summary]).layout.annotations[r2].text
        == f"explained (★ best),{THIN_SPACE}%"
    )


def test_still_drawing_has_every_curve() -> None:
    """Readers without JavaScript see it too."""
    svg = to_svg(training_figure([summarise_training(records(30, l0=8.0))]))
    assert "not drawn here" not in svg
    assert svg.count("<polyline") + svg.count("<path") > 3
