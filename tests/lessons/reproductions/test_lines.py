"""Lines that can fail: no claim holds by a line that its own floor or control meets."""

from __future__ import annotations

import json
from pathlib import Path

from sae_nb_studies.reproductions import (
    Claim,
    Line,
    Shown,
    Summary,
    experiment,
    experiment_names,
    floor_exceptions,
    summaries_of,
)

ROOT = Path(__file__).parents[3]


def _cards() -> list[tuple[str, Claim, dict[str, Summary]]]:
    found = []
    for name in experiment_names():
        seeds = json.loads((ROOT / "docs" / "claims" / f"{name}.json").read_text("utf-8"))["seeds"]
        judged = summaries_of(experiment(name), [dict(seed["numbers"]) for seed in seeds.values()])
        found += [(f"{name} / {claim.name}", claim, judged) for claim in experiment(name).claims]
    return [one for one in found if not one[1].replaced_by and not one[1].tested_by]


def test_no_line_is_met_by_its_own_floor_or_control() -> None:
    met = {
        (name, line.number)
        for name, claim, judged in _cards()
        if claim.verdict(judged) == "holds"
        for line in claim.met_by_floor(judged)
    }
    listed = {(name, number) for name, numbers in floor_exceptions().items() for number in numbers}
    assert not met - listed, f"met by floor or control: {sorted(met - listed)}"
    assert not listed - met, f"exceptions that are not needed: {sorted(listed - met)}"


FLOOR = Shown(number="b", label="floor")
LINE = Line(number="a", label="l", at_least=0.5)


def test_a_floor_that_meets_a_line_is_named() -> None:
    summaries = {"a": Summary(mean=0.9, sd=0.0, n=5), "b": Summary(mean=0.6, sd=0.0, n=5)}
    claim = Claim(name="c", text="t", paper="ours", lines=(LINE,), floor=FLOOR)
    assert claim.met_by_floor(summaries) == [LINE]
    low = summaries | {"b": Summary(mean=0.4, sd=0.0, n=5)}
    assert claim.met_by_floor(low) == []
    for line in (
        Line(number="a", minus="b", label="l", at_least=0.2),
        Line(number="a", label="ours − theirs", at_least=0.2),
        Line(number="b", label="floor", at_least=0.2),
    ):
        other = Claim(name="c", text="t", paper="ours", lines=(line,), floor=FLOOR)
        assert other.met_by_floor(summaries) == []
