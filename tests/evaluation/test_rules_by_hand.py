"""Rules, windows and guesses on texts of a few words, and when a model has answered enough."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Context, Ragged
from sae_nb.evaluation.explanations._detection import (
    CountedJudge,
    ExplanationTrials,
    JudgeGuesser,
    RowGuesser,
    Window,
    Windows,
    _counts,
    bags_of_tokens,
    balanced,
    least_alike,
    shown,
)
from sae_nb.evaluation.explanations._rules import (
    TOKEN_SHAPES,
    Predicate,
    RowFacts,
    TokenIndex,
    _endings,
    _f1,
    _grown,
    _repeated,
    _token_sets,
    active_rows,
    candidates,
)
from sae_nb.evaluation.report import _sampling
from sae_nb.evaluation.report._measurement import ROUNDING, number_text
from sae_nb.evaluation.report._sampling import Sampling


def facts_of(texts: list[list[str]], **labels: Any) -> RowFacts:
    words = list(dict.fromkeys(word for text in texts for word in text))
    lengths = torch.tensor([len(text) for text in texts])
    n = int(lengths.sum())
    context = Context(
        kind="language", n_samples=len(texts), vocabulary=dict(enumerate(words)),
        token_ids=Ragged(
            torch.tensor([words.index(word) for text in texts for word in text]),
            torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]),
        ),
    )  # fmt: skip
    acts = sn.Activations.from_tensor(
        torch.ones(n, 2), context=context,
        sample=torch.arange(len(texts)).repeat_interleave(lengths),
        position=torch.cat([torch.arange(int(length)) for length in lengths]),
    )  # fmt: skip
    return RowFacts.of(acts, labels)


def where(*rows: int, n: int) -> np.ndarray:
    found = np.zeros(n, dtype=bool)
    found[list(rows)] = True
    return found


# -------------------------------------------------------------------------------------------------
# Statements.


def test_shapes_are_told_by_their_letters() -> None:
    told = {
        " Dog": {"a capital letter first", "a space before"},
        "A": {"a capital letter first", "no space before"},
        "USA": {"a capital letter first", "capitals alone", "no space before"},
        "dog2": {"lower case", "no space before", "a digit"},
        " 7": {"a space before", "a digit"},
        "…": {"no space before", "punctuation"},
        "\n": {"a space before", "a line break"},
    }
    for text, shapes in told.items():
        assert {shape for shape, has in TOKEN_SHAPES.items() if has(text)} == shapes, text


def test_statements_hold_where_they_say() -> None:
    facts = facts_of(
        [["the", " cat", " sat", " cat"], [" cat", "the", "s"]], odd=np.arange(7) % 2 == 1
    )
    told = {
        ("token", (" cat",)): [1, 3, 4], ("before", (" cat",)): [2, 5],
        ("begins", ("ca", "s")): [1, 2, 3, 4, 6], ("ends", ("t",)): [1, 2, 3, 4],
        ("shape", ("a space before",)): [1, 2, 3, 4], ("from position", ("2",)): [2, 3, 6],
        ("up to position", ("1",)): [0, 4], ("repeated", ()): [3], ("label", ("odd",)): [1, 3, 5],
        ("not label", ("odd",)): [0, 2, 4, 6], ("label", ("even",)): [], ("token", ("dog",)): [],
    }  # fmt: skip
    for (kind, values), rows in told.items():
        one: Any = kind
        assert np.flatnonzero(Predicate(one, values).holds(facts)).tolist() == rows, kind
    assert facts.before.tolist() == [-1, 0, 1, 2, -1, 1, 0]
    some = facts.at(np.array([2, 3]))
    assert (some.position.tolist(), some.repeated.tolist()) == ([2, 3], [False, True])
    assert some.labels["odd"].tolist() == [False, True]


def test_repeats_are_within_a_text() -> None:
    ids, offsets = np.array([5, 6, 5, 5, 6, 6]), np.array([0, 3, 6])
    assert _repeated(ids, offsets).tolist() == [False, False, True, False, False, True]


def test_beginnings_and_endings_are_looked_up_at_any_length() -> None:
    index = TokenIndex({0: " walking", 1: "walk", 2: "sing"})
    assert list(index.ids("begins", "walk")) == [0, 1]
    assert list(index.ids("begins", "walki")) == [0]
    assert list(index.ids("ends", "ing")) == [0, 2]
    assert list(index.ids("ends", "alking")) == [0]
    assert list(index.ids("begins", "")) == [0, 1, 2]
    assert list(index.ids("begins", "k")) == list(index.ids("token", "walking")) == []


def test_endings_that_are_shared_come_first() -> None:
    """Two to four letters, and never the whole word; “ing” of three tokens, “wal” of two."""
    facts = facts_of([[" walking", " walked", " sing", " sing", " ox", "abcdef"]])
    active = where(0, 1, 2, 3, 4, n=6)
    found = [*_endings(facts, active, np.ones(6, bool))]
    begins = [one.values[0] for one in found if one.kind == "begins"]
    ends = [one.values[0] for one in found if one.kind == "ends"]
    assert begins == ["si", "sin", "wa", "wal", "walk"]
    assert ends == ["ing", "ng", "ed", "ked", "king", "lked"]
    within = where(1, 4, n=6)
    assert [one.values[0] for one in _endings(facts, active, within)] == [
        "wa", "wal", "walk", "ed", "ked", "lked",
    ]  # fmt: skip
    # No more than 24 of each kind.
    many = facts_of([[f" {chr(97 + i)}{chr(98 + i)}xyz" for i in range(20)]])
    found = [*_endings(many, np.ones(20, bool), np.ones(20, bool))]
    assert [sum(one.kind == kind for one in found) for kind in ("begins", "ends")] == [24, 22]


def test_a_set_of_tokens_stops_where_f1_is_largest() -> None:
    """“a” is sure, “b” fires two of three times, “c” two of six, “d” once."""
    text = ["a"] * 3 + ["b"] * 3 + ["c"] * 6 + ["d"]
    facts = facts_of([text])
    active = where(0, 1, 2, 3, 4, 6, 7, 12, n=13)
    assert int(active.sum()) == 8
    first, second = _token_sets("token", facts.token, facts, active, np.ones(13, bool))
    # 3 / (3 + 8), 5 / (6 + 8), 7 / (12 + 8): the second is the largest.
    assert first.values == second.values == ("a", "b")
    inside = where(*range(6, 13), n=13)
    found = [*_token_sets("token", facts.token, facts, active, inside)]
    assert [one.values for one in found] == [("c",)] * 2
    assert [*_token_sets("token", facts.token, facts, where(12, n=13), np.ones(13, bool))] == []
    many = facts_of([[f"w{i}" for i in range(15)] * 2])
    first, second = _token_sets("token", many.token, many, np.ones(30, bool), np.ones(30, bool))
    assert len(first.values) == len(second.values) == 12


def test_a_rule_grows_by_statements_that_raise_its_f1() -> None:
    """Where " cat" stands from position 2 on: two statements, and then nothing more."""
    facts = facts_of([[" cat", " the", " cat", " sat"]] * 4 + [[" cat", " ran", " cat", " on"]] * 4)
    active = (facts.token == 0) & (facts.position == 2)
    rule = _grown(5, facts, active, 3)
    assert (rule.f1, rule.precision, rule.recall, rule.atom, rule.n) == (1.0, 1.0, 1.0, 5, 32)
    assert rule.floor == pytest.approx(2 * 8 / (32 + 8))
    assert _f1(np.array([True, True, False]), np.array([True, False, True])) == 0.5
    assert _f1(np.zeros(3, bool), np.zeros(3, bool)) == 0
    half = _grown(5, facts, facts.token == 0, 1)
    assert (len(half.terms), half.f1) == (1, 1.0)
    assert _grown(5, facts, np.ones(32, bool), 3).terms == ()


@pytest.mark.parametrize(("n_true", "grows"), [(3, False), (5, True)])
def test_a_statement_must_add_a_hundredth(n_true: int, grows: bool) -> None:
    """A label that leaves out 3 of 600 rows, half of which are active: 2·300 / 897 is 0.002 more than 2 / 3."""
    n = 600
    active = np.arange(n) % 2 == 0
    label = np.ones(n, dtype=bool)
    silent = np.flatnonzero(~active)[: 3 * n_true]
    label[silent] = False
    acts = sn.Activations.from_tensor(torch.ones(n, 1))
    facts = RowFacts.of(acts, {"x": label})
    rule = _grown(0, facts, active, 1)
    gain = 2 * 300 / (n - 3 * n_true + 300) - 2 * 300 / 900
    assert (gain >= 0.01) == grows
    assert (len(rule.terms) == 1) == grows


def test_statements_of_images_are_places_and_labels() -> None:
    context = Context(kind="vision", n_samples=1, patch_grid=(1, 2))
    acts = sn.Activations.from_tensor(
        torch.ones(2, 1), sample=torch.zeros(2, dtype=torch.long), position=torch.arange(2),
        context=context,
    )  # fmt: skip
    facts = RowFacts.of(acts, {"x": np.array([True, False])})
    kinds = {one.kind for one in candidates(facts, np.ones(2, bool), np.ones(2, bool))}
    assert kinds == {"label", "not label"}  # each place but once: no set of tokens
    plain = RowFacts.of(sn.Activations.from_tensor(torch.ones(2, 1)))
    assert [*candidates(plain, np.ones(2, bool), np.ones(2, bool))] == []


def test_eight_firings_are_enough_for_a_rule() -> None:
    z = torch.zeros(20, 2)
    z[:8, 0], z[:7, 1] = -1, 1
    codes = sn.SparseCodes.from_dense(z)
    acts = sn.Activations.from_tensor(torch.zeros(20, 3))
    assert active_rows(acts, codes, 0).tolist() == [True] * 8 + [False] * 12
    with pytest.raises(ValueError, match="in at least 8 rows, got atom 1, which fires in 7 of 20"):
        active_rows(acts, codes, 1)
    with pytest.raises(ValueError, match="20 × 2"):
        active_rows(sn.Activations.from_tensor(torch.zeros(19, 3)), codes, 0)
    assert _counts(codes, np.arange(20) % 2 == 0).tolist() == [4, 4]


# -------------------------------------------------------------------------------------------------
# Windows and guesses.


def test_windows_are_of_one_text_and_of_near_positions() -> None:
    facts: Any = SimpleNamespace(
        sample=np.array([1, 0, 0, 0, 0, 1]), position=np.array([0, 3, 0, 1, 7, 1])
    )
    windows = Windows(facts)
    assert windows.around(3, 2).rows.tolist() == [2, 3, 1]
    assert windows.around(3, 1).rows.tolist() == [2, 3]
    assert windows.around(4, 3).rows.tolist() == [4]
    assert windows.around(5, 9).rows.tolist() == [0, 5]
    active = where(1, 2, 5, n=6)
    silent = windows.silent(active, 5, 1, np.random.default_rng(0))
    assert sorted(one.centre for one in silent) == [4]
    assert len(windows.silent(np.zeros(6, bool), 2, 1, np.random.default_rng(0))) == 2
    firing = windows.firing(active, np.arange(6.0), 2, 0, np.random.default_rng(0))
    assert len(firing) == 2
    assert firing[0].centre == 5  # of sample 1, the stronger; then one of sample 0
    assert firing[1].centre in (1, 2)
    every = windows.firing(active, np.arange(6.0), 9, 0, np.random.default_rng(0))
    assert [one.centre for one in every] == [5, 2, 1]


def test_balanced_accuracy_needs_four_of_each() -> None:
    yes, no = [True, True, True, False], [True, False, False, False]
    assert balanced(yes, no) == 0.75
    assert np.isnan(balanced(yes[:3], no))
    assert np.isnan(balanced(yes, no[:3]))


def test_the_least_alike_has_the_lowest_cosine_with_the_others() -> None:
    vectors = np.array([[1.0, 0], [0, 1], [0.6, 0.8], [0.8, 0.6]])
    assert (
        least_alike(vectors) == 0
        if vectors[0] @ vectors.sum(0) < vectors[1] @ vectors.sum(0)
        else 1
    )
    assert least_alike(np.array([[1.0, 0], [-1, 0], [1, 0]])) == 1
    # The square of its own length does not count.
    assert least_alike(np.array([[0.1, 0], [1, 0], [1, 0], [-0.2, 0]])) == 3


def test_windows_are_alike_by_their_rare_tokens_the_middle_one_three_times() -> None:
    facts: Any = SimpleNamespace(token=np.array([7, 8, 7, 9]))
    windows = [
        Window(np.array([0, 1, 2]), 1),
        Window(np.array([3]), 3),
        Window(np.array([0, 3]), 0),
    ]
    weights = {7: 1.0, 8: 2.0, 9: 0.5}
    by_hand = np.array([[2.0, 6, 0], [0, 0, 1.5], [3, 0, 0.5]])
    for unit in (1, 1e-3):
        of = {token: unit * weight for token, weight in weights.items()}
        found = bags_of_tokens(windows, facts, of).toarray()
        np.testing.assert_allclose(found, by_hand / np.linalg.norm(by_hand, axis=1, keepdims=True))


def test_one_window_without_the_atom_is_enough_for_an_intruder() -> None:
    """Two that fire are alike, the third is not."""
    trials: Any = SimpleNamespace(n_choices=3, n=5, judge=None)
    x = np.array([[1.0, 0], [1, 0], [0, 1]])
    share = [
        ExplanationTrials._intruders(trials, x[:n], firing, np.random.default_rng(0))
        for n, firing in ((3, 2), (2, 2), (3, 1))
    ]
    assert share[0] == 1
    assert np.isnan(share[1:]).all()


def test_guesses_count_rows_of_a_window_and_more_than_half_of_the_marked() -> None:
    guess = RowGuesser("x", np.array([True, False, False, True]))
    window = Window(np.array([1, 2]), 1)
    assert not guess.fires(window)
    assert guess.fires(Window(np.array([0, 1]), 0))
    assert guess.fits(window, np.array([0, 3, 1]))
    assert not guess.fits(window, np.array([0, 1]))
    answers = iter(["Yes.", "no", "maybe", "It is 3", "12"])
    judge = CountedJudge(lambda _: next(answers))
    facts = facts_of([["a", " b"]])
    asks = JudgeGuesser(judge, "x", facts)
    here = Window(np.array([0, 1]), 0)
    assert [asks.fires(here), asks.fits(here, np.array([1])), asks.fires(here)] == [
        True, False, False,
    ]  # fmt: skip
    assert (judge.choice("?", r"\d+", ["1", "2", "3"]), judge.choice("?", r"\d+", ["1"])) == (
        "3",
        None,
    )
    assert (judge.n_calls, judge.n_unreadable) == (5, 2)
    assert "<< b>>" in shown(here, facts, [1])
    assert "<<a>>" not in shown(here, facts, [1])


# -------------------------------------------------------------------------------------------------
# When enough was read, and what is printed.


def test_a_model_has_answered_enough_when_the_interval_is_narrow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Looked at after the work that is always done, then at every doubling, and of twelve texts at least."""
    monkeypatch.setattr(_sampling, "WORK", 100.0)
    sampling = Sampling()
    sampling._look_at, sampling._n_parameters, sampling._may_sample = 100.0, 5, True
    looks: list[int] = []

    def interval() -> tuple[float, float]:
        looks.append(sampling.used)
        return (0.5, 0.519) if sampling.used >= 16 else (0.5, 0.521)

    batch: Any = SimpleNamespace(n=2, sample=torch.zeros(2, 4))  # 8 tokens of 5 parameters: 40
    ends = [sampling.enough(batch, 1.0, interval) for _ in range(12)]
    # 100 are reached with the third batch, 12 texts with the sixth: 240, then from 480 on.
    assert looks == [12, 24]
    assert ends == [False] * 11 + [True]
    assert "narrower than 0.02" in sampling.reason
    asked = Sampling(rows=5)
    assert [asked.enough(batch, 2.0, interval) for _ in range(3)] == [False, False, True]
    assert asked.stated() == {"n_samples_run": 6, "n_samples_given": None}
    assert not Sampling().enough(batch, 1.0, interval)


def test_numbers_are_printed_in_four_digits() -> None:
    assert [number_text(x) for x in (0.123456, 1e-13, 2e-12, float("nan"), None)] == [
        "0.1235", "0", "2e-12", "undefined", "",
    ]  # fmt: skip
    assert (number_text(0.1, 0.2), number_text(-0.1, 0.2), number_text(0.2, 0.2)) == (
        "0",
        "0",
        "0.2",
    )
    assert pytest.approx(4 * 2.0**-23) == ROUNDING
