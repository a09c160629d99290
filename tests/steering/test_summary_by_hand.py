"""What a steering summary says of answers that are given: bars, control, verdict."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sae_nb as sn
from sae_nb.models import as_batch
from sae_nb.steering import SteeringRecipe, SteeringSummary, summarise_dose_response
from sae_nb.steering._recipe import two_groups
from sae_nb.steering._summary import _outcomes, _relative_change, _stands_out, effects_of_adding
from tests.models.small_models import PlainSae

MODEL: Any = SimpleNamespace(name="a model", modality=SimpleNamespace(is_text=True))


def reading(p: Any = None, answer: Any = None) -> Any:
    scores = None if p is None else np.log(np.array(p))
    return SimpleNamespace(scores=scores, answer=None if answer is None else np.array(answer))


def outcomes(*p: Any, n_shown: int = 10, target: int | None = None) -> dict[str, Any]:
    readings = [reading(one) for one in p]
    return _outcomes(MODEL, (), readings, n_shown, target, lambda ids: tuple(map(str, ids)))


def test_of_few_classes_all_are_shown() -> None:
    """Twelve in their order; of thirteen the likeliest before and after, by falling p before."""
    few = np.full(12, 1 / 12)
    assert outcomes(few, few, few)["ids"].tolist() == list(range(12))
    p = np.array([2, 1, 9, 3, 8, 4, 1, 1, 1, 1, 1, 1, 1]) / 34
    q = np.array([2, 1, 3, 9, 1, 4, 1, 1, 1, 7, 1, 1, 2]) / 34
    for n_shown, ids in (
        (4, [2, 4, 3, 9]),
        (5, [2, 4, 3, 9]),
        (6, [2, 4, 5, 3, 9]),
        (1, [2, 4, 3]),
    ):
        found = outcomes(p, q, p, p, n_shown=n_shown)
        assert found["ids"].tolist() == ids, n_shown
        np.testing.assert_allclose(found["before"], p[ids])
        np.testing.assert_allclose(found["after"], q[ids])
    assert (found["target"], found["stands_out"]) == (3, 4)
    assert outcomes(p, q, p, target=12, n_shown=2)["ids"].tolist() == [2, 4, 3, 12]
    assert outcomes(p, q, q, n_shown=1)["ids"].tolist() == [2, 4, 3]  # where none stands out


def test_controls_stand_beside_the_bars_and_divergences_are_from_the_clean_answer() -> None:
    p, q, r, s = [0.5, 0.5], [0.25, 0.75], [0.5, 0.5], [0.75, 0.25]
    found = outcomes(p, q, r, s, target=0)
    assert found["random"].tolist() == pytest.approx(r)
    np.testing.assert_allclose(found["controls"], [r, s])
    far = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    assert (found["kl"], found["kl_random"]) == pytest.approx((far, 0), abs=1e-6)
    np.testing.assert_allclose(found["kl_controls"], [0, far], atol=1e-6)
    assert [outcomes(p, q, r, target=t)["target"] for t in (0, 1, None)] == [0, 1, 1]
    for wrong in (-1, 2):
        with pytest.raises(ValueError, match="between 0 and 1"):
            outcomes(p, q, r, target=wrong)


def test_what_stands_out_exceeds_every_control_by_half_a_hundredth() -> None:
    before = np.array([0.5, 0.25, 0.25])
    drawn = [[0.5, 0.375, 0.125], [0.75, 0.125, 0.125]]
    assert _stands_out(before, np.array([[0.25, 0.25, 0.5], *drawn])) == 2
    assert _stands_out(before, np.array([[0.25, 0.375, 0.375], *drawn])) is None
    assert _stands_out(before, np.array([[0.5, 0.25, 0.381], *drawn])) == 2
    assert _stands_out(before, np.array([[0.5, 0.25, 0.379], *drawn])) is None


def test_of_states_the_bars_are_cosines() -> None:
    clean, after, drawn = [[3.0, 4], [0, 2]], [[4.0, 3], [0, 1]], [[3.0, 4], [1, 0]]
    readings = [reading(answer=one) for one in (clean, after, drawn)]
    found = _outcomes(MODEL, ("a", "b"), readings, 10, None, lambda ids: ())
    assert (found["names"], found["target"], found["ids"].tolist()) == (("a", "b"), 0, [0, 1])
    np.testing.assert_allclose(found["before"], [1, 1])
    np.testing.assert_allclose(found["after"], [0.96, 1])
    np.testing.assert_allclose(found["controls"], [[1, 0]])
    np.testing.assert_allclose(found["random"], [1, 0])
    assert _outcomes(MODEL, ("a",), readings, 1, None, lambda ids: ())["names"] == (
        "state 0", "state 1"
    )  # fmt: skip
    small = [reading(answer=1e-3 * np.array(one)) for one in (clean, after, drawn)]
    near = _outcomes(MODEL, ("a", "b"), small, 10, None, lambda ids: ())
    np.testing.assert_allclose(near["after"], [0.96, 1])
    change = _relative_change(np.array(clean), np.array(after))
    np.testing.assert_allclose(change, [2**0.5 / 5, 0.5])
    assert _relative_change(np.zeros((1, 2)), np.array([[3e-12, 4e-12]])) == pytest.approx(5)
    assert _relative_change(None, np.array(after)) is None


def summary(**given: Any) -> SteeringSummary:
    fields: dict[str, Any] = {
        "recipe": SteeringRecipe(hook_point="0", atom=0, strength=1.0), "edit_norm": 1.0,
        "outcome": "class", "names": ("a", "b", "c"), "ids": np.array([4, 7, 9]),
        "before": np.array([0.5, 0.25, 0.25]), "after": np.array([0.125, 0.5, 0.375]),
        "random": np.array([0.75, 0.125, 0.125]), "target": 7, "kl": 0.5, "kl_random": 0.1,
        "controls": np.array([[0.75, 0.125, 0.125], [0.875, 0.0, 0.125], [0.5, 0.5, 0.0]]),
        "kl_controls": np.array([0.1, 0.4, 0.3]), "stands_out": None, "tokens": ("x", "y"),
        "read_at": None, "state_change": np.array([1.0, 2.0]),
        "state_change_random": np.array([3.0, 4.0]), "face": np.array([[1], [0]]), "prefix_tokens": 0,
    }  # fmt: skip
    return SteeringSummary(**(fields | given))


def test_the_verdict_counts_controls_that_change_as_far() -> None:
    """Changes are 0.375, 0.25, 0.125; controls change (a) 0.25, 0.375, 0, (b) 0.125, 0.25, 0.25."""
    found = summary()
    assert [found.as_far(name) for name in "abc"] == [1, 2, 3]
    assert found.changed_most == "a"
    assert found.of_target == (0.25, 0.5, 0.125)
    assert (found.target_name, found.effect, found.effect_random) == ("b", 0.25, -0.125)
    assert found.answers == ("a", "b")
    assert [found.beyond(name) for name in "abc"] == [False] * 3
    assert (found.moves_further, found.beats_chance) == (True, True)
    drawn = found.controls
    assert summary(controls=drawn[:1]).changed_most == "a"
    assert [summary(controls=drawn[:1]).as_far(name) for name in "abc"] == [0, 0, 1]
    assert not summary(kl=0.40005).beats_chance
    assert summary(kl=0.4002).moves_further
    assert summary(kl=0.1, controls=drawn[:1]).beats_chance
    assert not summary(kl=None).moves_further
    near = summary(after=np.array([0.5, 0.25, 0.371]), controls=np.array([[0.5, 0.25, 0.375]]))
    assert (near.as_far("c"), near.as_far("a")) == (1, 1)  # by half a hundredth
    assert summary(after=np.array([0.5, 0.25, 0.381]), controls=drawn[:1]).as_far("c") == 0
    just = summary(before=np.zeros(3), after=np.array([0.005, 0, 0]), controls=np.zeros((2, 3)))
    assert just.as_far("a") == 2
    np.testing.assert_array_equal(found.patch_change(), [[2], [1]])
    np.testing.assert_array_equal(found.patch_change(random=True), [[4], [3]])
    assert summary(face=None).patch_change() is None


def test_directions_are_added_in_one_pass() -> None:
    """Of logits x @ W the divergence, of states how far they move."""
    head = nn.Linear(2, 2, bias=False)
    head.weight.data = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    net = nn.Sequential(nn.Identity(), head)
    x, added = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, -1.0]])
    states = sn.wrap(net)
    moved = effects_of_adding(states, as_batch(states, x), "0", added)
    np.testing.assert_allclose(moved, [5, 0, 1], atol=1e-6)
    classes = sn.wrap(net, class_names=["a", "b"])
    found = effects_of_adding(classes, as_batch(classes, x), "0", added)
    p = (x @ head.weight.T).log_softmax(-1)
    q = ((x + added) @ head.weight.T).log_softmax(-1)
    np.testing.assert_allclose(found, (p.exp() * (p - q)).sum(-1).detach(), atol=1e-6)


def test_combined_atoms_are_scaled_together() -> None:
    """Of atoms 0 and 2 by 2 and −1: a unit of strength adds d₀ − d₂/2, and is √1.25 long."""
    sae = PlainSae(4, 4)
    sae.dictionary = torch.eye(4) * torch.tensor([[1.0], [2], [3], [1]])
    sae.dictionary[3] = torch.tensor([0.5, 0.5, 0.0, 0.0])
    model = sn.wrap(nn.Sequential(nn.Identity()), class_names=list("abcd"))
    recipe = SteeringRecipe(hook_point="0", atom=0, strength=2.0, others=((2, -1.0),))
    assert recipe.name == "atoms 0 + 2"
    assert SteeringRecipe(hook_point="0", atom=5, strength=2.0).name == "atom 5"
    scaled = recipe.scaled(3.0)
    assert (scaled.strength, scaled.others, scaled.atom) == (6, ((2, -3),), 0)
    found = summarise_dose_response(model, torch.zeros(1, 4), sae, recipe, [1.0, -2.0], 0)
    u = torch.tensor([1.0, 0, -0.5, 0])
    for i, by in enumerate((1.0, -2.0)):
        change = (by * u).softmax(-1)[0] - 0.25
        assert found.response.effect[i] == pytest.approx(float(change), abs=1e-6)
        near = (by * 1.25**0.5 * torch.tensor([0.5, 0.5, 0, 0]) * 2**0.5).softmax(-1)[0] - 0.25
        assert found.nearest_effect[i] == pytest.approx(float(near), abs=1e-6)
    assert found.nearest_atom == 3
    assert found.nearest_cosine == pytest.approx(0.5 / (1.25 * 0.5) ** 0.5)
    assert found.response.control.shape == (8, 2)


def test_two_groups_are_two_lists_of_texts() -> None:
    assert two_groups([["a"], ("b", "c")]) == (("a",), ("b", "c"))
    for wrong in (None, [["a"]], [["a"], ["b"], ["c"]], [["a"], []], [["a"], [1]], [["a"], "b"]):
        with pytest.raises(ValueError, match="two lists of texts"):
            two_groups(wrong)
