"""What is said about a steered model is what the model did, and the control is fair."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.models import as_batch, run
from sae_nb.steering import SteeringRecipe, edit_of, summarise_steering
from sae_nb.steering._reading import read_answer
from sae_nb.steering._summary import Steered, control_of
from tests.models.small_models import PlainSae, small_gpt, small_vit


@pytest.fixture(scope="module")
def vit() -> Any:
    module = small_vit(d_model=32, n_blocks=4, n_heads=2)
    return sn.wrap(module, class_names=[str(i) for i in range(10)], name="small vit")


@pytest.fixture(scope="module")
def gpt() -> Any:
    words = ["<end>", "the", "cat", "sat", "on", "a", "mat", "<script>", "dog", "ran"]
    return small_gpt(words, initializer_range=0.4)


@pytest.fixture(scope="module")
def picture() -> Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


SAE = PlainSae(32, 64)


def recipe(**given: Any) -> SteeringRecipe:
    """Add atom 5 in the middle of the small vit, but for what is given."""
    return SteeringRecipe(**({"hook_point": "resid_post.1", "atom": 5, "strength": 4.0} | given))


def test_bars_are_the_models_own_probabilities(vit: Any, picture: Tensor) -> None:
    """Before is the plain model, after is the model under `sn.steer`."""
    summary = summarise_steering(vit, picture, SAE, recipe())
    np.testing.assert_allclose(summary.before, vit(picture)[0].softmax(-1), atol=1e-6)
    with sn.steer(vit, "resid_post.1", SAE, 5, 4.0):
        steered = vit(picture)[0].softmax(-1)
    np.testing.assert_allclose(summary.after, steered, atol=1e-6)
    assert summary.names == tuple("0123456789")
    assert vit.interventions == []


@pytest.mark.parametrize(("mode", "strength"), [("add", 0.0), ("scale", 1.0)])
def test_neutral_strength_changes_nothing(
    vit: Any, picture: Tensor, mode: str, strength: float
) -> None:
    """Adding zero and scaling by one leave answer and states as they were, control included."""
    summary = summarise_steering(vit, picture, SAE, recipe(mode=mode, strength=strength))
    np.testing.assert_allclose(summary.after, summary.before, atol=1e-6)
    np.testing.assert_allclose(summary.random, summary.before, atol=1e-6)
    np.testing.assert_allclose(summary.state_change, 0, atol=1e-5)
    assert summary.kl == pytest.approx(0, abs=1e-6)
    assert summary.edit_norm == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("mode", "strength"), [("add", -3.0), ("set", 2.5), ("scale", 3.0)])
@pytest.mark.parametrize("positions", [None, "patches", (0, 9)])
def test_control_has_the_edits_norm_at_every_position(
    vit: Any, picture: Tensor, mode: str, strength: float, positions: Any
) -> None:
    """The random direction is as long as what it stands beside, position by position."""
    asked = recipe(mode=mode, strength=strength, positions=positions)
    batch = as_batch(vit, picture)
    clean = read_answer(vit, batch, "resid_post.1").edited
    norms = []
    for edit in (edit_of(vit, SAE, asked), control_of(vit, SAE, asked)):
        with edit:
            moved = read_answer(vit, batch, "resid_post.1").edited - clean
        norms.append(np.linalg.norm(moved, axis=-1))
    np.testing.assert_allclose(*norms, atol=2e-5)
    assert norms[0].max() > 0.1
    summary = summarise_steering(vit, picture, SAE, asked)
    touched = norms[0][norms[0] > 1e-4]
    assert summary.edit_norm == pytest.approx(touched.mean(), rel=1e-3)


def test_only_the_chosen_positions_are_edited(vit: Any, picture: Tensor) -> None:
    """Position 9 of the hook point moves; its neighbours do not."""
    summary = summarise_steering(
        vit, picture, SAE, recipe(positions=(9,), hook_point="resid_post.3")
    )
    assert summary.read_at == "resid_post.3"
    assert summary.tokens[9] == "patch 0,4"
    assert np.flatnonzero(summary.state_change > 1e-6).tolist() == [9]


def test_state_change_is_measured_downstream(vit: Any, picture: Tensor) -> None:
    """It is ‖after − before‖ / ‖before‖ of the last block's output."""
    summary = summarise_steering(vit, picture, SAE, recipe())
    batch = as_batch(vit, picture)
    before = run(vit, batch, read="resid_post.3", answer=False).seen["resid_post.3"][0]
    with sn.steer(vit, "resid_post.1", SAE, 5, 4.0):
        after = run(vit, batch, read="resid_post.3", answer=False).seen["resid_post.3"][0]
    expected = (after - before).norm(dim=-1) / before.norm(dim=-1)
    np.testing.assert_allclose(summary.state_change, expected, rtol=1e-4)
    np.testing.assert_array_equal(summary.patch_change(), summary.state_change[5:].reshape(8, 8))
    assert summary.picture.dtype == np.uint8
    with control_of(vit, SAE, recipe()):
        drawn = run(vit, batch, read="resid_post.3", answer=False).seen["resid_post.3"][0]
    expected = (drawn - before).norm(dim=-1) / before.norm(dim=-1)
    np.testing.assert_allclose(summary.state_change_random, expected, rtol=1e-4)


