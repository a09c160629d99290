"""Which fields decide what a model chooses, and what knowing it is worth."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.circuits import DecisionPredictions, predict_decisions
from sae_nb_studies.circuits._deciding import GRADIENT, KNOWN, RELEVANCE, SAMPLES, _Asking
from sae_nb_studies.data import HiddenRules, hidden_rules

RULE = 19
"""One that asks animal, place and thing."""


@pytest.fixture(scope="module")
def record() -> HiddenRules:
    return hidden_rules(150, rule=RULE)


@pytest.fixture(scope="module")
def planted(record: HiddenRules) -> Iterator[sn.LiveModel]:
    """tiny-gpt with blocks that write nothing, and a vote of three fields, linear in their embeddings.

    ⟨w, e⟩ is ±1 for the words of animal, place and thing, by the half of their list, and 0 for all other words; the
    votes up to a position are added to its stream along the difference of the two answers.
    """
    model = sn.load_model("tiny-gpt", "cpu")
    module: Any = model.module
    read = module.get_input_embeddings().weight.detach()
    with torch.no_grad():
        for block in module.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
    asking, voters = _Asking(model, record), [record.fields.index(f) for f in record.rule.fields]
    rows, votes = [], []
    for row in range(len(record)):
        ids = torch.tensor(model.tokens(record.prompts[row])["id"].to_numpy())
        owner = torch.from_numpy(asking._owners(row))
        for field in range(-1, 6):
            for part in [owner == field] if field in voters else (owner == field).diag().bool():
                if part.any():
                    rows.append(read[ids[part]].sum(dim=0))
                    vote = 2.0 * float(record.values[row, field]) - 1
                    votes.append(vote if field in voters else 0.0)
    w = torch.linalg.lstsq(torch.stack(rows), torch.tensor(votes), driver="gelsd").solution
    false, true = (model.tokenizer(word).input_ids[-1] for word in record.answers)
    along = 30 * (read[true] - read[false])
    seen: list[Tensor] = []

    def note(x: Tensor) -> Tensor:
        seen[:] = [x]
        return x

    def write(x: Tensor) -> Tensor:
        return x + (seen[0] @ w).cumsum(dim=1)[..., None] * along

    with sn.splice(model, "resid_post.0", note), sn.splice(model, "resid_post.3", write):
        yield model


@pytest.fixture(scope="module")
def found(planted: sn.LiveModel, record: HiddenRules) -> DecisionPredictions:
    return predict_decisions(planted, record[:30], record[30:])


@pytest.mark.slow
@pytest.mark.parametrize("method", [GRADIENT, RELEVANCE])
def test_the_fields_of_a_linear_vote_are_found(method: str, found: DecisionPredictions) -> None:
    (row,) = found.table[found.table.method == method].to_dict("records")
    assert row["found"] == 1.0
    assert found.accuracy(method) > found.accuracy(SAMPLES) + 0.05
    assert found.accuracy(method) == pytest.approx(found.accuracy(KNOWN), abs=0.05)


@pytest.mark.slow
def test_shuffled_labels_predict_nothing(found: DecisionPredictions) -> None:
    assert found.table.shuffled.between(0.35, 0.65).all()


@pytest.mark.slow
def test_relevance_of_the_tokens_is_the_difference_of_the_logits(record: HiddenRules) -> None:
    """Nothing is lost on the way through a model without biases: Σ_t R_t = m, to 1e-4 relative."""
    gpt = sn.load_model("tiny-gpt", "cpu")
    asking = _Asking(gpt, record[:3])
    false, true = (gpt.tokenizer(word).input_ids[-1] for word in record.answers)
    for row in range(3):
        logits = gpt([record.prompts[row]])[0, -1]
        assert asking.relevance(row).sum() == pytest.approx(
            float(logits[true] - logits[false]), rel=1e-4, abs=1e-4
        )


def test_the_gradient_is_the_slope_along_the_input(record: HiddenRules) -> None:
    gpt = sn.load_model("tiny-gpt", "cpu")
    asking = _Asking(gpt, record[:1])
    false, true = (gpt.tokenizer(word).input_ids[-1] for word in record.answers)
    ends = []
    for factor in (1.001, 0.999):
        with sn.splice(gpt, "resid_pre.0", partial(torch.mul, torch.tensor(factor))):
            logits = gpt([record.prompts[0]])[0, -1].double()
        ends.append(float(logits[true] - logits[false]))
    assert asking.gradient(0).sum() == pytest.approx((ends[0] - ends[1]) / 0.002, rel=0.02)
