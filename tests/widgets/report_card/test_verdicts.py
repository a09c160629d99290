"""Answers of a report card against the numbers that they stand beside, read by plain comparisons."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings, strategies as st
from sae_nb_widgets.report_card._record import summarise_report_card
from sae_nb_widgets.report_card._verdicts import plain_verdicts

from sae_nb.evaluation import Measurement

AS_BEFORE = "Does the model still answer as before?"
SHARES = {
    "ce_recovered_mean": "ce_recovered_mean",
    "accuracy": "accuracy",
    "agreement": "agreement",
}
few = settings(max_examples=150)


def measured(
    id: str, value: float, control: float | None, floor: float | None = 0.0, wide: float = 0.01
) -> Measurement:
    return Measurement(
        value=value, floor=floor, control=control, interval=(value - wide, value + wide), definition=id,
        n=160, unit="samples",
    )  # fmt: skip


share = st.sampled_from([0.0, 0.1, 0.5, 0.7, 0.9, 0.97, 0.983, 0.998, 1.0])
maybe = st.one_of(share, st.just(math.nan))
reports = st.dictionaries(
    st.sampled_from(sorted(SHARES)), st.tuples(maybe, st.one_of(st.none(), share)), min_size=1
)


@few
@given(drawn=reports)
def test_a_model_that_answers_as_before_does_so_by_every_measure(drawn: dict[str, Any]) -> None:
    """Yes: on none of its measures does a random dictionary do as well; No: on all of them one does."""
    report = {name: measured(SHARES[name], *numbers) for name, numbers in drawn.items()}
    (said,) = plain_verdicts(summarise_report_card(report, show="all"))[AS_BEFORE].values()
    known = [(value, control) for value, control in drawn.values() if not math.isnan(value)]
    worse = [control is not None and value <= control for value, control in known]
    better = [value > (0 if control is None else control) for value, control in known]
    if said.word == "Yes":
        assert any(better)
        assert not any(worse) or any(v == c == 1 for v, c in known), said
    if said.word == "In part":
        assert any(better), said
    if said.word == "No":
        assert not any(v > 1.06 * max(c or 0, 0.01) and v - (c or 0) > 0.02 for v, c in known), said
    if not known:
        assert said.word == "–"


def test_one_measure_does_not_speak_for_those_that_chance_reaches() -> None:
    """The loss is recovered; of right answers a random dictionary has as many: in part, with that measure."""
    report = {
        "ce_recovered_mean": measured("ce_recovered_mean", 0.99, 0.2),
        "accuracy": measured("accuracy", 0.9, 0.895),
    }
    (said,) = plain_verdicts(summarise_report_card(report))[AS_BEFORE].values()
    assert said.word == "In part"
    assert "accuracy is no better" in said.sentence
    assert "0.895" in said.sentence


def test_a_control_that_is_nearly_perfect_leaves_nothing_to_praise() -> None:
    """99.8 % of answers stay, with a random dictionary 98.3 %: the test is too easy to answer by."""
    report = {"agreement": measured("agreement", 0.998, 0.983, 0.093, 0.002)}
    (said,) = plain_verdicts(summarise_report_card(report))[AS_BEFORE].values()
    assert said.word == "–"
    assert "0.983" in said.sentence
