"""Recipes of a SteeringPanel, several atoms at once, and strengths found for a divergence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.steering._figure import AFTER
from torch import Tensor

import sae_nb as sn
import sae_nb.steering
from sae_nb.steering import edit_of
from sae_nb.steering._summary import control_of
from tests.models.small_models import PlainSae
from tests.widgets.made import control_named
from tests.widgets.steering.small import PICTURES, SAE, bars, steered

pytestmark = pytest.mark.slow


def test_recipe_replays_to_the_same_answer(vit: Any, panel: sw.SteeringPanel) -> None:
    panel.positions, panel.seed, panel.mode = (3, 4), 7, "set"
    recipe = json.loads(json.dumps(panel.recipe()))
    other = sw.SteeringPanel(vit, "resid_post.0", SAE, PICTURES, atom=1, strength=1.0)
    other.replay(recipe)
    np.testing.assert_array_equal(other.summary.after, panel.summary.after)
    np.testing.assert_array_equal(other.summary.random, panel.summary.random)


def test_recipe_brings_its_text_back_from_another_sample(talking: sw.SteeringPanel) -> None:
    talking.sample = 1
    talking.text = "the dog"
    recipe = talking.recipe()
    talking.sample = 0
    assert talking.text == "the cat"
    talking.replay(recipe)
    talking.wait()
    assert (talking.sample, talking.text) == (1, "the dog")
    assert talking.summary.recipe.text == "the dog"


def test_recipe_in_p99_is_the_same_edit_without_acts(
    vit: Any, acts: Any, panel: sw.SteeringPanel
) -> None:
    """The coefficient counts, not the unit it was given in."""
    measured = sw.SteeringPanel(vit, "resid_post.1", SAE, PICTURES, acts, atom=5, strength=1.5)
    panel.replay(measured.recipe() if measured.summary else {})
    np.testing.assert_allclose(panel.summary.after, measured.summary.after, atol=1e-6)


def test_bad_recipe_changes_nothing(panel: sw.SteeringPanel) -> None:
    before = panel.recipe()
    with pytest.raises(t.TraitError, match="64"):
        panel.replay(before | {"atom": 64, "strength": 1.0})
    assert panel.recipe() == before
    with pytest.raises(ValueError, match="recipe"):
        panel.replay({"atom": 3})
    panel.controls.recipe.value = "{not json"
    panel.controls.replay.click()
    assert panel.problem
    assert panel.recipe() == before


def test_combined_atoms_are_steered_together(vit: Any, panel: sw.SteeringPanel) -> None:
    """The bars are those of `steer` with both; a row's slider and button act; Δ of one is not both."""
    alone = bars(panel, AFTER).copy()
    panel.combine()
    panel.atom, panel.strength = 9, 3.0
    panel.wait()
    assert panel.recipe()["others"] == [[5, 4.0]]
    with sn.steer(vit, "resid_post.1", SAE, [9, 5], [3.0, 4.0]):
        both = vit(PICTURES[:1])[0].softmax(-1).numpy()
    np.testing.assert_allclose(bars(panel, AFTER), both, atol=1e-5)
    assert np.abs(bars(panel, AFTER) - alone).max() > 1e-4

    slider = control_named(panel, "+ atom 5")
    slider.value = -2.0123
    panel.wait()
    assert "−2.01 model units" in panel.mix._rows[0].children[2].value
    slider.value = -2.0
    panel.wait()
    assert panel.summary.recipe.amounts == (3.0, -2.0)
    control_named(panel, "without 5").click()
    panel.wait()
    assert panel.others == ()
    np.testing.assert_allclose(bars(panel, AFTER), steered(vit, panel), atol=1e-5)


@pytest.mark.parametrize("mode", ["add", "set", "scale"])
def test_control_of_a_combination_has_its_norm(
    vit: Any, panel: sw.SteeringPanel, mode: str
) -> None:
    """Random and combination move the state equally far, whatever is done."""
    panel.others, panel.mode = ((7, 2.0), (11, 1.5)), mode
    panel.wait()
    summary = panel.summary
    recipe = summary.recipe
    norms = []
    for make in (edit_of, control_of):
        kept: list[Tensor] = []
        with vit.lock, make(vit, SAE, recipe):
            with sn.steering.splice(
                vit, "resid_post.1", lambda x, kept=kept: (kept.append(x), x)[1]
            ):
                vit(PICTURES[:1])
        norms.append(kept[0])
    clean = sn.capture(vit, PICTURES[:1], "resid_post.1", progress=False).x
    ours, control = ((state[0] - clean).norm(dim=-1) for state in norms)
    torch.testing.assert_close(ours, control, rtol=1e-3, atol=1e-3)


