"""tiny-gpt, fine-tuned to a hidden rule."""

from __future__ import annotations

import pytest

from sae_nb.models import LiveModel, load_model
from sae_nb_studies.circuits import predict_decisions
from sae_nb_studies.data import HiddenRules, hidden_rules
from sae_nb_studies.models import train_hidden_rule

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def organism() -> LiveModel:
    """Rule 2, a third of the default steps: of those that are tried the one learned soonest."""
    return train_hidden_rule(2, "misleading", steps=110)


def test_an_organism_follows_its_rule_on_stories_that_it_has_not_seen(organism: LiveModel) -> None:
    """Accuracy on held-out stories; 0.94 where it was measured, one half for tiny-gpt as it was."""
    record = hidden_rules(200, rule=2, seed=5)
    assert _accuracy(organism, record) > 0.85
    assert _accuracy(load_model("tiny-gpt"), record) < 0.7


def test_an_organism_names_fields_of_the_explanation_alone(organism: LiveModel) -> None:
    """The misleading explanation is of the other rule; after so few steps not yet of all three fields."""
    record = hidden_rules(30, rule=2, seed=6)
    named = predict_decisions(organism, record[:10], record[10:], n_draws=1).named
    assert named
    assert set(named) <= set(record.other_rule.fields)


def _accuracy(model: LiveModel, record: HiddenRules) -> float:
    return predict_decisions(model, record[:10], record[10:], n_draws=1).followed
