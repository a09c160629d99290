"""A 7 that becomes a 4, in notebooks 05 and 23: right answers are right, near misses are told how far they are off."""

from __future__ import annotations

import sae_nb_lessons
from sae_nb_lessons.exercises import _seven as seven_to_four

from sae_nb.atoms import peaks
from sae_nb.steering import SteeringRecipe, calibrate_strength


def test_a_strength_is_in_the_unit_of_the_panel() -> None:
    """To a digit after the point; in another unit it is told which."""
    model, sae, examples, seven = seven_to_four._parts()
    atom = examples.match("digit 4").atom
    found = calibrate_strength(model, sae.hook_point, sae, seven, atom, seven_to_four.TARGET_KL)
    strength = found.by[0] / float(peaks(sae, examples.catalogue(sae)).usual[atom])
    for right in (strength, round(strength, 1)):
        assert sae_nb_lessons.exercise("05.1").check(right)
    for wrong, words in (
        (strength / 2, "was asked for: add more"),
        (2 * strength, "was asked for: add less"),
        (-strength, "takes the atom away"),
        (found.by[0], "in units of the activations"),
        (found.by[0] / float(examples.p99[atom]), "in a larger sample"),
    ):
        assert words in sae_nb_lessons.exercise("05.1").check(wrong).message


def test_two_atoms_share_the_answer() -> None:
    """As the notebook's answer is, or with the atoms exchanged; what is wrong with others is named."""
    _, sae, examples, _ = seven_to_four._parts()
    four, nine = examples.match("digit 4").atom, examples.match("digit 9").atom
    of_four, of_nine = float(examples.p99[four]), float(examples.p99[nine])
    right = SteeringRecipe(
        hook_point=sae.hook_point,
        atom=four,
        strength=1.25,
        unit="p99",
        p99=of_four,
        others=((nine, 1.9 * of_nine),),
    ).to_json()
    model_units = {"unit": "coefficient", "p99": None}
    asked = sae_nb_lessons.exercise("23.4")
    for changes in (
        {},
        {"atom": nine, "p99": of_nine, "strength": 1.9, "others": [[four, 1.25 * of_four]]},
        model_units | {"strength": 1.25 * of_four},
    ):
        assert asked.check(right | changes)
    for changes, words in (
        ({"others": []}, "one atom only"),
        ({"strength": 1.25 * of_four}, "Divide it by `p99`"),
        ({"others": [[nine, -1.9 * of_nine]]}, "takes an atom away"),
        ({"positions": "cls"}, "some positions only"),
    ):
        asked.reset()
        verdict = asked.check(right | changes)
        assert verdict.state == "wrong"
        assert words in verdict.message
        assert verdict.hint.startswith("Hint: ")
    for answer in ([four, nine], right | {"others": [[9999, 1]]}, right | {"others": [[four, 2]]}):
        assert asked.check(answer).state == "form"