def test_strength_is_found_for_a_divergence(panel: sw.SteeringPanel) -> None:
    """Another atom, another strength, the same cost; moving the slider ends it."""
    panel.target_kl = 0.002
    panel.wait()
    assert panel.summary.kl == pytest.approx(0.002, abs=2e-4)
    first = panel.strength
    assert first == panel.summary.recipe.strength != 4.0
    assert panel.controls.strength.value == pytest.approx(first)
    assert panel.controls.target_kl.value == 0.002
    panel.atom = 20
    panel.wait()
    assert panel.summary.kl == pytest.approx(0.002, abs=2e-4)
    assert panel.strength != first
    panel.controls.strength.value = 1.0
    panel.wait()
    assert (panel.target_kl, panel.controls.target_kl.value) == (None, None)
    assert panel.controls.target_kl.label == "off"
    assert panel.summary.recipe.strength == 1.0


def test_a_divergence_asked_for_before_the_first_run_is_met(vit: Any) -> None:
    made = sw.SteeringPanel(vit, "resid_post.1", SAE, PICTURES)
    made.target_kl = 0.002
    made.wait()
    assert made.summary.kl == pytest.approx(0.002, abs=2e-4)
    assert made.target_kl == 0.002
    made.close()


def test_atoms_combine_at_a_divergence(panel: sw.SteeringPanel) -> None:
    """The atom kept by "combine" survives the run in between; both are scaled together."""
    panel.target_kl = 0.002
    panel.wait()
    panel.combine()
    panel.wait()
    panel.atom = 20
    panel.wait()
    recipe = panel.summary.recipe
    assert recipe.atoms == (20, 5)
    assert panel.summary.kl == pytest.approx(0.002, abs=2e-4)
    assert panel.others[0][1] == pytest.approx(recipe.amounts[1])


def test_kept_recipes_are_offered_and_done_again(panel: sw.SteeringPanel, tmp_path: Path) -> None:
    """Kept once each; choosing one brings everything back, and so does a file."""
    panel.others = ((7, 2.0),)
    first = panel.keep_recipe()
    assert panel.keep_recipe() == first
    assert len(panel.recipes) == 1
    path = panel.save_recipe(tmp_path / "both.json")
    panel.others, panel.atom, panel.strength = (), 8, 1.0
    panel.keep_recipe()
    assert len(panel.controls.kept.options) == 3
    panel.controls.kept.value = 0
    assert (panel.controls.kept.value, panel.controls.kept.label) == (None, "kept recipes …")
    assert panel.recipe() == first
    panel.atom = 8
    panel.replay(path)
    panel.wait()
    assert panel.recipe() == first


def test_a_recipe_of_another_sae_is_refused_by_name(vit: Any, panel: sw.SteeringPanel) -> None:
    other = PlainSae(32, 48)
    strange = sw.SteeringPanel(vit, "resid_post.1", other, PICTURES, atom=40, strength=1.0)
    recipe = strange.recipe()
    with pytest.raises(ValueError, match="48 atoms"):
        panel.replay(recipe)
    assert panel.atom == 5


def test_curve_of_a_combination_scales_the_whole(planted: sw.SteeringPanel) -> None:
    """At the strength shown it is the effect shown; the nearest atom is none of the combined."""
    planted.others = ((2, 1.0),)
    planted.wait()
    planted.dose_response([0.0, planted.strength])
    planted.wait()
    curve = planted.curve
    assert curve is not None
    assert curve.response.kl[0] == pytest.approx(0.0, abs=1e-6)
    assert curve.response.kl[1] == pytest.approx(planted.summary.kl, rel=1e-3)
    assert curve.nearest_atom not in planted.current.atoms
    assert curve.response.control.shape == (8, 2)
