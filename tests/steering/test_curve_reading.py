"""Values that a curve was not fitted on: read by hand, with torch alone at the place of the state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.steering import read_hidden

POINT, TEXT = "resid_post.0", "3 + 4 ="


@pytest.fixture(scope="module")
def adder() -> Any:
    return sn.load_model("tiny-modular")


def fitted(adder: Any, values: list[int], closed: bool) -> Any:
    """The sums of tiny-modular, which adds modulo 53; some of them on an open curve."""
    texts = [f"{a} + {(value - a) % 53} =" for value in values for a in (5, 20)]
    acts = sn.capture(adder, texts, POINT, positions="last", drop_first=False, progress=False)
    given = {"closed": True, "period": 53} if closed else {}
    return sn.geometry.curve(acts, np.repeat(values, 2), n_shuffled=1, **given)


def answered(adder: Any, state: torch.Tensor) -> int:
    with sn.splice(adder, POINT, lambda h: state.to(h).expand_as(h), positions="last"):
        return int(adder.tokenizer.decode([int(adder([TEXT])[0, -1].argmax())]))


@pytest.mark.slow
def test_hidden_sums_are_read_on_the_ring_and_not_between_their_neighbours(adder: Any) -> None:
    """Of 53 sums 26 are left out; the three numbers of each are what the model says at those states."""
    curve = fitted(adder, list(range(53)), closed=True)
    found = read_hidden(adder, TEXT, POINT, curve)
    assert len(found.hidden) == 26
    assert not set(found.hidden) & set(found.fitted.values)
    assert (found.n_right, found.n_half_way) == (26, 0)
    assert found.n_shuffled <= 5
    for i in (0, 12, 25):
        here = int(found.hidden[i])
        assert answered(adder, found.fitted.at(float(here))) == found.on_curve[i] == here
        below, above = (
            next(
                v % 53
                for v in range(here + way, here + 53 * way, way)
                if v % 53 in found.fitted.values
            )
            for way in (-1, 1)
        )
        assert tuple(found.between[i]) == (below, above)
        middle = (curve.states[below] + curve.states[above]) / 2
        assert answered(adder, middle) == found.half_way[i]


@pytest.mark.parametrize(("n", "n_known"), [(7, 5), (12, 6)])
def test_the_ends_of_an_open_curve_are_known(adder: Any, n: int, n_known: int) -> None:
    curve = fitted(adder, list(range(3, 3 + n)), closed=False)
    found = read_hidden(adder, TEXT, POINT, curve)
    assert {3, n + 2} < set(found.fitted.values)
    assert len(found.fitted.values) == n_known
    assert found.shuffled.shape == (5, n - n_known)
    assert set(np.concatenate([found.on_curve, found.half_way])) <= set(range(3, 3 + n))


def test_a_short_curve_has_nothing_hidden(adder: Any) -> None:
    assert read_hidden(adder, TEXT, POINT, fitted(adder, list(range(3, 9)), closed=False)) is None
