"""The title of TemporalPanel against the numbers of records that are drawn at random."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from hypothesis import given, settings, strategies as st
from sae_nb_widgets.temporal import _panel
from sae_nb_widgets.temporal._detail import _chosen
from sae_nb_widgets.temporal._figure import View, draw_sequences, empty_figure
from sae_nb_widgets.temporal._panel import _headline

import sae_nb as sn

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
        n_times=4,
        predicted_share=share,
        rivals={"shuffled order": 0.1, "previous token": 0.06},
    )
    title = _headline(record)
    lead = min(predicted[0] - rival for rival in (new[0], lost, states))
    assert ("lasts" in title) == (lead >= 0.05) or abs(lead - 0.05) < 1e-6
    if "lasts" not in title:
        assert ("predicts little" in title) == (share < 0.11)


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


@pytest.mark.parametrize(("stays", "beats"), [(True, False), (False, True), (False, False)])
def test_how_long_parts_stay_is_said_where_one_stays_or_the_share_beats_its_rivals(
    monkeypatch: pytest.MonkeyPatch, stays: bool, beats: bool
) -> None:
    monkeypatch.setattr(_panel, "_stays", lambda _: stays)
    monkeypatch.setattr(_panel, "_beats_chance", lambda _: beats)
    record = SimpleNamespace(
        kind="text", n_times=3, predicted_share=0.3, rivals={"shuffled order": 0.2, "previous token": 0.1},
        lag1={"predicted": 0.4, "novel": 0.1, "raw": 0.2}, order_lost={"predicted": 0.05}, unread=0,
        fvu=0.25, first_position=1,
    )  # fmt: skip
    seen = SimpleNamespace(first=record, second=None)
    said, numbers = _panel._answer(seen), _panel._numbers(seen, 2)
    assert ("cosine of 0.40 (0.050 in random order)" in said) == (stays or beats)
    # Behind the click stands what the answer leaves out, and no more.
    assert ("cosine of neighbours" in numbers) != (stays or beats)
    assert ("10\u2009%" in numbers) == ("10\u2009%" not in said) == (not beats)
    assert "20\u2009%" not in numbers
    assert "R² 0.750" in numbers
    assert "each token's past are the 2 before it" in numbers
    assert "past are" not in _panel._numbers(seen, 3)
    assert "30\u2009% of this text's energy is predicted from earlier tokens" in said


def test_without_an_sae_the_temporal_one_of_a_model_is_taken_else_the_plain_one_in_the_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = [f"m/resid_post.{layer}" for layer in (16, 2, 9)]
    model = SimpleNamespace(name="m", modality=SimpleNamespace(is_text=True))
    monkeypatch.setattr(_panel, "load_sae", lambda name: name)
    for names, taken in ((plain, plain[2]), ([*plain, "m/temporal.16"], "m/temporal.16")):
        monkeypatch.setattr(_panel, "pretrained_names", lambda names=names: names)
        assert _panel._own_of(model) == taken


def test_ticks_of_shares_are_percents_of_the_top() -> None:
    """The largest share is .3: the axis ends there, at a twentieth."""
    sae = sn.Temporal(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    shares = np.array([[0.3, 0.7], *5 * [[0.1, 0.9]]])
    record = replace(sn.temporal.summarise_sequence(sae, x), shares=shares, shuffled=np.zeros(6))
    figure = empty_figure()
    draw_sequences(figure, record, None, View(bands="share"))
    ticks = zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True)
    assert all(float(said) == pytest.approx(30 * place) for place, said in ticks)
    assert figure.layout.yaxis.title.text == "% of the energy"


def test_two_times_are_too_few_to_see_what_stays() -> None:
    """Less their mean any two are opposite, whatever the SAE: no cosine is told."""
    sae = sn.Temporal(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    record = sn.temporal.summarise_sequence(sae, x)
    seen = SimpleNamespace(first=record, second=None)
    assert record.lag1["raw"] == pytest.approx(-1)
    assert _headline(record) == "Two moments are too few to see what stays"
    assert "cosine" not in _panel._answer(seen) + _panel._numbers(seen, 0)


def test_an_sae_of_another_model_is_refused_by_name() -> None:
    sae = sn.Temporal(d_in=8, n_atoms=8, k=2)
    sae.model_name, sae.hook_point = "the-other", "resid_post.1"
    gpt = sn.load_model("tiny-gpt")
    with pytest.raises(ValueError, match="d_in=128 as the states of tiny-gpt, got 8, of the-other"):
        sw.TemporalPanel(gpt, sae, "Anna went to the sea.")
