"""A 7 that an atom of fours turns into a 4: exercises of notebooks 05 and 23 on one image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import Form, WrongForm
from sae_nb_lessons.exercises._mistakes import Mistake

TARGET_KL = 0.25
CLOSE = 0.04  # nats; one digit after the point is enough
ENOUGH = 0.2  # least probability of either digit


@cache
def _parts() -> tuple[Any, Any, Any, Any]:
    """The live model, its SAE, its examples, and the first picture that is read as a 7."""
    import sae_nb as sn

    model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    examples = sn.load_examples("tiny-vit/resid_post.6")
    pictures = torch.as_tensor(examples.acts.context.pictures)
    return model, sae, examples, pictures[model(pictures).argmax(dim=-1) == 7][:1]


@cache
def _p99() -> tuple[int, float]:
    """The atom of fours, and its 99th percentile as the lesson's panels count it, on the examples that they show."""
    _, sae, examples, _ = _parts()
    atom = examples.match("digit 4").atom
    return atom, float(examples.catalogue(sae).p99[atom])


def _kl(atom: int, by: float) -> float:
    """Divergence of the answer to that 7 with an atom added."""
    import sae_nb as sn

    model, sae, _, seven = _parts()
    clean = model(seven)[0].log_softmax(-1)
    with sn.steer(model, sae.hook_point, sae, atom=atom, by=by):
        steered = model(seven)[0].log_softmax(-1)
    return float((clean.exp() * (clean - steered)).sum())


# --- 05.1: the same cost --------------------------------------------------------------------------


def judge_strength(strength: float) -> str | None:
    """Judge how many times its percentile the atom of fours is added, by what that costs the answer."""
    atom, p99 = _p99()
    kl = _kl(atom, strength * p99)
    if abs(kl - TARGET_KL) <= CLOSE:
        return None
    if strength < 0:
        return "A negative strength takes the atom away. It is to be added."
    for size, said in (
        (1.0, "That is in units of the activations. Divide by the atom's 99th percentile."),
        (
            float(_parts()[2].p99[atom]),
            "That is in units of the percentile in a larger sample, `examples.p99`. Read the panel's.",
        ),
    ):
        if abs(_kl(atom, strength * size) - TARGET_KL) <= CLOSE:
            return said
    way = "less" if kl > TARGET_KL else "more"
    return (
        f"At that strength the divergence on the first 7 is {kl:.3f} nats, and {TARGET_KL:g} was asked "
        f"for: add {way}."
    )


# --- 05.2: the control ----------------------------------------------------------------------------


def measure_share() -> float:
    """Measure the share of 40 random directions, as long as 2 × p99 of the atom of fours, that make a 4."""
    import sae_nb as sn

    model, sae, _, seven = _parts()
    by, made = 2.0 * _p99()[1], 0
    for seed in range(40):
        u = sn.random_direction(sae.d_in, seed)
        with sn.steer(model, sae.hook_point, direction=u, by=by):
            made += int(model(seven).argmax(dim=-1)) == 4
    return made / 40


# --- 23.4: a recipe -------------------------------------------------------------------------------


