"""Rules, lift and the scores of explanations: what is planted is said, and chance stays chance."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sae_nb.activations import Activations, Context, Ragged
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import SecondCode, define, induce_rule, score_explanations
from sae_nb.evaluation.explanations._detection import (
    CountedJudge,
    ExplanationTrials,
    JudgeGuesser,
    Window,
    Windows,
    balanced,
    kept_codes,
    least_alike,
)
from sae_nb.evaluation.explanations._rules import (
    TOKEN_SHAPES,
    Predicate,
    RowFacts,
    TokenIndex,
    _endings,
    _token_sets,
    fires_in,
)
from sae_nb_studies.evaluation import token_lift
from tests.random_texts import random_texts

N_ATOMS = 4


@pytest.fixture(scope="module")
def texts():
    acts, planted, generator = random_texts()
    n = len(acts)
    on = torch.cat([planted, torch.rand(n, 1, generator=generator) < 0.1], dim=1)
    strength = 0.5 + torch.rand(n, N_ATOMS, generator=generator)
    codes = SparseCodes.from_dense(on * strength)
    sae = SimpleNamespace(d_in=6, n_atoms=N_ATOMS, dictionary=torch.eye(6)[:N_ATOMS], encode=None)
    return acts, codes, sae


def test_planted_rules_are_said(texts) -> None:
    acts, codes, _ = texts
    animals, undone, after, chance = (induce_rule(acts, codes, a) for a in range(N_ATOMS))
    assert animals.terms == (Predicate("token", (" cat", " dog")),)
    assert animals.f1 == animals.precision == animals.recall == 1
    assert undone.f1 == 1
    assert after.terms == (Predicate("before", (" the",)),)
    assert chance.f1 < 0.4
    assert "“ cat” or “ dog”" in animals.text


def test_shared_endings_come_by_how_often_they_are_shared() -> None:
    """Three cats, two dogs, one cart; endings of two to four letters, never a whole word."""
    facts = SimpleNamespace(
        token=np.array([0, 0, 0, 1, 1, 2, 1]), names={0: " cats", 1: "dogs", 2: "cart"}
    )
    active, within = np.ones(7, bool), np.array([1, 1, 1, 1, 1, 1, 0], bool)
    found = list(_endings(facts, active, within))
    told = {kind: [p.values[0] for p in found if p.kind == kind] for kind in ("begins", "ends")}
    assert told["begins"] == ["ca", "cat", "do", "dog", "car"]
    assert told["ends"] == ["ats", "ts", "gs", "ogs", "art", "rt"]


def test_a_set_is_of_rare_sure_tokens_or_of_the_most_common() -> None:
    """Thirteen tokens: twelve that fire twice of twice, and one that fires on 40 of 41 rows."""
    ids = np.array([*np.repeat(np.arange(12), 2), *[12] * 41])
    active = np.arange(len(ids)) != len(ids) - 1
    facts: Any = SimpleNamespace(names={i: chr(97 + i) for i in range(13)})
    sure, common = _token_sets("token", ids, facts, active, np.ones(len(ids), bool))
    assert sure.values == tuple("abcdefghijkl")
    assert common.values == tuple("abcdefghijkm")


def test_tokens_are_looked_up_by_beginnings_and_endings_of_any_length() -> None:
    index = TokenIndex({0: " at", 1: "a", 2: "attic", 3: "battle"})
    assert list(index.ids("begins", "a")) == [0, 1, 2]
    assert list(index.ids("begins", "atti")) == list(index.ids("begins", "attic")) == [2]
    assert list(index.ids("ends", "t")) == [0]
    assert list(index.ids("ends", "attle")) == list(index.ids("ends", "e")) == [3]
    assert list(index.ids("ends", "at")) == [0]
    assert list(index.ids("begins", "")) == [0, 1, 2, 3]


def test_every_token_is_read_once_for_all_atoms(texts, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rules are made, on parts of the rows too: a vocabulary may have 262 144."""
    acts, codes, _ = texts
    read: list[str] = []
    monkeypatch.setitem(TOKEN_SHAPES, "lower case", lambda text: bool(read.append(text)))
    facts = RowFacts.of(acts)
    for atom in range(N_ATOMS):
        rule = induce_rule(acts, codes, atom, facts=facts)
        rule.holds(facts.at(np.arange(10)))
    assert sorted(read) == sorted(facts.names.values())
    longest = max(facts.names.values(), key=len).strip()
    assert [facts.names[i].strip() for i in facts.index.ids("ends", longest)] == [longest]


