"""Effect and cost of an atom against its strength, beside its nearest atom and random directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from sae_nb.steering_effects import DoseResponse, dose_response
from sae_nb.summaries.answers import answering, outcome_names
from sae_nb.summaries.steering import SteeringRecipe

if TYPE_CHECKING:
    from sae_nb.architectures.base import SparseAutoencoder
    from sae_nb.models.live_model import LiveModel


@dataclass(frozen=True, kw_only=True, eq=False)
class SteeringCurve:
    """Effect and cost of an atom against its strength, with its nearest atom and random directions."""

    recipe: SteeringRecipe
    """What was asked for; its strength is where the curve was asked from."""

    strengths: Float[np.ndarray, " strengths"]
    """In the recipe's units."""

    response: DoseResponse
    """Effect and KL of the atom and of random directions."""

    nearest_atom: int
    """The other atom with the largest cosine to it."""

    nearest_cosine: float
    """That cosine."""

    nearest_effect: Float[np.ndarray, " strengths"]
    """Effect of that atom, added with the same coefficients."""

    target_name: str
    """The outcome that is measured."""


def summarise_dose_response(
    model: LiveModel,
    inputs: Any,
    sae: SparseAutoencoder,
    recipe: SteeringRecipe,
    strengths: Sequence[float],
    target: int,
    *,
    n_controls: int = 8,
) -> SteeringCurve:
    """Effect on one outcome and cost for several strengths, with nearest atom and random band.

    The atom is added, whatever the recipe's mode.

    Parameters
    ----------
    model, sae
        As for `summarise_steering`.
    inputs
        One input or several.
    recipe
        Atom, hook point, positions, head, seed, and the unit of `strengths`.
    strengths
        In the recipe's units.
    target
        Class or token whose probability (tokens: log-probability) is measured.
    n_controls
        Random directions in the band.

    Returns
    -------
    SteeringCurve
        A record of plain arrays.

    Raises
    ------
    HookPointNotFound, ValueError, TypeError, IndexError
        As `dose_response`.
    """
    model = answering(model, recipe.head)
    given = np.asarray(strengths, dtype=np.float64)
    amounts = (given * recipe.unit_size).tolist()

    def run(atom: int, n_controls: int) -> DoseResponse:
        return dose_response(
            model,
            inputs,
            recipe.hook_point,
            sae,
            atom,
            amounts,
            measure=target,
            positions=recipe.positions,
            n_controls=n_controls,
            seed=recipe.seed,
        )

    nearest, cosine = nearest_atom(sae, recipe.atom)
    response, beside = run(recipe.atom, n_controls), run(nearest, 0)
    return SteeringCurve(
        recipe=recipe,
        strengths=given,
        response=response,
        nearest_atom=nearest,
        nearest_cosine=cosine,
        nearest_effect=beside.effect,
        target_name=outcome_names(model, np.array([target]))[0],
    )


def nearest_atom(sae: SparseAutoencoder, atom: int) -> tuple[int, float]:
    """Return the other atom with the largest cosine to `atom`, and the cosine.

    Parameters
    ----------
    sae
        Whose dictionary; it must have two atoms at least.
    atom
        Whose neighbour.
    """
    rows = torch.nn.functional.normalize(sae.dictionary.detach().float(), dim=1)
    cosine = rows @ rows[atom]
    cosine[atom] = -torch.inf
    best = int(cosine.argmax())
    return best, float(cosine[best])
