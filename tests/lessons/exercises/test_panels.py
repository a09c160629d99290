"""Exercises of notebook 06: right answers are right, near misses are told how far they are off."""

from __future__ import annotations

import sae_nb_lessons
from sae_nb_lessons.exercises import _panels as panels

from sae_nb.steering import calibrate_strength
from sae_nb.summaries import SteeringRecipe


def test_the_strength_that_costs_so_much_is_right() -> None:
    """As `calibrate_strength` finds it; half of it is told its divergence."""
    model, sae, examples, seven = panels._parts()
    atom = examples.match("digit 4").atom
    found = calibrate_strength(model, sae.hook_point, sae, seven, atom, panels.TARGET_KL)
    strength = found.by[0] / float(examples.p99[atom])
    assert sae_nb_lessons.exercise("06.1").check(strength)
    assert "was asked for" in repr(sae_nb_lessons.exercise("06.1").check(strength / 2))


def test_two_atoms_share_the_answer() -> None:
    """A recipe of both digits is right; one atom, or no recipe, is told what is missing."""
    _, sae, examples, _ = panels._parts()
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
            right += [recipe] if panels._judge_recipe(recipe.to_json()) is None else []
    assert right
    assert sae_nb_lessons.exercise("06.3").check(right[0].to_json())
    alone = SteeringRecipe(hook_point=sae.hook_point, atom=four, strength=1.0)
    assert "one atom only" in repr(sae_nb_lessons.exercise("06.3").check(alone.to_json()))
    assert "dictionary" in repr(sae_nb_lessons.exercise("06.3").check([four, nine]))


def test_few_random_directions_make_a_four() -> None:
    """The prediction is held against a share that is measured."""
    assert "Noted" in repr(sae_nb_lessons.exercise("06.2").predict(0.05))
    assert panels.measure_share() <= 0.1
