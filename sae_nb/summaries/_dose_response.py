"""Effect and cost of an atom against its strength, with its nearest atom and random directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.steering._calibration import combined_direction
from sae_nb.steering._dose_response import DoseResponse, Effects, check_strengths, unit_atom
from sae_nb.summaries._steering import SteeringRecipe
from sae_nb.summaries.input._answers import answering, outcome_names

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


@dataclass(frozen=True, kw_only=True, eq=False)
class SteeringCurve:
    """Effect and cost of an atom against its strength, with its nearest atom and random directions."""

    recipe: SteeringRecipe
    """The request; its strength is where the curve started."""

    strengths: Float[np.ndarray, " strengths"]
    """In the recipe's units."""

    response: DoseResponse
    """Effect and KL of the atom and of random directions."""

    nearest_atom: int
    """The other atom with the largest cosine to it."""

    nearest_cosine: float
    nearest_effect: Float[np.ndarray, " strengths"]
    """Effect of that atom, added with the same coefficients."""

    target_name: str


def summarise_dose_response(
    model: LiveModel,
    inputs: Inputs,
    sae: SparseAutoencoder,
    recipe: SteeringRecipe,
    strengths: Sequence[float],
    target: int,
    *,
    n_controls: int = 8,
) -> SteeringCurve:
    """Measure the effect on one outcome and the cost by strength, with nearest atom and random directions.

    The atom is added, whatever the recipe's mode; where atoms are combined, the others are scaled in
    proportion to it, and nearest atom and random directions have the norm of the whole.

    `target`: Class or token whose probability (tokens: log-probability) is measured.
    """
    model = answering(model, recipe.head)
    checked = check_strengths(strengths)
    if recipe.others:
        mixture = _mixture(sae, recipe)
        unit, size = mixture / mixture.norm(), float(mixture.norm())
        nearest, cosine = nearest_to(sae, mixture, recipe.atoms)
    else:
        unit, size = unit_atom(sae, recipe.atom), recipe.unit_size
        nearest, cosine = nearest_atom(sae, recipe.atom)
    amounts, neighbour = size * checked, unit_atom(sae, nearest)
    run = Effects(model, inputs, recipe.hook_point, target, recipe.positions)
    return SteeringCurve(
        recipe=recipe,
        strengths=checked,
        response=run.response(unit, amounts, recipe.atom, n_controls=n_controls, seed=recipe.seed),
        nearest_atom=nearest,
        nearest_cosine=cosine,
        nearest_effect=np.array([run.of_adding(neighbour, amount)[0] for amount in amounts]),
        target_name=outcome_names(model, np.array([target]))[0],
    )


def nearest_atom(sae: SparseAutoencoder, atom: int) -> tuple[int, float]:
    """Return the other atom with the largest cosine to `atom`, and the cosine."""
    return nearest_to(sae, sae.dictionary[atom].detach().float(), (atom,))


def nearest_to(
    sae: SparseAutoencoder, direction: Float[Tensor, " d_in"], besides: Sequence[int]
) -> tuple[int, float]:
    """Return the atom with the largest cosine to a direction, and the cosine."""
    rows = torch.nn.functional.normalize(sae.dictionary.detach().float(), dim=1)
    cosine = rows @ torch.nn.functional.normalize(direction.to(rows), dim=0)
    cosine[list(besides)] = -torch.inf
    best = int(cosine.argmax())
    return best, float(cosine[best])


def _mixture(sae: SparseAutoencoder, recipe: SteeringRecipe) -> Float[Tensor, " d_in"]:
    """Return what one unit of the recipe's strength adds, the other atoms in proportion."""
    if not recipe.strength:
        raise ValueError(
            f"`strength` of atom {recipe.atom} must not be 0 where atoms are combined: the others are "
            "scaled with it. Set one, or take the others away."
        )
    return combined_direction(
        sae, recipe.atoms, [amount / recipe.strength for amount in recipe.amounts]
    )
