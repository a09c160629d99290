"""The choices of a SteeringPanel: rules of its traits, recipes that set them, and what it chooses by itself.

A rule returns a trait's value, or refuses it; of traits that are set together it sees the final values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sae_nb.checks import check_atom
from sae_nb.files import SaeIdentity, read_json
from sae_nb.models import answering
from sae_nb.steering import SteeringRecipe
from sae_nb.steering.edits import Positions, Where
from sae_nb.steering.modes import Mode, Unit
from sae_nb_widgets.panel._samples import check_point, target_of

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

MOST = 10_000.0
"""Largest strength either way, in any unit: far beyond what leaves anything of the model."""

ASKED: tuple[str, ...] = ("atom", "strength", "mode", "positions", "hook_point")
ASKED += ("sample", "seed", "head", "text", "others", "target_kl", "target")
"""Traits that make up what is asked: changing one runs the model."""

NO_RECIPE = (
    "This is not a recipe I can read{}. Paste one that stood in this field, and press replay."
)


class Phase(Enum):
    """What a SteeringPanel is doing."""

    MEASURING = auto()
    """The units of strengths are not known yet: nothing can be asked."""

    READY = auto()
    """It answers what is chosen."""

    WRITING = auto()
    """The model continues the text; the answer may be there already."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What the panel still has to choose for the user, or to do, once it knows its units."""

    atom: bool = False
    strength: bool = False
    text: bool = False
    """Whether the text is to be continued."""

    recipe: SteeringRecipe | None = None
    """One that came before a strength had a unit."""


@dataclass(frozen=True, kw_only=True)
class ChosenStrength:
    """Where the strength in force comes from: each holds as long as the panel's traits have these values."""

    offered: float | None = None
    """The panel's own choice: it follows the atom."""

    of_recipe: tuple[int, float] | None = None
    """An atom and a recipe's strength for it: not too strong, whatever is usual."""

    found: tuple[float, Mode] | None = None
    """Strength and mode that go with the divergence that is asked for."""

    unit: Unit | None = None
    """The unit that the last atom's strength was given in."""


def hook_point_of(value: str, model: LiveModel, sae: SparseAutoencoder) -> str:
    """Return a hook point that atoms of this width can be added at."""
    check_point(model, sae, value)
    return value


def positions_in(value: Where | list[int], prefix_tokens: int) -> Where:
    """Return positions that an input can have; None for all."""
    chosen = tuple(value) if isinstance(value, list) else value
    chosen = None if isinstance(chosen, str) and chosen == "all" else chosen
    Positions(chosen, prefix_tokens=prefix_tokens)
    return chosen


def others_with(value: Any, n_atoms: int) -> tuple[tuple[int, float], ...]:
    """Return atoms that are changed too, each once and with a finite strength."""
    try:
        pairs = tuple((int(atom), float(strength)) for atom, strength in value)
    except (TypeError, ValueError):
        raise ValueError(
            f"`others` must be pairs of an atom and its strength, got {value!r}."
        ) from None
    for atom, strength in pairs:
        check_atom(atom, n_atoms)
        if not np.isfinite(strength):
            raise ValueError(f"`others` must have finite strengths, got {strength}.")
    if len({atom for atom, _ in pairs}) < len(pairs):
        raise ValueError(f"`others` must name each atom once, got {pairs}.")
    return pairs


def divergence(value: float | None) -> float | None:
    """Return a divergence that a strength can be found for; None for none."""
    if value is not None and not 0 < value < np.inf:
        raise ValueError(f"`target_kl` must be positive and finite, in nats, got {value}.")
    return value


def head_of(value: str, model: LiveModel) -> str:
    """Return a head that the model has."""
    answering(model, value)
    return value


def target_in(value: str, model: LiveModel, head: str) -> str:
    """Return a class or token that the head in force answers with."""
    target_of(answering(model, head), value)
    return value


# --- recipes ------------------------------------------------------------------------------------


def read_recipe(given: Mapping[str, Any] | str | Path, *own: SaeIdentity) -> SteeringRecipe:
    """Return a recipe from its fields or its file.

    Raises
    ------
    ValueError: If it is of another SAE than those of `own`, and brings no texts for a direction of its own.
    """
    asked = SteeringRecipe.from_json(
        dict(given if isinstance(given, Mapping) else read_json(Path(given)))
    )
    known = asked.sae is None or any(asked.sae.is_same(one) for one in own)
    if not known and asked.direction is None:
        raise ValueError(
            f"`recipe` must be of the SAE that is steered, {own[0]}, and this one is of {asked.sae}. Open "
            "the panel with that SAE."
        )
    return asked


def recipe_in(text: str) -> dict[str, Any]:
    """Return the recipe that is written in a field.

    Raises
    ------
    ValueError: If it is none.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" ({error})"
        if isinstance(error, json.JSONDecodeError):
            where = f" (line {error.lineno}, column {error.colno})"
        raise ValueError(NO_RECIPE.format(where)) from None
    if not isinstance(fields, dict):
        raise ValueError(NO_RECIPE.format(""))
    return fields
