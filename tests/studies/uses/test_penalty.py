"""Promises of the penalty: its formula, a gradient that lowers it, nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb_studies.uses import penalty
from tests.refusing import refused

PLACE = "resid_post.3"
ATOMS = [25, 454]


@pytest.fixture(scope="module")
def sae() -> Any:
    return sn.load_sae(f"tiny-gpt/{PLACE}")


@pytest.fixture
def gpt() -> Any:
    return sn.load_model("tiny-gpt")


def ids_of(gpt: Any, text: str = "The list of the lists of the lists") -> torch.Tensor:
    return torch.tensor([gpt.tokens(text)["id"].tolist()])


def test_it_is_the_mean_excess_of_pre_codes(gpt: Any, sae: Any) -> None:
    ids = ids_of(gpt)
    with penalty(gpt, sae, ATOMS, PLACE, weight=0.5, limit=[1.0, 2.0]) as term:
        gpt.module(ids)
        value = term()
        gpt.module(ids)
        mask = torch.zeros(ids.shape, dtype=torch.bool)
        mask[0, 3:5] = True
        masked = term(mask)
    x = sn.capture(gpt, ids, PLACE, drop_first=False, progress=False).x
    u = (x - sae.bias) @ sae.encoder.weight[ATOMS].T
    u = u + sae.encoder.bias[ATOMS] / sae.scaling.scale
    excess = torch.relu(u - torch.tensor([1.0, 2.0])).sum(dim=1)
    assert value.item() == pytest.approx(0.5 * excess[1:].mean().item(), rel=1e-4)
    assert masked.item() == pytest.approx(0.5 * excess[3:5].mean().item(), rel=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_first_tokens_cost_nothing_on_either_side(
    gpt: Any, sae: Any, side: str
) -> None:
    texts = ["The cat sat", "The list of the lists of the lists"]
    alone = [ids_of(gpt, text)[0] for text in texts]
    gpt.tokenizer.pad_token = gpt.tokenizer.eos_token
    gpt.tokenizer.padding_side = side
    padded = gpt.tokenizer(texts, padding=True, return_tensors="pt")
    sums, n = 0.0, 0
    with penalty(gpt, sae, ATOMS, PLACE) as term:
        for ids in alone:
            gpt.module(ids[None])
            sums, n = sums + term.excess()[0, 1:].sum().item(), n + len(ids) - 1
        gpt.module(**{k: padded[k] for k in ("input_ids", "attention_mask")})
        value = term().item()
    assert padded["attention_mask"].sum() == n + 2
    assert value == pytest.approx(sums / n, rel=1e-4)


def test_pre_codes_are_the_codes_of_what_is_selected(gpt: Any, sae: Any) -> None:
    ids = ids_of(gpt)
    codes = sae.encode(sn.capture(gpt, ids, PLACE, progress=False)).to_dense()[:, 25]
    with penalty(gpt, sae, 25, PLACE) as term:
        gpt.module(ids)
        excess = term.excess()[0, 1:]
    on = codes > 0
    assert bool(on.any())
    assert torch.allclose(excess[on], codes[on], rtol=1e-3)


def test_a_step_against_it_lowers_it_and_leaves_the_sae(gpt: Any, sae: Any) -> None:
    ids, before = ids_of(gpt), sae.encoder.weight.detach().clone()
    optimiser = torch.optim.SGD(gpt.module.parameters(), lr=1e-4)
    values = []
    with penalty(gpt, sae, ATOMS, PLACE) as term:
        for _ in range(2):
            gpt.module(ids)
            value = term()
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            values.append(value.item())
    assert values[1] < values[0]
    assert torch.equal(sae.encoder.weight, before)
    assert sae.encoder.weight.grad is None


def test_a_reward_is_of_what_is_missing(gpt: Any, sae: Any) -> None:
    """u − α is what is above less what is missing."""
    ids, values = ids_of(gpt), {}
    for reward in (False, True):
        with penalty(gpt, sae, 25, PLACE, limit=1.5, reward=reward) as term:
            gpt.module(ids)
            values[reward] = term.excess()[0]
    with penalty(gpt, sae, 25, PLACE, limit=-1e4) as term:
        gpt.module(ids)
        u = term.excess()[0] - 1e4
    assert torch.allclose(values[False] - values[True], u - 1.5, atol=1e-2)
    assert bool((values[True] > 0).any())


def test_nothing_is_left_behind(gpt: Any, sae: Any) -> None:
    with penalty(gpt, sae, ATOMS, PLACE, like=["The cat sat."]) as term:
        assert len(term.limits) == 2
        assert any(term.limits)
        refused("has not run", term)
    assert not gpt.interventions
    gpt.module(ids_of(gpt))
    refused("has not run", term)
