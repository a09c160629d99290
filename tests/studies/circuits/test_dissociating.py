"""Dissociation: found where it is planted, not between a task and itself; shares are those of ablation by itself."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import sae_nb as sn
from sae_nb.circuits import head_contributions
from sae_nb.models import run
from sae_nb_studies.circuits import Dissociation, Task, dissociate
from sae_nb_studies.circuits._dissociating import _Runs

N_WORDS, ASK = 4, 8
"""Words of a kind: 0 … 3 and 4 … 7; after one of them and `ASK` that word is to come again."""


@cache
def planted() -> Any:
    """One block that looks at everything alike: head 0 carries words of the first kind, head 1 of the second."""
    config = GPT2Config(
        vocab_size=9, n_positions=4, n_embd=16, n_layer=1, n_head=2, n_inner=16,
        attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    net = GPT2LMHeadModel(config).eval()
    block = net.transformer.h[0]
    for name, parameter in net.named_parameters():
        if "ln" not in name:
            parameter.data.zero_()
    net.transformer.wte.weight.data[:, :9] = torch.eye(9)
    values = torch.zeros(16, 16)  # what is read of the stream → heads side by side, 8 columns each
    values[:N_WORDS, :N_WORDS] = torch.eye(N_WORDS)
    values[N_WORDS:ASK, 8 : 8 + N_WORDS] = torch.eye(N_WORDS)
    block.attn.c_attn.weight.data[:, 32:] = values
    block.attn.c_proj.weight.data.copy_(values.T)
    return sn.wrap(net)


def words(first: int, name: str) -> Task:
    answers = [first + i for i in range(N_WORDS)] * 2
    wrong = [first + (i + 1) % N_WORDS for i in range(N_WORDS)] * 2
    inputs = torch.tensor([[word, ASK] for word in answers])
    return Task(inputs=inputs, answers=answers, wrong=wrong, name=name)


@cache
def found() -> Dissociation:
    return dissociate(planted(), words(0, "first"), words(N_WORDS, "second"))


@pytest.mark.slow
def test_planted_heads_are_each_task_s_own() -> None:
    parts = found().components.set_index(["kind", "index"])
    assert parts.loc[("head", 0), "a"] > 0.9 > 0.1 > abs(parts.loc[("head", 0), "b"])
    assert parts.loc[("head", 1), "b"] > 0.9 > 0.1 > abs(parts.loc[("head", 1), "a"])
    assert parts.loc[("mlp", 0), ["a", "b"]].abs().max() < 1e-6
    assert found().test["index"].tolist() == [0, 1]
    assert found().double
    assert (found().test.selectivity > 0.8).all()
    assert (found().test.random < found().test.difference).all()


@pytest.mark.slow
def test_shares_are_those_of_heads_removed_one_by_one() -> None:
    """`head_contributions` by ablation, on the same inputs and so with the same means."""
    model, word = sn.load_model("tiny-gpt"), " well"
    texts = [f"{name} wept. In the end all was" for name in ("She", "Tom", "Ida", "He")]
    task = Task(inputs=texts, answers=[word] * 4)
    result = dissociate(model, task, task, n_random=1)
    apart = head_contributions(model, texts, target=word, method="ablation")
    heads = result.components[result.components.kind == "head"]
    assert np.allclose(heads.a * result.clean[0], apart.values.ravel(), atol=1e-4)
    assert result.clean[0] == pytest.approx(apart.answer, abs=1e-4)


def test_random_edits_have_the_norm_of_the_ablation() -> None:
    tasks = (words(0, "first"), words(N_WORDS, "second"))
    runs, block = _Runs(planted(), tasks, 3, np.random.default_rng(0)), range(3)
    written = {str(part.written) for part in runs.components[:3]}
    several = runs.inputs[0][0][0].copies(4)
    ran = run(runs.model, several, read=written, put=runs._ablations(block))
    changes = dict(runs._changes(block, ran.states))
    for turn in runs.turns:
        moved = changes[0] @ turn
        assert torch.allclose(moved @ moved.T, changes[0] @ changes[0].T, atol=1e-5)
        assert not torch.allclose(moved, changes[0], atol=1e-2)


def test_what_lies_below_is_left_out_and_the_numbers_are_the_same(gpt, monkeypatch):
    names = ("She", "Tom", "Ida", "He")
    mood = Task(inputs=[f"{x} danced. All was" for x in names], answers=[" well"] * 4)
    place = Task(inputs=[f"{x} walked to the" for x in names], answers=[" farm"] * 4)
    whole = dissociate(gpt, mood, place, n_random=2)
    monkeypatch.setattr("sae_nb_studies.circuits._dissociating.BLOCK", 7)
    parts = dissociate(gpt, mood, place, n_random=2)
    np.testing.assert_allclose(parts.random, whole.random, atol=1e-4)
    np.testing.assert_allclose(parts.components.a, whole.components.a, atol=1e-4)
