"""Sentences about hidden values against the values that were read."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings, strategies as st
from sae_nb_widgets.curve._words import reading_answer, reading_title

from sae_nb.steering import CurveReading


def reading(
    right: list[bool], half_way: list[bool], shuffled: list[list[bool]], closed: bool
) -> CurveReading:
    """A record in which a value that is read wrong is read as the next one."""
    hidden = np.arange(len(right), dtype=float)
    return CurveReading(
        fitted=SimpleNamespace(closed=closed, values=np.arange(5) + 0.5),
        hidden=hidden,
        on_curve=hidden + 1 - np.array(right),
        between=np.zeros((len(right), 2)),
        half_way=hidden + 1 - np.array(half_way),
        shuffled=hidden + 1 - np.array(shuffled).reshape(-1, len(right)),
    )


@settings(max_examples=200)
@given(
    n=st.integers(2, 12),
    closed=st.booleans(),
    noun=st.sampled_from(["sums", "v" * 80]),
    data=st.data(),
)
def test_a_title_says_of_hidden_values_what_their_numbers_say(
    n: int, closed: bool, noun: str, data: st.DataObject
) -> None:
    """Read well is nine of ten; a control that reads more than half as many is the finding then."""
    row = st.integers(0, n).map(lambda k: [True] * k + [False] * (n - k))
    right, half = data.draw(row), data.draw(row)
    shuffled = data.draw(st.lists(row, max_size=3))
    found = reading(right, half, shuffled, closed)
    title, (answer, bold) = reading_title(found, noun), reading_answer(found, noun)
    most = max([sum(half), *(sum(one) for one in shuffled)])
    said = re.findall(r"\d+", title)
    assert ("ring" if closed else "curve") in title
    assert noun in title
    assert title.startswith("Off") == (sum(right) / n >= 0.9 and most / sum(right) > 0.5)
    number = most if title.startswith("Off") else sum(right)
    assert ("all" in title.split()) == (number == n)
    assert ("none" in title) == (number == 0)
    assert ("only" in title) == (0 < sum(right) < 0.9 * n)
    assert said == ([str(number)] if 0 < number < n else []) + [str(n)]
    assert len(title.split()) <= 12
    assert bold[0] == {0: "never", 1: "once"}.get(sum(half), f"{sum(half)} times")
    assert answer.endswith(f"half-way between two known {noun} {bold[0]}.")
    assert f"5 of {5 + n} {noun}" in answer


def test_a_control_that_reads_just_half_does_not_take_the_title() -> None:
    ten, five = [True] * 10, [True] * 5 + [False] * 5
    assert reading_title(reading(ten, five, [], True), "sums").startswith(
        "Along the ring, the model answers all 10"
    )
    six = [True] * 6 + [False] * 4
    assert reading_title(reading(ten, six, [], True), "sums").startswith(
        "Off the ring the model answers 6 of 10"
    )
    assert reading_title(reading(ten, five, [six], True), "sums").startswith(
        "Off the ring the model answers 6 of 10"
    )
