"""The cost of steering: effect, loss and KL as their formulas say, controls at equal KL, layers at equal effect."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import sae_nb as sn

D, N, CLASSES = 6, 40, 3
X = torch.randn(N, D, generator=torch.Generator().manual_seed(1))


@cache
def toy() -> sn.LiveModel:
    torch.manual_seed(0)
    parts = [nn.Identity(), nn.Linear(D, D), nn.Linear(D, CLASSES)]
    return sn.wrap(nn.Sequential(*parts), class_names=list("abc"))


@cache
def labels() -> Tensor:
    return toy()(X).argmax(dim=1)


def direction() -> Tensor:
    first, second = toy().module[1].weight.detach(), toy().module[2].weight.detach()
    return (second - second.mean(dim=0))[1] @ first


def recipe(point: str = "0", **more: Any) -> Any:
    more = {"direction": direction(), "by": 2.0} | more
    with sn.steer(toy(), point, more.pop("sae", None), **more) as steering:
        return steering.recipe


def cost(**more: Any) -> sn.steering.SteeringCost:
    settings = {"labels": labels(), "measure": 1, "strengths": [0.5, 1.0], "n_controls": 3} | more
    return sn.steering_cost(toy(), settings.pop("recipe", None) or recipe(), X, **settings)


def test_effect_loss_and_kl_are_what_their_formulas_say() -> None:
    """Redone by hand: mean probability, cross-entropy against the labels, mean KL(clean‖edited)."""
    found = cost().table
    p = toy()(X).double().log_softmax(dim=1)
    for _, row in found[found["edit"] == "recipe"].iterrows():
        q = toy()(X + row["strength"] * 2.0 * direction()).double().log_softmax(dim=1)
        assert row["effect"] == pytest.approx(float((q.exp() - p.exp())[:, 1].mean()), abs=1e-6)
        loss = cross_entropy(q, labels()) - cross_entropy(p, labels())
        assert row["loss"] == pytest.approx(float(loss), abs=1e-6)
        assert row["kl"] == pytest.approx(float((p.exp() * (p - q)).sum(dim=1).mean()), abs=1e-6)
        assert row["norm"] == pytest.approx(row["strength"] * 2.0 * float(direction().norm()))


def test_controls_have_the_kl_of_the_recipe() -> None:
    """To a twentieth, whatever norm that takes; and what aims at the class has more of the effect."""
    found = cost(contrast=(X[labels() == 1], X[labels() != 1]))
    table = found.table
    assert table["edit"].value_counts().to_dict() == {
        "recipe": 2, "random direction": 6, "difference of means": 2}  # fmt: skip
    own = table[table["edit"] == "recipe"].set_index("strength")
    for _, row in table[table["edit"] != "recipe"].iterrows():
        assert row["reached"]
        assert row["kl"] == pytest.approx(own["kl"][row["strength"]], rel=0.051)
    at_once = table[table["strength"] == 1.0].groupby("edit")["effect"].mean()
    assert at_once["recipe"] > at_once["random direction"]
    assert at_once["difference of means"] > at_once["random direction"]


def test_layers_are_compared_at_the_recipes_effect() -> None:
    """The recipe's own place needs its own norm; elsewhere the row says whether it got there."""
    found = cost(hook_points=["0", "1"], contrast=(X[labels() == 1], X[labels() != 1]))
    layers, effect = found.layers, float(found.table["effect"][1])
    assert set(layers["hook_point"]) == {"0", "1"}
    here = layers[(layers["hook_point"] == "0") & (layers["edit"] == "direction")].iloc[0]
    assert here["norm"] == pytest.approx(2.0 * float(direction().norm()))
    reached = layers[layers["reached"]]
    assert (abs(reached["effect"] - effect) <= max(0.051 * abs(effect), 1e-9)).all()
    assert found.cheapest == layers.iloc[0]["hook_point"]
    assert layers.iloc[0]["loss"] == reached["loss"].min()
    assert "cheapest at" in repr(found)


@pytest.mark.slow
def test_a_mode_that_reads_the_activation_has_its_price_too() -> None:
    sae = sn.TopK(D, 12, 3, generator=torch.Generator().manual_seed(0)).eval()
    atom = int(sae.encode(X).atoms.mode().values)
    held = recipe(sae=sae, atom=atom, by=3.0, mode="set", direction=None)
    found = cost(recipe=held, strengths=None, n_controls=1)
    assert found.table["edit"].tolist() == ["recipe", "random direction", "difference of means"]
    assert found.table["norm"].isna().tolist() == [True, False, False]
    assert found.simpler_is == "tokens at which the recipe's atoms fire minus the others"
    with sn.steer(toy(), "0", sae, atom, 3.0, mode="set"):
        q = toy()(X).double().log_softmax(dim=1)
    p = toy()(X).double().log_softmax(dim=1)
    assert found.table["effect"][0] == pytest.approx(
        float((q.exp() - p.exp())[:, 1].mean()), abs=1e-6
    )


def test_the_difference_of_means_is_taken_in_the_sense_of_the_recipe() -> None:
    pair = (X[labels() == 1], X[labels() != 1])
    more, less = (cost(recipe=recipe(by=by), contrast=pair, n_controls=0) for by in (2.0, -2.0))
    for found, sign in ((more, 1), (less, -1)):
        simple = found.table[found.table["edit"] == "difference of means"]
        assert (sign * simple["effect"] > 0).all()


@cache
def of_texts() -> tuple[sn.LiveModel, list[str], Any]:
    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    texts = [text[:120] for text in sn.data.stories(5, seed=3).texts]
    with sn.steer(gpt, "resid_post.3", sae, atom=17, by=6.0) as steering:
        return gpt, texts, steering.recipe


@pytest.mark.slow
def test_texts_are_scored_at_every_token_that_predicts_one() -> None:
    gpt, texts, steered = of_texts()
    found = sn.steering_cost(gpt, steered, texts, measure=5, strengths=[1.0], n_controls=0)
    losses, log_p = [], []
    for text in texts:
        logits, ids = gpt([text])[0], torch.tensor(gpt.tokenizer(text)["input_ids"])
        assert len(ids) == len(logits)
        losses.append(cross_entropy(logits[:-1], ids[1:], reduction="none"))
        log_p.append(logits[:-1].log_softmax(dim=-1)[:, 5])
    assert found.clean_loss == pytest.approx(float(torch.cat(losses).mean()), rel=1e-5)
    assert found.clean == pytest.approx(float(torch.cat(log_p).mean()), rel=1e-5)
    assert found.n_scored == len(torch.cat(losses))
    assert "log-probability of" in found.measure


@pytest.mark.slow
def test_what_rises_most_is_chosen_on_other_texts_than_it_is_measured_on() -> None:
    """Every second text chooses, the others count; and there it rises more than along a random direction."""
    gpt, texts, steered = of_texts()
    found = sn.steering_cost(gpt, steered, texts, strengths=[1.0], n_controls=1)
    own = [len(gpt.tokenizer(text)["input_ids"]) - 1 for text in texts[1::2]]
    assert found.n_scored == sum(own)
    effect = found.table.set_index("edit")["effect"]
    assert effect["recipe"] > max(0.0, effect["random direction"])
    figure = found.plot()
    assert [trace.name for trace in figure.data] == [
        "recipe",
        "difference of means",
        "random direction",
    ]
    assert "SteeringCost(at resid_post.3" in found._repr_html_()
