"""Lines that can fail: no claim holds by a line that its own floor or control meets."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sae_nb.files import read_json
from sae_nb_studies.reproductions import (
    Claim,
    Line,
    Shown,
    Summary,
    Why,
    experiment,
    experiment_names,
    floor_exceptions,
    summaries_of,
)

ROOT = Path(__file__).parents[3]


def _cards() -> list[tuple[str, Claim, dict[str, Summary]]]:
    """Every claim that has a card, with the committed numbers over seeds."""
    found = []
    for name in experiment_names():
        seeds = read_json(ROOT / "docs" / "claims" / f"{name}.json")["seeds"]
        judged = summaries_of(experiment(name), [dict(seed["numbers"]) for seed in seeds.values()])
        found += [(f"{name} / {claim.name}", claim, judged) for claim in experiment(name).claims]
    return [one for one in found if not one[1].replaced_by and not one[1].tested_by]


def test_no_line_is_met_by_its_own_floor_or_control() -> None:
    """In the same unit; exceptions are named with a reason, and each is needed."""
    met = {
        (name, line.number)
        for name, claim, judged in _cards()
        if claim.verdict(judged) == "holds"
        for line in claim.met_by_floor(judged)
    }
    listed = {(name, number) for name, numbers in floor_exceptions().items() for number in numbers}
    assert not met - listed, f"met by floor or control: {sorted(met - listed)}"
    assert not listed - met, f"exceptions that are not needed: {sorted(listed - met)}"


def test_what_replaces_a_claim_is_a_card_and_what_proves_an_identity_a_test() -> None:
    """Not a further link of a chain; by file and function."""
    cards = {name for name, _, _ in _cards()}
    for name in experiment_names():
        for claim in experiment(name).claims:
            assert not claim.replaced_by or claim.replaced_by in cards, claim.replaced_by
            if claim.tested_by:
                file, _, function = claim.tested_by.partition("::")
                tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
                names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
                assert function in names, claim.tested_by


FLOOR = Shown(number="b", label="floor")
LINE = Line(number="a", label="l", at_least=0.5)


def test_a_claim_without_a_floor_is_refused() -> None:
    """A line that takes something off has one; so has a claim that only shows."""
    with pytest.raises(ValueError, match="must have a floor or a control"):
        Claim(name="c", text="t", paper="ours", lines=(LINE,))
    lead = Line(number="a", minus="b", label="l", at_least=0.0)
    assert Claim(name="c", text="t", paper="ours", lines=(lead,)).sign_only
    assert not Claim(name="c", text="t", paper="ours", lines=(lead, LINE)).sign_only
    assert not Claim(name="c", text="t", paper="ours", lines=()).sign_only


def test_a_line_that_cannot_fail_is_refused() -> None:
    """Without an end, against itself, or asked twice."""
    with pytest.raises(ValueError, match="must be able to fail"):
        Line(number="a", label="l", at_least=float("-inf"))
    with pytest.raises(ValueError, match="must be able to fail"):
        Line(number="a", minus="a", label="l", at_least=0.0)
    with pytest.raises(ValueError, match="ask the same of a number twice"):
        Claim(name="c", text="t", paper="ours", lines=(LINE, LINE), floor=FLOOR)


def test_a_paper_is_spoken_against_by_its_own_method_alone() -> None:
    """The cause (c) says what of it was used; a claim of ours needs no more."""
    why = Why(evidence="e", cause="(c) our test speaks against it as worded")
    with pytest.raises(ValueError, match="must have `as_published`"):
        Claim(name="c", text="t", paper="arXiv 0000.00000", lines=(LINE,), floor=FLOOR, why=why)
    Claim(name="c", text="t", paper="ours", lines=(LINE,), floor=FLOOR, why=why)


def test_a_floor_that_meets_a_line_is_named() -> None:
    """Unless the line is a difference, or on the floor itself."""
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
