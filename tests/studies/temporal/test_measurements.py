"""Smoothness, stationarity, events and forecasts: each on data whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import spearmanr

import sae_nb as sn
from sae_nb_studies.temporal import (
    autocorrelation,
    context_projection,
    dimension_by_position,
    event_gap,
    fit_autoregression,
    fit_average,
    lag_cosine,
    path_ratio,
    permuted_order,
    readout_r2,
    spliced_documents,
    story_events,
    unexplained,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def walk(n: int, time: int, width: int, keep: float) -> torch.Tensor:
    """An autoregressive process of unit variance: x_t = keep · x_{t−1} + √(1 − keep²) ε."""
    steps = noise(n, time, width)
    out = [steps[:, 0]]
    for t in range(1, time):
        out.append(keep * out[-1] + math.sqrt(1 - keep**2) * steps[:, t])
    return torch.stack(out, dim=1)


def test_autocorrelation_of_an_autoregression_is_its_power() -> None:
    """A(w) = keep^w, up to the curvature of the sphere in 64 dimensions."""
    found = autocorrelation(walk(60, 60, 64, 0.8), [1, 2, 4])
    for lag, value in found.items():
        assert value == pytest.approx(0.8**lag, abs=0.03)


def test_order_of_chance_loses_it() -> None:
    x = walk(60, 60, 16, 0.9)
    mixed = permuted_order(x, 0)
    assert lag_cosine(mixed) < lag_cosine(x) - 0.5
    assert torch.allclose(mixed.sum(dim=1), x.sum(dim=1), atol=1e-3)


def test_a_straight_path_is_as_long_as_its_chord() -> None:
    turn = torch.linspace(0, 1.5, 50)
    arc = torch.stack([turn.cos(), turn.sin()], dim=1)[None]
    assert path_ratio(arc, centre=False) == pytest.approx(1.5 / (2 * math.sin(0.75)), rel=1e-3)
    rough = noise(10, 50, 16)
    assert path_ratio(rough) > 30
    assert path_ratio(7 * rough) == pytest.approx(path_ratio(rough), rel=1e-5)


def test_dimension_of_an_exact_small_case() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])[:, None].expand(3, 2, 2)
    pairs = [0.0, 0.6, 0.8]
    expected = 3 / sum(cosine**2 for cosine in pairs)
    assert dimension_by_position(x, [1], centre=False)[1] == pytest.approx(expected, rel=1e-6)


def test_planted_growth_is_found_and_lost_with_the_order() -> None:
    """E7's line: rank(t) = 4 + 4t recovered, Spearman 1; mixed, none."""
    x = sn.data.growing_rank(400, seed=0)
    found = dimension_by_position(x)
    assert spearmanr(list(found), list(found.values())).statistic > 0.99
    assert found[0] == pytest.approx(4, rel=0.1)
    assert found[5] == pytest.approx(24, rel=0.1)
    mixed = dimension_by_position(permuted_order(x, 0))
    assert abs(spearmanr(list(mixed), list(mixed.values())).statistic) < 0.5


def test_a_span_of_chance_holds_its_share() -> None:
    """w / width for independent tokens; nearly all where the past spans the present."""
    free = noise(300, 12, 40)
    share, chance = context_projection(free, 10, [8])[8]
    assert chance == 0.2
    assert share == pytest.approx(chance, abs=0.03)
    held = noise(300, 12, 4) @ noise(4, 40, seed=1)
    assert context_projection(held, 10, [8])[8][0] > 0.99
    with pytest.raises(ValueError, match="below half the width, 20"):
        context_projection(noise(3, 50, 40), 45, [20])


def test_events_are_told_from_distance() -> None:
    """Within less across is large for events, and 0 at equal distance for a process without them."""
    events = torch.arange(3).repeat_interleave(10).expand(40, -1)
    states = noise(40, 3, 16)
    x = states.repeat_interleave(10, dim=1) + 0.5 * noise(40, 30, 16, seed=1)
    found = event_gap(x, events)
    assert found.gap > 0.6
    assert found.matched > 0.6
    smooth = event_gap(walk(200, 30, 16, 0.9), events[:1].expand(200, -1))
    assert smooth.gap > 0.2
    assert abs(smooth.matched) < 0.05


def test_spliced_documents_keep_their_pieces_whole() -> None:
    """Each piece is a run of one document, no document twice in a text, the same for the same seed."""
    documents = [torch.arange(50) + 1000 * i for i in range(5)] + [torch.arange(3)]
    made = spliced_documents(documents, n=20, piece_tokens=8, seed=2)
    pieces = made.tokens.reshape(20, 3, 8)
    assert torch.equal(pieces.diff(dim=-1), torch.ones(20, 3, 7, dtype=torch.long))
    assert torch.equal(pieces[..., 0] // 1000, made.documents)
    assert all(len(set(row)) == 3 for row in made.documents.tolist())
    assert torch.equal(
        spliced_documents(documents, n=20, piece_tokens=8, seed=2).tokens, made.tokens
    )
    with pytest.raises(ValueError, match="At least 3 documents must have 60 tokens, got 0 of 6"):
        spliced_documents(documents, n=1, piece_tokens=60)


def test_forecasts_reach_what_can_be_known() -> None:
    """An autoregression leaves 1 − keep², a good average a little more, both nothing of a constant."""
    x = walk(200, 40, 8, 0.8)
    train, test = x[:150], x[150:]
    linear = unexplained(test, fit_autoregression(train).predict(test))
    assert linear == pytest.approx(1 - 0.8**2, abs=0.05)
    average = fit_average(train)
    assert linear < unexplained(test, average.predict(test)) < 0.6
    assert average.decay in (0.3, 0.5)


def test_a_forecast_never_sees_the_present() -> None:
    x = walk(20, 12, 4, 0.8)
    moved = x.clone()
    moved[:, 6] += 5
    for model in (fit_autoregression(x, 2), fit_average(x)):
        same = (model.predict(x) == model.predict(moved)).flatten(1).all(dim=0).reshape(12, 4)
        assert same[:7].all()
        assert not same[7].all()


def test_a_readout_is_held_out() -> None:
    """What is linear in the codes scores 1, what is not there scores 0 or less."""
    codes = noise(400, 5)
    target = codes @ noise(5, 2, seed=1) + 3
    assert readout_r2(codes[:200], target[:200], codes[200:], target[200:]) > 0.999
    other = noise(400, 2, seed=5)
    assert readout_r2(codes[:200], other[:200], codes[200:], other[200:]) < 0.05


def test_story_boundaries_become_events_of_tokens() -> None:
    """A token belongs to the event in which it begins."""
    told = sn.data.stories(5, seed=0)
    starts = [list(range(len(text))) for text in told.texts]
    found = story_events(told.boundary_story, told.boundary, starts)
    for story, events in enumerate(found):
        borders = (events.diff() == 1).nonzero().flatten() + 1
        assert borders.tolist() == told.boundary[told.boundary_story == story].tolist()
