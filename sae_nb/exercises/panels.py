"""Exercises of notebook 06: the same cost, the honest control, and a recipe written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from sae_nb.exercises.answers import Form, WrongForm, number
from sae_nb.exercises.kit import Task

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


# --- 06.1: the same cost --------------------------------------------------------------------------


def _judge_strength(strength: float) -> str | None:
    _, _, examples, _ = _parts()
    atom = examples.match("digit 4").atom
    kl = _kl(atom, strength * float(examples.p99[atom]))
    if abs(kl - TARGET_KL) <= CLOSE:
        return None
    return f"At that strength the divergence is {kl:.3f} nats, and {TARGET_KL:g} was asked for."


# --- 06.2: the control ----------------------------------------------------------------------------


def measure_share() -> float:
    """Of 40 random directions as long as 2 × p99 of the atom of fours: the share that makes a 4."""
    import sae_nb as sn

    model, sae, examples, seven = _parts()
    atom = examples.match("digit 4").atom
    by, made = 2.0 * float(examples.p99[atom]), 0
    for seed in range(40):
        u = sn.random_direction(sae.d_in, seed)
        with sn.steer(model, sae.hook_point, direction=u, by=by):
            made += int(model(seven).argmax(dim=-1)) == 4
    return made / 40


# --- 06.3: a recipe -------------------------------------------------------------------------------


def _as_recipe(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise WrongForm(f"a recipe is a dictionary, and this is a {type(answer).__name__}")
    return answer


def _judge_recipe(fields: Mapping[str, Any]) -> str | None:
    from sae_nb.summaries.steering import edit_of
    from sae_nb.summaries.steering_recipe import SteeringRecipe

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


TASKS = (
    Task(
        id="06.1",
        title="The same cost",
        question=(
            "In the steering panel of section 3, how many times its 99th percentile must the atom of "
            f"fours be added, at all positions, for the answer to move by KL = {TARGET_KL:g} nats?"
        ),
        form=number(),
        difficulty="warm-up",
        minutes=3,
        why=(
            "Strengths of different atoms, layers and random directions can be compared once they cost "
            "the answer equally much."
        ),
        hints=(
            "Move the slider and read the KL in the status line.",
            "The menu “at KL” finds it; `steering.strength` then holds the number.",
        ),
        judge=_judge_strength,
    ),
    Task(
        id="06.2",
        title="How special is it?",
        question=(
            "Twice its percentile, the atom turns this 7 into a 4. Of 40 random directions of the same "
            "length, which share does so too? Predict a number between 0 and 1."
        ),
        form=number(),
        difficulty="core",
        minutes=2,
        why="An effect is the atom's only as far as it leaves the band of random directions.",
        hints=(
            "In 64 dimensions a random direction has a cosine of about 0.12 with any atom.",
            "The grey band of the dose–response curve is where random directions end up.",
        ),
        measure=measure_share,
    ),
    Task(
        id="06.3",
        title="Half a four, half a nine",
        question=(
            "Write a recipe, as `panel.recipe()` gives it, that adds two atoms and leaves the 4 and the "
            "9 at least 0.2 of the probability each."
        ),
        form=Form(says="a dictionary, as `panel.recipe()` returns", convert=_as_recipe),
        difficulty="stretch",
        minutes=8,
        why=(
            "A recipe is plain JSON: it goes into a paper's appendix, and whoever replays it gets the same."
        ),
        hints=(
            "“combine” keeps an atom while you choose another one: those of digit 4 and digit 9.",
            "`recipe['others']` holds pairs of an atom and its amount, in the model's units.",
        ),
        judge=_judge_recipe,
    ),
)
