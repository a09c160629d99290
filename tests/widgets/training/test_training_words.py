"""The title of a training against its records and its looks at rows that stay the same."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sae_nb_widgets.training._figure import training_figure
from sae_nb_widgets.training._gallery import training_answer, training_title

from sae_nb.training import TrainingHistory

LOOKED = 40
"""Looks, one a record."""


def summary(
    batches: list[float], held: list[float] | None, name: str = "run", state: str = "done"
) -> Any:
    history = TrainingHistory(name)
    n = len(batches)
    history.extend(
        [
            SimpleNamespace(step=i, steps=n, loss=1 - r2, r2=r2, l0=16.0, dead_fraction=0.0)
            for i, r2 in enumerate(batches, 1)
        ]
    )
    made = history.summary(state=state)
    looks = [] if held is None else list(enumerate(held, 1))
    return made.on_fixed_rows(looks, held_out=held is not None)


def curve(start: float, peak: int, after: float) -> list[float]:
    """R² that rises to .9 at a step and then changes by `after` a step."""
    return [
        0.9 - start * (peak - i) / peak if i <= peak else 0.9 + after * (i - peak)
        for i in range(1, LOOKED + 1)
    ]


@settings(max_examples=200, deadline=None)
@given(
    peak=st.integers(1, LOOKED),
    after=st.sampled_from([-0.004, -0.0005, 0.0, 0.0005]),
    noise=st.sampled_from([0.0, 0.02]),
    batch=st.sampled_from([-0.001, 0.0, 0.001]),
    held_out=st.booleans(),
    state=st.sampled_from(["running", "done"]),
)
def test_stop_is_said_only_where_held_out_rows_lose_and_batches_gain(
    peak: int, after: float, noise: float, batch: float, held_out: bool, state: str
) -> None:
    held = curve(0.3, peak, after)
    held = [r2 + noise * (i % 2) for i, r2 in enumerate(held)]
    batches = [0.9 + batch * i for i in range(LOOKED)]
    found = summary(batches, held if held_out else None, state=state)
    title = training_title([found])
    best = int(np.argmax(held))
    since = held[best:]
    wobble = max((abs(a - b) for a, b in pairwise(since)), default=0.0)
    gained = float(np.median(batches[-5:])) > float(np.median(batches[max(best - 4, 0) : best + 1]))
    stop = held_out and LOOKED - 1 - best > LOOKED / 5 and held[best] - held[-1] > wobble and gained
    memorised = held_out and float(np.median(batches[-5:])) - held[-1] > 0.1
    assert title.startswith("Stop at step") == (stop and not memorised)
    if title.startswith("Stop"):
        assert f"step {best + 1}:" in title
        said, numbers = training_answer([found])
        assert said.startswith(f"At step {best + 1} it explained")
        assert f"best at step {best + 1}" in numbers
    assert title
    assert len(title.split()) <= 12
    assert ("let it run on" in title) <= (state == "running")


def test_a_fall_of_one_look_is_no_reason_to_stop() -> None:
    """It is as large as two looks differ by, and that is all that is known."""
    held = [0.9] * 20 + [0.88] * 20
    batches = [0.9 + 0.001 * i for i in range(40)]
    assert not training_title([summary(batches, held)]).startswith("Stop")
    held[-1] = 0.8799
    assert training_title([summary(batches, held)]).startswith("Stop at step 1:")
    assert not training_title([summary(batches[::-1], held)]).startswith("Stop")


@given(last=st.lists(st.sampled_from([0.5, 0.8, math.nan]), min_size=2, max_size=4))
def test_of_several_runs_one_explains_most_only_if_it_does(last: list[float]) -> None:
    runs = [summary([r2] * 5, None, name=f"{'k' * 80} {i}") for i, r2 in enumerate(last)]
    title = training_title(runs)
    known = [r2 for r2 in last if r2 == r2]
    alone = bool(known) and known.count(max(known)) == 1
    assert title.startswith("None of") == (not alone)
    assert len(title) < 60


@pytest.mark.parametrize("held", [None, [math.nan] * 3, [0.5]])
def test_few_records_and_looks_without_a_number_are_no_finding(held: list[float] | None) -> None:
    assert training_title([]) == training_title([summary([], None)]) == ""
    one = summary([0.5], held, state="running")
    assert training_title([one]) == "No clear trend yet: let it run on"
    assert training_answer([one])[0].startswith("After 1 step the SAE explains")
    assert training_title([summary([0.5], held)]) == "It ended without a clear trend"


@pytest.mark.parametrize(
    ("peak", "place"), [(3, "top right"), (20, "top center"), (40, "top left")]
)
def test_one_chart_has_both_curves_and_the_word_at_the_best_step_has_room(
    peak: int, place: str
) -> None:
    """What is drawn are the looks and the batches, each with its name and its own number at its end; the axis
    begins behind the climb of the first steps.
    """
    held, batches = curve(0.6, peak, -0.001), [0.95 + 0.0004 * i for i in range(LOOKED)]
    figure = training_figure([summary(batches, held)])
    drawn = {trace.name: trace for trace in figure.data}
    np.testing.assert_allclose(drawn["rows not trained on"].y, 100 * np.array(held), rtol=1e-5)
    np.testing.assert_allclose(drawn["training batches"].y, 100 * np.array(batches), rtol=1e-5)
    assert not any(trace.showlegend for trace in figure.data)
    star, ends = figure.select_traces({"mode": "markers+text"})
    assert list(ends.x) == [LOOKED, LOOKED]
    np.testing.assert_allclose(ends.y, [100 * batches[-1], 100 * held[-1]], rtol=1e-5)
    of_batches, of_new = ends.text
    assert of_batches == f"training batches: {100 * np.median(batches[-5:]):.1f}\u2009%"
    assert of_new == f"rows not trained on: {100 * held[-1]:.1f}\u2009%"
    assert list(ends.textposition) == ["top left", "bottom left"]
    assert figure.layout.annotations[0].text == "variance explained (R²), %"
    assert (star.text, star.textposition) == (f"best: step {peak}", place)
    low, high = figure.layout.yaxis.range
    assert low < 100 * min(held[2:]) < 100 * max(batches) < high
    shown = [axis for axis in figure.select_yaxes() if axis.visible]
    assert len(shown) == 1


def test_among_other_plots_both_curves_are_in_a_legend_and_the_number_has_its_curves_colour() -> (
    None
):
    held, batches = curve(0.6, 20, -0.001), [0.95 + 0.0004 * i for i in range(LOOKED)]
    figure = training_figure([summary(batches, held)], everything=True)
    drawn = {trace.name: trace for trace in figure.data if trace.showlegend}
    assert set(drawn) == {"training batches", "rows not trained on"}
    *_, ends = figure.select_traces({"mode": "markers+text"})
    assert not ends.visible
    colour, number = drawn["rows not trained on"].line.color, f"{100 * held[-1]:.1f}\u2009%"
    assert figure.layout.annotations[0].text == f'explained: <b style="color:{colour}">{number}</b>'
