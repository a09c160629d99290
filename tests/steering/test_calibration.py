"""Strengths found for a divergence: the target is met, signs and proportions stay, limits are said."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import sae_nb as sn
from sae_nb.steering import calibrate_strength
from sae_nb.steering._calibration import StrengthSearch


class Rows:
    def __init__(self, dictionary: torch.Tensor) -> None:
        self.dictionary = dictionary
        self.n_atoms, self.d_in = dictionary.shape


SAE = Rows(torch.cat([torch.eye(3), torch.tensor([[0.0, 0.0, 5.0], [1.0, 1.0, 0.0]])]))


@pytest.fixture(scope="module")
def model() -> Any:
    """Three classes whose logits are the state, the third of which nothing reads."""
    layer = nn.Linear(3, 3, bias=False)
    layer.weight.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 0]])
    return sn.wrap(nn.Sequential(nn.Identity(), layer), class_names=["a", "b", "c"])


def kl_of(model: Any, found: Any) -> float:
    x = torch.zeros(1, 3)
    clean = model(x)[0].log_softmax(-1)
    with sn.steer(model, "0", SAE, list(found.atoms), list(found.by)):
        after = model(x)[0].log_softmax(-1)
    return float((clean.exp() * (clean - after)).sum())


@pytest.mark.parametrize("target", [0.001, 0.1, 2.0])
@pytest.mark.parametrize("by", [-1.0, 1e-3, 300.0])
def test_the_target_is_met_wherever_the_search_begins(model: Any, target: float, by: float) -> None:
    """From far below, far above, either sign: within a twentieth, and `steer` measures the same."""
    found = calibrate_strength(model, "0", SAE, torch.zeros(1, 3), 0, target, by=by)
    assert found.reached
    assert found.kl == pytest.approx(target, abs=min(0.01, target / 20))
    assert kl_of(model, found) == pytest.approx(found.kl, abs=1e-5)
    assert found.by[0] * by > 0
    assert found.n_runs <= 12


def test_combined_atoms_keep_their_proportions(model: Any) -> None:
    """Two atoms, one of them subtracted: the ratio stays, the divergence is that of both."""
    found = calibrate_strength(model, "0", SAE, torch.zeros(1, 3), [0, 1], 0.2, by=[2.0, -1.0])
    assert found.by[0] == pytest.approx(-2 * found.by[1])
    assert kl_of(model, found) == pytest.approx(0.2, abs=0.01)


def test_an_atom_that_does_nothing_is_out_of_reach(model: Any) -> None:
    """It is tried up to the largest norm, and said; it never pretends."""
    found = calibrate_strength(model, "0", SAE, torch.zeros(1, 3), 2, 0.1)
    assert not found.reached
    assert found.kl == 0.0
    assert abs(found.by[0]) <= StrengthSearch.LARGEST
    assert "does not reach 0.1" in repr(found)


def test_a_search_goes_by_the_power_first_and_then_between_what_it_has_seen() -> None:
    """½f² is 2 at f = 2, two runs; ½f³ overshoots there, and ⅔ of the way in logarithms is 2^⅔."""
    square = StrengthSearch(lambda f: 0.5 * f**2, 2.0)
    assert square.find(9, 100.0) == pytest.approx(2)
    assert (square.n_runs, square.reached, square.kl) == (2, True, pytest.approx(2))
    cube = StrengthSearch(lambda f: 0.5 * f**3, 2.0)
    assert cube.find(9, 100.0) == pytest.approx(2 ** (2 / 3))
    assert cube.n_runs == 3
    line = StrengthSearch(lambda f: 0.5 * f, 3.0, power=1.0)
    assert line.find(9, 100.0) == pytest.approx(6)
    assert line.n_runs == 2
    assert StrengthSearch(lambda f: 0.0, 1.0).find(9, 30.0) == 1  # never nearer than at first


def test_a_search_keeps_the_nearest_and_stays_below_the_largest() -> None:
    """Runs of 1 and 5 for a target of 1.2; a twentieth, at most 0.01, may be missed."""
    seen = iter([1.0, 5.0])
    search = StrengthSearch(lambda f: next(seen), 1.2)
    assert search.find(2, 100.0) == 1
    assert (search.kl, search.reached, search.n_runs) == (1.0, False, 2)
    tried = []
    StrengthSearch(lambda f: tried.append(f) or 0.01, 5.0).find(9, 3.0)
    assert tried == [1.0, 3.0]
    for kl, reached in ((0.0951, True), (0.0949, False), (0.1049, True), (0.1051, False)):
        near = StrengthSearch(lambda f, kl=kl: kl, 0.1)
        near.find(1, 1.0)
        assert near.reached == reached
    for kl, reached in ((1.009, True), (1.011, False)):
        near = StrengthSearch(lambda f, kl=kl: kl, 1.0)
        near.find(1, 1.0)
        assert near.reached == reached
