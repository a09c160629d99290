"""A 7 that an atom of fours turns into a 4: exercises of notebooks 05 and 23 on one image."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from sae_nb_lessons.exercises._answers import Form, WrongForm

TARGET_KL = 0.25
CLOSE = 0.03  # nats


@cache
def _parts() -> tuple[Any, Any, Any, Any]:
    """The live model, its SAE, its examples, and the first picture that is read as a 7."""
    import sae_nb as sn

    model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    examples = sn.load_examples("tiny-vit/resid_post.6")
    pictures = torch.as_tensor(examples.acts.context.pictures)
    return model, sae, examples, pictures[model(pictures).argmax(dim=-1) == 7][:1]


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
    _, _, examples, _ = _parts()
    atom = examples.match("digit 4").atom
    kl = _kl(atom, strength * float(examples.p99[atom]))
    if abs(kl - TARGET_KL) <= CLOSE:
        return None
    if strength < 0:
        return "A negative strength takes the atom away. It is to be added."
    if abs(_kl(atom, strength) - TARGET_KL) <= CLOSE:
        return "That is in units of the activations. Divide by the atom's 99th percentile."
    way = "less" if kl > TARGET_KL else "more"
    return (
        f"At that strength the divergence on the first 7 is {kl:.3f} nats, and {TARGET_KL:g} was asked "
        f"for: add {way}."
    )


# --- 05.2: the control ----------------------------------------------------------------------------


def measure_share() -> float:
    """Measure the share of 40 random directions, as long as 2 × p99 of the atom of fours, that make a 4."""
    import sae_nb as sn

    model, sae, examples, seven = _parts()
    atom = examples.match("digit 4").atom
    by, made = 2.0 * float(examples.p99[atom]), 0
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


def judge_recipe(fields: Mapping[str, Any]) -> str | None:
    """Judge a recipe of two atoms by the chances that the answer gives to the 4 and to the 9."""
    from sae_nb.summaries._steering import (
        SteeringRecipe,
        edit_of,
    )

    model, sae, _, seven = _parts()
    try:
        recipe = SteeringRecipe.from_json(dict(fields))
    except (TypeError, ValueError) as error:
        raise WrongForm(str(error)) from None
    if len(recipe.atoms) < 2:
        return "It changes one atom only: `others` takes pairs of an atom and its amount."
    with torch.no_grad(), edit_of(model, sae, recipe):
        answer = model(seven)[0].softmax(-1)
    four, nine = float(answer[4]), float(answer[9])
    if min(four, nine) >= 0.2:
        return None
    return f"The answer gives the 4 {four:.2f} and the 9 {nine:.2f}; at least 0.2 each is wanted."


RECIPE = Form(says="a dictionary, as `panel.recipe()` returns", convert=_as_recipe)