def test_a_rule_holds_on_rows_it_never_saw(texts) -> None:
    acts, codes, _ = texts
    half = len(acts) // 2
    rule = induce_rule(acts.subset(range(half)), codes.rows(slice(0, half)), 0)
    later = RowFacts.of(acts.subset(range(half, 2 * half)))
    np.testing.assert_array_equal(rule.holds(later), fires_in(codes, 0)[half:])


def test_conjunctions_and_labels_are_found() -> None:
    """Fires where a label holds from position 2 on: two statements, F1 1."""
    ids = torch.zeros(40 * 4, dtype=torch.long)
    context = Context(
        kind="language",
        n_samples=40,
        token_ids=Ragged(ids, torch.arange(0, 161, 4)),
        vocabulary={0: " a"},
    )
    sample, position = torch.arange(40).repeat_interleave(4), torch.arange(4).repeat(40)
    acts = Activations.from_tensor(
        torch.rand(160, 2), sample=sample, position=position, context=context
    )
    good = torch.arange(40) % 2 == 0
    codes = SparseCodes.from_dense((good[sample] & (position >= 2)).float()[:, None])
    rule = induce_rule(acts, codes, 0, labels={"a good story": good})
    assert rule.f1 == 1
    assert {term.text for term in rule.terms} == {"a good story", "position 2 or later"}


def test_lift_by_hand(texts) -> None:
    """An atom on two of ten equal words: lift 1 / P of each, and log₂ of their inverse share in bits."""
    acts, codes, _ = texts
    found = token_lift(acts, codes, 0)
    ids = acts.tokens.ids.numpy()
    p = {w: float((ids == w).mean()) for w in (1, 2)}
    both = p[1] + p[2]
    assert set(found.tokens) == {" cat", " dog"}
    np.testing.assert_allclose(found.lifts, 1 / both)
    assert found.value == pytest.approx(-np.log2(both))
    assert found.interval[0] - 1e-4 <= found.value <= found.interval[1]  # least at even shares
    chance = token_lift(acts, codes, 3)
    assert abs(chance.value - chance.floor) < 0.08


def test_good_explanations_score_and_others_do_not(texts) -> None:
    """Rules of planted atoms detect; the atom of chance and other atoms' rules stay near one half."""
    acts, codes, sae = texts
    found = score_explanations(sae, acts, range(N_ATOMS), codes=codes, n_examples=80, seed=1)
    for atom in (0, 1, 2):
        assert found.per_atom[atom]["detection"] == 1
        assert found.per_atom[atom]["fuzzing"] == 1
    assert abs(found.per_atom[3]["fuzzing"] - 0.5) < 0.15
    assert found.scores["detection"].control < 0.75
    assert found.scores["detection"].value == pytest.approx(found.value)
    assert found.n_calls == 0
    for measurement in found.measurements.values():
        assert define(measurement.definition).formula


def test_dense_and_random_codes_never_score_well(texts) -> None:
    acts, _, sae = texts
    generator = torch.Generator().manual_seed(3)
    random = torch.rand(len(acts), N_ATOMS, generator=generator) < 0.05
    found = score_explanations(
        sae, acts, range(N_ATOMS), codes=SparseCodes.from_dense(random.float()), n_examples=120
    )
    assert abs(found.scores["detection"].value - 0.5) < 0.12
    assert abs(found.scores["fuzzing"].value - 0.5) < 0.12
    assert abs(found.scores["intruder"].value - 0.2) < 0.12


