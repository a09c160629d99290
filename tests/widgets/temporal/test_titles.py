"""The title of TemporalPanel against the numbers of records that are drawn at random."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sae_nb_widgets.temporal._detail import _chosen
from sae_nb_widgets.temporal._panel import _headline

CURVES = st.lists(st.floats(-1, 1, allow_nan=False), min_size=1, max_size=6)


@pytest.mark.parametrize("share", [0.05, 0.3])
@given(CURVES, CURVES, st.floats(-0.2, 0.3), st.floats(-0.2, 0.3), st.floats(-0.2, 0.6))
@settings(max_examples=60, deadline=None)
def test_the_title_says_what_its_numbers_bear_out(
    share: float,
    predicted: list[float],
    new: list[float],
    lost: float,
    lost_new: float,
    states: float,
) -> None:
    """Curves of one length, drawn at random, against a share that rivals reach or do not."""
    n = min(len(predicted), len(new))
    record = SimpleNamespace(
        by_distance={"predicted": np.array(predicted[:n]), "novel": np.array(new[:n])},
        order_lost={"predicted": lost, "novel": lost_new},
        lag1={"predicted": predicted[0], "novel": new[0], "raw": states},
        shares=np.full((4, 2), share),
        rivals={"shuffled order": 0.1, "previous token": 0.06},
    )
    title = _headline(record)
    lead = min(predicted[0] - rival for rival in (new[0], lost, states))
    assert ("stays" in title) == (lead >= 0.05) or abs(lead - 0.05) < 1e-6
    if "stays" not in title:
        assert ("predicts little" in title) == (share < 0.11)
    if "soon gone" in title:
        assert new[1] <= new[0] / 2 or new[1] <= lost_new + 0.0501
    if "longer than" in title:
        assert n == 1 or (new[1] > new[0] / 2 and new[1] > lost_new + 0.0499)


def test_the_first_time_has_no_past_that_could_predict_it() -> None:
    """Whatever share of it an SAE expects of any; of others the rivals stand beside."""
    record = SimpleNamespace(
        names=(" one", " two"), kind="text", first_position=1, shares=np.array([[0.39, 0.21], [0.18, 0.56]]),
        shuffled=np.array([0.23, 0.08]), plain={"running mean": np.array([0.0, 0.21])},
    )  # fmt: skip
    first, second = (_chosen(record, time).replace("\u2009", " ") for time in (0, 1))
    assert "nothing came before it; 39 %" in first
    assert "21 % new" in first
    assert "23 %" not in first
    assert "18 % of its energy predicted by what came before it" in second
    assert "shuffled order: 8.0 %, running mean: 21 %), 56 % new" in second