def test_kl_is_that_of_the_whole_distribution(gpt: Any) -> None:
    asked = recipe(hook_point="resid_post.0", strength=3.0)
    sae = PlainSae(16, 32)
    summary = summarise_steering(gpt, ["the cat sat"], sae, asked, n_shown=2)
    clean = gpt(["the cat sat"])[0, -1].log_softmax(-1)
    with sn.steer(gpt, "resid_post.0", sae, 5, 3.0):
        steered = gpt(["the cat sat"])[0, -1].log_softmax(-1)
    expected = torch.nn.functional.kl_div(steered, clean, log_target=True, reduction="sum")
    assert summary.kl == pytest.approx(float(expected), rel=1e-4)


def test_encoder_shows_how_far_its_states_turn(picture: Tensor) -> None:
    """A model without classes is shown by the cosine of its states."""
    module = small_vit(d_model=32, n_blocks=2, n_heads=2)
    module.forward = module.final_states  # type: ignore[method-assign]
    model = sn.wrap(module.eval(), prefix_tokens=5, patch_grid=(8, 8))
    summary = summarise_steering(model, picture, SAE, recipe(hook_point="resid_post.0"))
    assert (summary.outcome, summary.kl, summary.names[5]) == ("state", None, "patch 0,0")
    before = model(picture)[0]
    with sn.steer(model, "resid_post.0", SAE, 5, 4.0):
        after = model(picture)[0]
    expected = torch.cosine_similarity(before, after, dim=-1)
    np.testing.assert_allclose(summary.after, expected, atol=1e-5)
    assert summary.target == int(expected.argmin())


@pytest.fixture(scope="module")
def planted() -> tuple[Any, Any]:
    sae = PlainSae(16, 8)
    linear = nn.Linear(16, 3, bias=False)
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight[1] = sae.dictionary[0]
    return sn.wrap(nn.Sequential(nn.Identity(), linear), class_names=["a", "b", "c"]), sae


def test_recipe_survives_json() -> None:
    asked = recipe(positions=(1, 2), unit="p99", p99=1.5, head="texture", seed=3)
    assert SteeringRecipe.from_json(json.loads(json.dumps(asked.to_json()))) == asked
    assert asked.amount == pytest.approx(6.0)


@pytest.mark.parametrize("mode", ["add", "set", "scale"])
@pytest.mark.parametrize("others", [(), ((7, 1.5),)])
def test_a_prepared_input_answers_every_strength_as_if_asked_alone(
    vit: Any, picture: Tensor, mode: Any, others: tuple[tuple[int, float], ...]
) -> None:
    sae = PlainSae(32, 48)
    asked = recipe(mode=mode, others=others, seed=3)
    steered = Steered(vit, picture, sae, asked)
    for strength in (4.0, -2.0, 0.5, 4.0):
        moved = replace(
            asked, strength=strength, others=tuple((a, strength * b) for a, b in others)
        )
        ours, alone = steered.answer(moved), summarise_steering(vit, picture, sae, moved)
        for name in ("after", "controls", "kl", "kl_controls", "edit_norm", "state_change"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(alone, name), err_msg=name)
        assert (ours.names, ours.target, ours.recipe) == (alone.names, alone.target, moved)


@pytest.mark.parametrize("others_at_work", [False, True])
def test_blocks_below_the_edit_run_once(vit: Any, picture: Tensor, others_at_work: bool) -> None:
    """The next strengths begin at the hook point, with the same numbers; not where another edit is at work."""
    sae, asked = PlainSae(32, 48), recipe(hook_point="resid_post.2", strength=4.0)
    other = sn.steer(vit, "resid_post.0", direction=torch.ones(32), by=2.0)
    with other if others_at_work else nullcontext():
        steered, ran = Steered(vit, picture, sae, asked), []
        first = steered.answer(asked)
        hook = vit.get_module(vit.hook_point("resid_post.1").path).register_forward_hook(
            lambda *_: ran.append(1)
        )
        below = vit.get_module(vit.hook_point("resid_post.1").path)
        own, below.mlp.forward = below.mlp.forward, lambda x: ran.append(2) or own(x)
        try:
            again, moved = steered.answer(asked), steered.answer(replace(asked, strength=-3.0))
        finally:
            hook.remove()
            del below.mlp.forward
        alone = summarise_steering(vit, picture, sae, replace(asked, strength=-3.0))
    assert (2 in ran) == others_at_work
    np.testing.assert_array_equal(again.controls, first.controls)
    np.testing.assert_array_equal(moved.after, alone.after)
    np.testing.assert_array_equal(moved.kl_controls, alone.kl_controls)