def test_negatives_are_looked_at(texts) -> None:
    """No silent window holds a row in which the atom fires, and windows stay in their sample."""
    acts, codes, _ = texts
    facts, active = RowFacts.of(acts), fires_in(codes, 0)
    windows = Windows(facts).silent(active, 30, 2, np.random.default_rng(0))
    assert len(windows) == 30
    for window in windows:
        assert not active[window.rows].any()
        assert len(set(facts.sample[window.rows])) == 1
        assert (np.abs(facts.position[window.rows] - facts.position[window.centre]) <= 2).all()


def test_balanced_accuracy_of_always_no_is_one_half() -> None:
    """Where plain accuracy would say 0.71; hand counts besides; too few examples are no score."""
    assert balanced([False] * 4, [False] * 10) == 0.5
    assert balanced([True, True, True, False], [False, False, True, True]) == (0.75 + 0.5) / 2
    assert np.isnan(balanced([True] * 3, [False] * 10))


def test_the_intruder_is_the_least_alike() -> None:
    assert least_alike(np.array([[1.0, 0], [1.0, 0], [0, 1.0], [0.8, 0.6]])) == 2


def test_a_judge_is_asked_only_when_given(texts) -> None:
    """It gets text and explanation; what cannot be read counts as no; calls are counted."""
    acts, codes, sae = texts
    prompts: list[str] = []

    def judge(prompt: str) -> str:
        prompts.append(prompt)
        if "yes or no" not in prompt:
            return "1"
        shown_text = prompt.split("Text")[1].split("Does it")[0]
        return "Yes." if " cat" in shown_text or " dog" in shown_text else "No, it does not."

    found = score_explanations(
        sae, acts, [0], codes=codes, judge=judge, explanations={0: "animals"}, n_examples=10
    )
    assert found.per_atom[0]["detection"] == 1
    assert found.n_calls == len(prompts) > 10
    assert found.texts == {0: "animals"}
    assert "<<" in next(p for p in prompts if "marked" in p)
    guesser = JudgeGuesser(CountedJudge(lambda _: "perhaps"), "x", RowFacts.of(acts))
    assert not guesser.fires(Window(np.array([0]), 0))
    assert guesser.judge.n_unreadable == 1


def test_exemplars_tell_atoms_that_live_in_the_activations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(perf_counter=iter([10.0, 12.5]).__next__)
    monkeypatch.setattr("sae_nb.evaluation.explanations._detection.time", clock)
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    codes = SparseCodes.from_dense((x[:, :2] - 1).relu())
    sae = SimpleNamespace(d_in=4, n_atoms=2, dictionary=torch.eye(4)[:2], encode=None)
    found = score_explanations(sae, x, codes=codes, explain="exemplars")
    assert found.value > 0.75
    assert found.scores["intruder"].value > 0.3
    assert found.seconds == 2.5


def test_exemplars_are_compared_in_directions_from_the_mean() -> None:
    """From (10, 10) the atom fires to the right; of the rest (11, 14) lies right of it, and (9.5, 4) left."""
    x = torch.tensor([[11.0, 10], [11, 10], [9, 10], [9, 10], [11, 14], [9.5, 4]])
    acts = Activations(x, sample=torch.arange(6), position=torch.zeros(6, dtype=torch.long))
    codes = SparseCodes.from_dense((x[:, :1] == 11).float())
    trials: Any = SimpleNamespace(acts=acts, codes=codes, first=np.arange(6) < 4)
    guesser: Any = ExplanationTrials._exemplars(trials, 0)
    assert guesser.predicted.tolist() == [True, True, False, False, True, False]
    # Two ways to fire, one of them near: lengths do not count.
    x = torch.tensor([[3.0, 0], [0, 1], [-1.5, -0.5], [-1.5, -0.5], [-0.05, -0.005], [0.01, 0.02]])
    codes = SparseCodes.from_dense(torch.tensor([[1.0], [1], [0], [0], [0], [0]]))
    acts = Activations(x + 10, sample=acts.sample, position=acts.position)
    trials = SimpleNamespace(acts=acts, codes=codes, first=trials.first)
    guesser = ExplanationTrials._exemplars(trials, 0)
    assert guesser.predicted.tolist() == [True, True, False, False, False, True]


