"""Rows of a report card against the numbers that they stand beside, read by plain comparisons."""

from __future__ import annotations

import math
import re
from typing import Any

from hypothesis import given, settings, strategies as st
from sae_nb_widgets.report_card._verdicts import (
    QUESTIONS,
    answer_words,
    headline_words,
    plain_rows,
    rows_html,
)

from sae_nb.evaluation import Measurement

NUMBERS = {"none": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
few = settings(max_examples=200)


def measured(
    id: str,
    value: float,
    random: float | None,
    trivial: float | None = 0.0,
    wide: float = 0.01,
    n: int = 160,
) -> Measurement:
    return Measurement(
        value=value, floor=trivial, control=random, interval=(value - wide, value + wide), definition=id,
        n=n, unit="samples",
    )  # fmt: skip


def beats(value: float, rival: float, wide: float) -> bool:
    return (
        value > rival
        and not value - wide <= rival
        and value - rival > max(abs(value), abs(rival)) / 20
    )


share = st.sampled_from([-0.4, 0.0, 0.1, 0.5, 0.52, 0.7, 0.9, 0.949, 0.96, 0.983, 0.998, 1.0])
maybe = st.one_of(share, st.just(math.nan))
KINDS = [asked.definitions[0] for asked in QUESTIONS]
reports = st.dictionaries(
    st.sampled_from(KINDS),
    st.tuples(
        maybe,
        st.one_of(st.none(), maybe),
        st.one_of(st.none(), share),
        st.sampled_from([0.0, 0.03]),
    ),
    min_size=1,
)


@few
@given(drawn=reports)
def test_a_row_is_better_only_beyond_its_rivals(drawn: dict[str, Any]) -> None:
    """Better: of the share drawn, by more than its interval and a twentieth; the title counts those rows."""
    report, known = {}, {}
    for asked in QUESTIONS:
        if (kind := asked.definitions[0]) not in drawn:
            continue
        value, random, trivial, wide = drawn[kind]
        more = (trivial, random) if asked.random_is_floor else (random, trivial)
        report[kind] = measured(kind, value, *more, wide)
        if random is None or math.isnan(value) or math.isnan(random):
            continue
        if asked.turned:
            value, random, trivial = 1 - value, 1 - random, None
        if max(value, random) <= 1:
            known[asked.question] = value, random, trivial, wide
    rows = plain_rows({"mine": report})
    assert [row.asked.question for row in rows] == list(known)[:5]
    for row, (value, random, trivial, wide) in zip(rows, known.values(), strict=False):
        rivals = [one for one in (random, trivial) if one is not None and not math.isnan(one)]
        all_beaten = all(beats(value, rival, wide) for rival in rivals)
        assert (row.word == "better") == all_beaten, row
        assert (row.word == "worse") == any(beats(rival, value, wide) for rival in rivals), row
        tied = [one for one in rivals if not beats(value, one, wide)]
        ahead = bool(tied) and all(value - wide > one for one in tied)
        assert (row.word == "hardly better") == ahead, row
        if "too easy" in row.meaning:
            assert random >= 0.949
            assert row.word in ("no better", "hardly better")
        best = max(rivals)
        assert ("than a random one" in row.meaning or "as a random one" in row.meaning) == (
            random == best
        )
        apart = re.match(r"([\d.]+) points (more|less) than", row.meaning)
        assert (apart is None) == (value == best)
        if apart is not None:
            assert float(apart[1]) == round(100 * abs(value - best), 1)
            assert (apart[2] == "less") == (value < best)
        assert ("too" in row.meaning) == (row.word in ("hardly better", "no better"))
    if rows:
        better = sum(row.word == "better" for row in rows)
        title = headline_words(rows)
        assert len(title.split()) <= 12
        if len(rows) > 1:
            counted = re.search(r"in (?:(all)|(\w+) of) (\w+) tests", title)
            assert counted is not None
            assert NUMBERS[counted[3]] == len(rows)
            assert (len(rows) if counted[1] else NUMBERS[counted[2]]) == better
        else:
            assert ("does not" in title) == (better == 0)
        said = answer_words(rows).lower()
        for row in rows:
            (part,) = (
                part for part in re.split(r"; |\.$", said) if row.asked.topic.lower() in part
            )
            assert part.startswith(f"{row.word} in ")


@few
@given(drawn=st.lists(st.tuples(share, share), min_size=2, max_size=4))
def test_of_several_the_title_is_the_best_ones(drawn: list[tuple[float, float]]) -> None:
    long = "n" * 80
    reports = {
        f"{long}{i}": {
            "r2": measured("r2_pooled", *pair),
            "agreement": measured("agreement", 0.9, 0.1),
        }
        for i, pair in enumerate(drawn)
    }
    rows = plain_rows(reports)
    most = max(1 + beats(value, max(random, 0.0), 0.01) for value, random in drawn)
    assert f"in {'all two' if most == 2 else 'one of two'} tests" in headline_words(rows)
    assert headline_words(rows).startswith(f"The best of {len(drawn)} SAEs clearly beats")
    assert rows_html(rows).count(long) >= len(drawn)


def test_a_control_that_is_nearly_perfect_makes_the_row_hardly_better() -> None:
    """99.8 % of answers stay, with a random dictionary 98.3 %: the row stays, and says why that does not count."""
    (row,) = plain_rows({"mine": {"agreement": measured("agreement", 0.998, 0.983, 0.093, 0.002)}})
    assert row.word == "hardly better"
    assert row.meaning == "1.5 points more than a random one: too easy a test."
    assert "98.3" in rows_html([row])
    assert "99.8" in rows_html([row])
    assert headline_words([row]) == "This SAE does not clearly beat a random one in the test"


def test_atoms_that_never_fired_are_counted_beside_their_share() -> None:
    """61 of 512 are dead, of a random dictionary none: 88 % against 100 % in use."""
    (row,) = plain_rows(
        {"mine": {"dead": measured("dead_fraction", 61 / 512, 0.0, None, 0.03, 512)}}
    )
    assert row.word == "worse"
    assert "61 of 512" in row.meaning


def test_where_no_question_can_be_asked_there_is_no_row() -> None:
    """Without a random dictionary beside it, or without a number."""
    assert plain_rows({"mine": {"r2": measured("r2_pooled", 0.9, None)}}) == []
    assert plain_rows({"mine": {"r2": measured("r2_pooled", math.nan, 0.5)}}) == []
    assert plain_rows({"mine": {"kl": measured("kl_clean_spliced", 0.1, 0.5)}}) == []