def _as_recipe(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise WrongForm(f"a recipe is a dictionary, and this is a {type(answer).__name__}")
    return answer


def judge_recipe(fields: Mapping[str, Any]) -> Mistake | None:
    """Judge a recipe of two atoms by the chances that the answer gives to the 4 and to the 9."""
    from sae_nb.steering import SteeringRecipe

    _, sae, examples, _ = _parts()
    try:
        recipe = SteeringRecipe.from_json(dict(fields))
    except (TypeError, ValueError) as error:
        raise WrongForm(str(error)) from None
    if max(recipe.atoms) >= sae.n_atoms or min(recipe.atoms) < 0:
        raise WrongForm(
            f"the SAE has the atoms 0 to {sae.n_atoms - 1}, and the recipe {recipe.name}"
        )
    if len(recipe.atoms) < 2:
        return Mistake(
            "It changes one atom only.", "`others` takes pairs of an atom and its amount."
        )
    if recipe.hook_point != sae.hook_point:
        return Mistake(
            f"It adds at {recipe.hook_point}, and these are atoms of {sae.hook_point}.",
            "`panel.recipe()` has the hook point already.",
        )
    if recipe.mode != "add":
        return Mistake(
            f"`mode` is {recipe.mode!r}, and the atoms are to be added.", '`"mode": "add"`.'
        )
    answer = _answer(recipe)
    if min(answer[4], answer[9]) >= ENOUGH:
        return None
    for said, hint, other in _nearly(recipe, examples.p99):
        chances = _answer(other)
        if other != recipe and min(chances[4], chances[9]) >= ENOUGH:
            return Mistake(said, hint)
    digits = {digit: examples.match(f"digit {digit}").atom for digit in (4, 9)}
    return _of_digits(recipe, digits) or _too_much(answer)


def _answer(recipe: Any) -> Tensor:
    """Return the probabilities of the ten digits where the recipe is applied to the 7."""
    from sae_nb.steering import edit_of

    model, sae, _, seven = _parts()
    with torch.no_grad(), edit_of(model, sae, recipe):
        answer: Tensor = model(seven)[0].softmax(-1)
    return answer


def _nearly(recipe: Any, p99: Any) -> Iterator[tuple[str, str, Any]]:
    """Return what may have been done to a right recipe, and the recipe without it."""
    own = float(p99[recipe.atom])
    others = recipe.others
    in_p99 = tuple((atom, amount * float(p99[atom])) for atom, amount in others)
    plain = replace(recipe, unit="coefficient", p99=None)
    yield (
        "`strength` is in the model's units, and the recipe reads it in units of the 99th percentile.",
        "Divide it by `p99`.",
        plain,
    )
    yield (
        "An amount in `others` is in units of the atom's 99th percentile, and is read in the model's.",
        "Multiply it by `known.p99[atom]`.",
        replace(recipe, others=in_p99),
    )
    yield (
        "`strength` is in units of the 99th percentile, and the recipe reads it in the model's.",
        "Multiply it by `known.p99[atom]`.",
        replace(plain, strength=recipe.strength * own),
    )
    yield (
        "Strength and amount are both in units of the 99th percentile, and are read in the model's.",
        "Multiply each by `known.p99[atom]`.",
        replace(plain, strength=recipe.strength * own, others=in_p99),
    )
    yield (
        "A negative amount takes an atom away. Both are to be added.",
        "Strengths above 0.",
        replace(
            recipe,
            strength=abs(recipe.strength),
            others=tuple((atom, abs(amount)) for atom, amount in others),
        ),
    )
    yield (
        "It changes some positions only, which is not enough.",
        '`"positions": None` means all.',
        replace(recipe, positions=None),
    )


def _of_digits(recipe: Any, digits: Mapping[int, int]) -> Mistake | None:
    """Return the mistake of one whose atoms are not those of the two digits."""
    if {*digits} <= {*recipe.atoms}:
        return Mistake(
            "Those are digits, not numbers of atoms.",
            '`known.match("digit 4").atom` is the number of an atom.',
        )
    for digit, atom in digits.items():
        if atom not in recipe.atoms:
            return Mistake(
                f"The atom of digit {digit}, {atom}, is not in it.",
                f'`known.match("digit {digit}").atom`.',
            )
    return None


def _too_much(answer: Tensor) -> Mistake:
    """Return which way the strengths of the right two atoms are off."""
    four, nine, read = float(answer[4]), float(answer[9]), int(answer.argmax())
    said = f"The answer gives the 4 {four:.2f} and the 9 {nine:.2f}; at least {ENOUGH:g} each is wanted."
    if four >= ENOUGH:
        return Mistake(said, "More of the nine's atom, or less of the four's.")
    if nine >= ENOUGH:
        return Mistake(said, "More of the four's atom, or less of the nine's.")
    if read in (4, 9):
        return Mistake(said, f"Less of both: nearly all goes to the {read}.")
    if read == 7:
        return Mistake(said, "More of both: the answer is still 7.")
    return Mistake(f"{said} The model reads a {read}.", "Less of both: so much looks like neither.")


RECIPE = Form(says="a dictionary, as `panel.recipe()` returns", convert=_as_recipe)