def test_repeated_tokens_are_known() -> None:
    context = Context(
        kind="language",
        n_samples=2,
        token_ids=Ragged(torch.tensor([7, 8, 7, 7]), torch.tensor([0, 3, 4])),
        vocabulary={7: "a", 8: "b"},
    )
    acts = Activations.from_tensor(
        torch.rand(4, 2),
        sample=torch.tensor([0, 0, 0, 1]),
        position=torch.tensor([0, 1, 2, 0]),
        context=context,
    )
    facts = RowFacts.of(acts)
    assert facts.repeated.tolist() == [False, False, True, False]
    assert facts.before.tolist() == [-1, 7, 8, -1]


def second_code_of(codes: SparseCodes, kept: torch.Tensor) -> SecondCode:
    """What a second code would have found if it kept these entries."""
    firings = pd.DataFrame(
        {
            "row": codes.support.rows.numpy(), "atom": codes.atoms.numpy(),
            "strength": codes.values.numpy(), "kept": kept.numpy(),
        }
    )  # fmt: skip
    zeros = [0.0, 0.0]
    solvers = pd.DataFrame(
        {"code": ["encoder", "omp"], "shared": zeros, "chance": zeros, "l0": zeros, "R²": zeros}
    )
    return SecondCode(
        table=pd.DataFrame({"fires": zeros, "kept": zeros}),
        solvers=solvers,
        strengths=pd.DataFrame({"tenth": [1]}),
        firings=firings,
        facts={"rows": codes.n_rows},
    )


def test_names_are_judged_on_the_firings_that_a_second_code_keeps(texts) -> None:
    acts, codes, sae = texts
    generator = torch.Generator().manual_seed(5)
    dense = codes.to_dense()
    stray = (torch.rand(len(acts), generator=generator) < 0.2) & (dense[:, 0] == 0)
    kept = dense != 0
    dense[stray, 0] = 0.3  # weak firings of the first atom, anywhere
    strayed = SparseCodes.from_dense(dense)
    second = second_code_of(strayed, kept[strayed.support.rows, strayed.atoms.long()])
    asked = {"codes": strayed, "atoms": [0, 1], "n_bootstrap": 0, "n_examples": 80}
    every, judged = (score_explanations(sae, acts, second=one, **asked) for one in (None, second))
    assert judged.texts == every.texts  # named by all firings
    assert every.per_atom[0]["detection"] < 0.97 < judged.per_atom[0]["detection"]
    assert judged.per_atom[1] == every.per_atom[1]  # of which all is kept
    # What is dropped is no window without a firing either.
    trials = ExplanationTrials(
        acts, strayed, RowFacts.of(acts), None, 40, 5, 0, kept_codes(second, strayed)
    )
    firing, silent = trials.examples(0)
    fires, keeps = fires_in(strayed, 0), fires_in(trials.kept, 0)
    assert all(keeps[window.centre] for window in firing)
    assert not any(fires[window.rows].any() for window in silent)
    with pytest.raises(ValueError, match="codes"):
        score_explanations(sae, acts, codes=codes, second=second, atoms=[0])


def test_windows_of_other_kinds_are_unit_vectors_of_their_middle_rows() -> None:
    """Less the mean (1, 1) of all: (3, 4) and (0, −2) in their directions; a row that is the mean is none."""
    x = torch.tensor([[4.0, 5.0], [1.0, -1.0], [1.0, 1.0], [-2.0, -1.0]])
    acts = Activations(x, sample=torch.arange(4), position=torch.zeros(4, dtype=torch.long))
    trials: Any = SimpleNamespace(acts=acts, facts=SimpleNamespace(kind="rows"))
    windows: Any = [SimpleNamespace(centre=i) for i in (0, 2, 1)]
    found = ExplanationTrials._vectors(trials, windows)
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [0, -1]], atol=1e-6)
    assert ExplanationTrials._vectors(trials, []).shape == (0, 1)
