"""A direction between two lists of texts in the place of a steering panel's atoms, typed or from Python."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.steering._directions import groups_in, text_of

import sae_nb as sn
from tests.widgets.steering.small import PICTURES, SAE

PLACE = "resid_post.3"
TYPED = "The dog ran, A dog sat, My dog is here | The girl ran, A girl sat, My girl is here"
DOGS, GIRLS = (list(side) for side in groups_in(TYPED))


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any]:
    return sn.load_model("tiny-gpt"), sn.load_sae(f"tiny-gpt/{PLACE}")


@pytest.fixture
def panel(made: tuple[Any, Any]) -> Any:
    model, sae = made
    found = sw.SteeringPanel(model, PLACE, sae, ["Once there was a"], atom=7, strength=1.0)
    found.wait()
    yield found
    found.close()


def test_two_lists_in_the_atom_field_steer_with_their_direction(panel: Any, made: Any) -> None:
    """It is `sn.direction` of them; its reliability is said; it is turned up by its groups' distance."""
    model, _ = made
    panel.controls.atom.value = TYPED
    panel.wait()
    d = sn.direction(model, PLACE, DOGS, GIRLS)
    assert torch.equal(panel.fitted.vector, d.vector)
    said = (
        f"halves agree to {d.reliability:.2f} (shuffled {d.reliability_shuffled:.2f}), held-out AUC"
    )
    assert said in panel.status
    assert said in panel.reasons
    assert not panel.problem
    assert panel.strength == float(f"{d.scale:.2g}")
    with sn.steer(model, PLACE, direction=d, by=panel.strength):
        expected = model(["Once there was a"])[0, -1].softmax(-1)
    summary = panel.summary
    np.testing.assert_allclose(summary.after, expected[summary.ids].numpy(), atol=1e-5)
    assert panel.controls.atom.value == TYPED


def test_a_number_in_the_field_brings_the_atoms_back(panel: Any) -> None:
    before = panel.unit
    panel.controls.atom.value = TYPED
    panel.wait()
    assert panel.n_atoms == 1
    panel.controls.atom.value = "12"
    panel.wait()
    assert (panel.atom, panel.direction, panel.fitted, panel.unit) == (12, None, None, before)
    assert panel.summary.recipe.atom == 12
    assert panel.status == ""


def test_a_moved_hook_point_reads_the_texts_there(panel: Any) -> None:
    panel.direction = TYPED
    panel.wait()
    panel.hook_point = "resid_post.2"
    panel.wait()
    assert panel.fitted.hook_point == "resid_post.2"
    assert panel.summary.recipe.hook_point == "resid_post.2"


def test_a_recipe_has_the_texts_and_does_the_same_again(panel: Any, made: Any) -> None:
    panel.direction = (DOGS, GIRLS)
    panel.wait()
    panel.strength = 11.0
    after = panel.summary.after
    recipe = json.loads(json.dumps(panel.keep_recipe()))
    assert recipe["direction"] == [DOGS, GIRLS]
    assert "The dog ran" in panel.controls.kept.options[1][0]
    state = json.loads(json.dumps(panel.state()))
    model, sae = made
    for bring in ("replay", "restore"):
        other = sw.SteeringPanel(model, PLACE, sae, ["Once there was a"], atom=2, strength=1.0)
        getattr(other, bring)(recipe if bring == "replay" else state)
        other.wait()
        assert other.strength == 11.0
        np.testing.assert_array_equal(other.summary.after, after)
        other.close()
    own = sw.SteeringPanel(model, PLACE, sae, ["Once there was a"], atom=2, strength=1.0)
    own.wait()
    panel.replay(own.recipe())
    panel.wait()
    assert (panel.direction, panel.atom, panel.strength) == (None, 2, 1.0)
    with pytest.raises(ValueError, match="one atom, 0"):
        panel.replay(recipe | {"atom": 3})
    own.close()


def test_one_from_python_stands_in_the_place_and_another_place_is_refused(
    panel: Any, made: Any
) -> None:
    model, _ = made
    d = sn.direction(model, PLACE, DOGS, GIRLS, name="dogs")
    panel.direction = d
    panel.wait()
    assert panel.sae is d.as_sae()
    assert "“dogs”" in panel.headline
    with pytest.raises(t.TraitError, match="must be of this place"):
        panel.direction = sn.direction(model, "resid_post.1", DOGS, GIRLS)
    assert panel.direction is d
    panel.direction = ""
    panel.wait()
    assert panel.fitted is None


def test_a_model_without_texts_takes_a_direction_and_no_words(vit: Any) -> None:
    panel = sw.SteeringPanel(vit, "resid_post.1", SAE, PICTURES, atom=5, strength=4.0)
    panel.wait()
    panel.controls.atom.value = TYPED
    assert panel.problem
    with pytest.raises(t.TraitError, match="reads no texts"):
        panel.direction = TYPED
    bright = PICTURES.clamp(0.5, 1.0)
    panel.direction = sn.direction(vit, "resid_post.1", bright, PICTURES)
    panel.wait()
    assert panel.summary.recipe.atoms == (0,)
    panel.close()


def test_a_panel_below_a_lens_leaves_its_atom_alone(made: Any) -> None:
    model, sae = made
    lens = sw.InputLens(model, sae, examples=sn.load_examples(f"tiny-gpt/{PLACE}"))
    lens.text = "The dog ran to the girl."
    lens.wait()
    panel = sw.InputSteering(lens, atom=5, strength=1.0)
    panel.wait()
    shown = lens.atom
    panel.direction = TYPED
    panel.wait()
    assert lens.atom == shown
    lens.atom = 31
    panel.wait()
    assert (panel.atom, panel.fitted) == (31, None)
    panel.close()
    lens.close()


def test_texts_are_read_as_they_are_written() -> None:
    several = "I say, hello\nA day | No, never\nA night"
    assert groups_in(several) == (("I say, hello", "A day"), ("No, never", "A night"))
    assert groups_in(text_of(groups_in(several))) == groups_in(several)
