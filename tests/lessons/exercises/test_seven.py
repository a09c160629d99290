"""A 7 that becomes a 4, in notebooks 05 and 23: right answers are right, near misses are told how far they are off."""

from __future__ import annotations

import sae_nb_lessons
from sae_nb_lessons.exercises import _seven as seven_to_four

from sae_nb.steering import calibrate_strength
from sae_nb.summaries._steering import SteeringRecipe


def test_the_strength_that_costs_so_much_is_right() -> None:
    """As `calibrate_strength` finds it; half of it is told its divergence."""
    model, sae, examples, seven = seven_to_four._parts()
    atom = examples.match("digit 4").atom
    found = calibrate_strength(model, sae.hook_point, sae, seven, atom, seven_to_four.TARGET_KL)
    strength = found.by[0] / float(examples.p99[atom])
    assert sae_nb_lessons.exercise("05.1").check(strength)
    for wrong, words in (
        (strength / 2, "was asked for: add more"),
        (2 * strength, "was asked for: add less"),
        (-strength, "takes the atom away"),
        (found.by[0], "in units of the activations"),
    ):
        assert words in sae_nb_lessons.exercise("05.1").check(wrong).message


def test_two_atoms_share_the_answer() -> None:
    """A recipe of both digits is right; one atom, or no recipe, is told what is missing."""
    _, sae, examples, _ = seven_to_four._parts()
    four, nine = examples.match("digit 4").atom, examples.match("digit 9").atom
    right = []
    for share in (0.8, 1.0, 1.2, 1.5, 1.8):
        for other in (0.8, 1.0, 1.2, 1.5, 1.8):
            recipe = SteeringRecipe(
                hook_point=sae.hook_point,
                atom=four,
                strength=share * float(examples.p99[four]),
                others=((nine, other * float(examples.p99[nine])),),
            )
            right += [recipe] if seven_to_four.judge_recipe(recipe.to_json()) is None else []
    assert right
    assert sae_nb_lessons.exercise("23.4").check(right[0].to_json())
    alone = SteeringRecipe(hook_point=sae.hook_point, atom=four, strength=1.0)
    assert "one atom only" in repr(sae_nb_lessons.exercise("23.4").check(alone.to_json()))
    assert "dictionary" in repr(sae_nb_lessons.exercise("23.4").check([four, nine]))
