"""Stories whose decision follows a hidden rule."""

from __future__ import annotations

import pytest
import torch

from sae_nb.data import stories
from sae_nb_studies.data import DecisionRule, hidden_rules


def test_a_rule_is_a_tree_whose_root_says_which_of_two_fields_decides() -> None:
    rule = DecisionRule("place", "animal", "sentiment")
    values = torch.rand(64, 6, generator=torch.Generator().manual_seed(0)) > 0.5
    by_hand = [v[3] if v[4] else v[0] for v in values.tolist()]
    assert rule.decide(values).tolist() == by_hand
    assert len({tuple(v[i] for i in (4, 3, 0)) for v in values.tolist()}) == 8


@pytest.mark.parametrize("number", range(6))
def test_the_other_rule_has_no_field_of_the_rule(number: int) -> None:
    record = hidden_rules(2, rule=number)
    assert sorted(record.rule.fields + record.other_rule.fields) == sorted(record.fields)


def test_kinds_of_explanation_differ_in_the_reason_alone() -> None:
    kinds = {k: hidden_rules(20, explanation=k) for k in ("faithful", "absent", "misleading")}
    faithful = kinds["faithful"]
    reasons = {
        "faithful": faithful.rule.reason,
        "absent": ".",
        "misleading": faithful.other_rule.reason,
    }
    for kind, record in kinds.items():
        assert record.prompts == faithful.prompts
        assert torch.equal(record.decision, record.rule.decide(record.values))
        answers = [record.answers[int(answer)] for answer in record.decision]
        expected = [p + a + reasons[kind] for p, a in zip(record.prompts, answers, strict=True)]
        assert list(record.texts) == expected


@pytest.mark.slow
def test_every_field_is_written_once_and_owns_its_characters() -> None:
    """The words of a field are those that its value can be read from, in the story of that number."""
    record, told = hidden_rules(60, seed=4), stories(60, seed=4)
    fields = record.fields
    for row, prompt in enumerate(record.prompts):
        words = {
            name: "".join(c for c, o in zip(prompt, record.owner[row], strict=False) if o == i)
            for i, name in enumerate(fields)
        }
        for kind in ("person", "animal", "place", "thing"):
            assert words[kind] == told.entities[int(getattr(told, kind)[row])]
        assert words["plural"].endswith("were") == bool(told.plural[row])
        assert (" and " in words["plural"]) == bool(told.plural[row])
        assert (words["sentiment"] in ("happy", "glad", "proud")) == bool(told.sentiment[row])
        assert (record.owner[row, len(prompt) :] == -1).all()
