"""Reports side by side: where things lie, and which rows are shown."""

from __future__ import annotations

import math

import pytest
from sae_nb_widgets.report_card._record import summarise_report_card
from sae_nb_widgets.report_card._words import verdict_words

from sae_nb.evaluation import Measurement

NAN = (math.nan, math.nan)


def measured(
    value: float,
    floor: float | None,
    control: float | None,
    id: str = "r2_pooled",
    interval: tuple[float, float] = NAN,
) -> Measurement:
    return Measurement(
        value=value, floor=floor, control=control, interval=interval, definition=id, n=9, unit="samples"
    )  # fmt: skip


def test_better_is_to_the_right_and_all_lies_on_one_scale() -> None:
    """By hand: R² 0.9 and 0.6, floor 0, control 0.3; FVU is turned around."""
    one = {"r2": measured(0.9, 0.0, 0.3), "fvu": measured(0.1, 1.0, 0.7, "fvu_pooled")}
    two = {"r2": measured(0.6, 0.0, 0.3), "fvu": measured(0.4, 1.0, 0.7, "fvu_pooled")}
    card = summarise_report_card([one, two], ["one", "two"])
    a, b = card.row("r2")
    assert (a.at, b.at, a.floor, a.control) == pytest.approx((1.0, 2 / 3, 0.0, 1 / 3))
    c, d = summarise_report_card([one, two], ["one", "two"], show="all").row("fvu")
    assert (c.at, d.at, c.floor) == pytest.approx((1.0, 2 / 3, 0.0))
    assert math.isnan(a.low)
    assert a.ends == b.ends == (0.0, 0.9)
    assert c.ends == (1.0, 0.1)  # better, the lower, is to the right


def test_six_rows_are_looked_at_first() -> None:
    """Own measures before those of `evaluate`, of these what tells most; drawn in the report's order."""
    good = measured(0.9, 0.0, 0.3)
    report = dict.fromkeys(
        ["fvu", "l1", "effective_rank", "kl", "l0", "r2", "max_cosine", "mine"], good
    )
    report["mine"] = measured(0.9, 0.0, 0.3, "stability_hungarian")
    assert summarise_report_card(report).metrics == (
        "effective_rank", "kl", "l0", "r2", "max_cosine", "mine"
    )  # fmt: skip
    assert summarise_report_card({"fvu": good, "l1": good}).metrics == ("fvu", "l1")
    assert summarise_report_card(report, show="all").metrics == tuple(report)


def test_rows_that_only_one_report_has_leave_a_gap() -> None:
    """And the selection "not clear" keeps what is not clear in any column."""
    one = {"r2": measured(0.9, 0.0, 0.3)}
    two = {"r2": measured(0.1, 0.0, 0.3), "fldd": measured(0.5, 0.0, 0.1, "fldd")}
    card = summarise_report_card([one, two], ["one", "two"])
    assert card.cell("fldd", "one") is None
    assert card.metrics == ("r2", "fldd")
    assert summarise_report_card([one, two], show="not clear").metrics == ("r2",)
    assert card.n_clear("two") == (1, 2)
    assert (card.n_clear("one"), card.n_marked) == ((1, 1), 1)


@pytest.mark.parametrize("control", [0.3, None])
def test_no_control_is_claimed_to_be_beaten_that_was_not_measured(control: float | None) -> None:
    """A measure with a floor alone is clear, and what is beaten is what there is."""
    card = summarise_report_card([{"r2": measured(0.9, 0.0, control)}], ["one"])
    assert card.n_clear("one") == (1, 1)
    title, _ = verdict_words(card)
    assert title == "This SAE beats each floor and control there is on 1 of 1 measures"
