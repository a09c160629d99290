"""Trials of steering measure what they say, on models whose answers are known."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb_studies.pretrained import ClassTrial
from sae_nb_studies.pretrained._trials import nats_per_token


def test_a_class_direction_turns_what_it_must() -> None:
    head = torch.nn.Linear(3, 3, bias=False)
    head.weight.data = torch.eye(3)
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), head))
    x = torch.tensor([[1.0, 0, 0], [4.0, 0, 0], [0, 0, 2.0], [0, 5.0, 0]])
    trial = ClassTrial(model, "0", x, torch.tensor([0, 0, 2, 1]))
    turn = trial.turn(torch.tensor([0.0, 7.0, 0.0]), 3.0, wanted=1)
    assert turn.n == 3
    assert turn.turned == pytest.approx(2 / 3)
    assert turn.interval[0] <= turn.turned <= turn.interval[1]
    assert trial.turn(torch.tensor([0.0, 1.0, 0.0]), 0.0, wanted=1).turned == 0


def test_nats_are_those_of_the_models_own_logits(gpt: sn.LiveModel) -> None:
    texts = ["One day Anna went to the farm with a dog.", "The sun came out.", "It was not far."]
    ids = [torch.tensor(gpt.tokenizer(text)["input_ids"]) for text in texts]
    before, after = [i[:3] for i in ids], [i[3:] for i in ids]
    total = 0.0
    with torch.no_grad():
        for row in ids:
            logits = gpt.module(input_ids=row[None]).logits[0].log_softmax(dim=-1)
            total -= float(logits[2:-1].gather(1, row[3:, None]).sum())
    expected = total / sum(map(len, after))
    assert nats_per_token(gpt, before, after) == pytest.approx(expected, abs=1e-4)
