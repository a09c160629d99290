"""The question of a SteeringPanel as one frozen value, and the runs of the model that answer it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from torch import Tensor

from sae_nb.models import answering
from sae_nb.steering import (
    CalibratedStrength,
    Reading,
    Steered,
    SteeringRecipe,
    SteeringSummary,
    calibrate_strength,
    read_unsteered,
)

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import Batch, LiveModel

T = TypeVar("T")
KEPT, PREPARED = 8, 2
"""Inputs that are kept, and inputs with an edit prepared, which hold the states below it."""


@dataclass(frozen=True)
class Question:
    """Everything that the model's answer depends on."""

    recipe: SteeringRecipe
    target: int | None
    """Class or token that the answer is about; None: the one that changes most."""

    version: int
    """Counts what makes earlier answers void: other weights, another image under the same number."""

    @property
    def key(self) -> Question:
        """Itself; where a strength is looked for, the same at every strength: that is in the answer."""
        return (
            self if self.recipe.target_kl is None else replace(self, recipe=_of_unit(self.recipe))
        )

    @property
    def input(self) -> tuple[int, str | int, str]:
        """The input, and the head that answers."""
        return self.version, self.recipe.text or self.recipe.sample, self.recipe.head


def _of_unit(recipe: SteeringRecipe) -> SteeringRecipe:
    """Return a recipe whose largest amount is 1, so that its strength is only its direction, up or down."""
    moved = recipe if any(recipe.amounts) else replace(recipe, strength=1.0)
    shares = moved.scaled(1 / max(map(abs, moved.amounts)))
    others = tuple((atom, _rounded(amount)) for atom, amount in shares.others)
    return replace(shares, strength=_rounded(shares.strength), others=others)


def _rounded(amount: float) -> float:
    return float(f"{amount:.6g}")


@dataclass(frozen=True)
class SteeringAnswer:
    """The model's answer to a recipe, and how its strength was found."""

    summary: SteeringSummary
    length: float
    """Median length of a state at the hook point, without the edit."""

    found: CalibratedStrength | None
    note: str = ""
    """Change made to the input."""

    seconds: float = 0.0
    """From the question to the answer."""


class SteeringRuns:
    """Runs of one model with edits of one SAE: what does not hang on the strength is kept for the next one."""

    def __init__(self, model: LiveModel, sae: SparseAutoencoder) -> None:
        self.model, self.sae = model, sae
        self._clean: dict[Hashable, tuple[Batch, Reading]] = {}
        self._steered: dict[Hashable, Steered] = {}

    def answer(self, asked: Question, inputs: Inputs) -> SteeringAnswer:
        """Run the model for what is asked of an input. Touches no widget."""
        recipe = asked.recipe
        with self.model.lock:
            # What a `with` block around a cell has put in force is part of the clean run.
            others = tuple(id(edit) for edit in self.model.interventions)
        place = (*asked.input, recipe.hook_point, others)
        batch, clean = _once(self._clean, place, lambda: read_unsteered(self.model, inputs, recipe))
        how = recipe.atoms, recipe.mode, recipe.positions, recipe.seed
        steered = _once(
            self._steered,
            (place, how, self._state_of_sae()),
            lambda: Steered(self.model, batch, self.sae, recipe, clean=clean),
            PREPARED,
        )
        found = None
        if recipe.target_kl is not None:
            recipe, found = self._calibrated(recipe, inputs, recipe.target_kl)
        return SteeringAnswer(
            summary=steered.answer(recipe, target=asked.target),
            length=float(np.median(np.linalg.norm(clean.edited, axis=-1))),
            found=found,
            note=f"The text was cut at {self.model.context_length} tokens, all the model can read."
            if batch.truncated
            else "",
        )

    def _state_of_sae(self) -> tuple[tuple[int, int], ...]:
        """Return what changes when the SAE's weights do: it may be in training."""
        weights: Iterable[Tensor] = getattr(self.sae, "parameters", tuple)()
        return tuple((id(weight), weight._version) for weight in weights)

    def _calibrated(
        self, recipe: SteeringRecipe, inputs: Inputs, target_kl: float
    ) -> tuple[SteeringRecipe, CalibratedStrength]:
        """Find the strength at which a recipe has a divergence, and scale the recipe to it."""
        if not any(recipe.amounts):  # a search begins somewhere
            recipe = replace(recipe, strength=1.0)
        found = calibrate_strength(
            answering(self.model, recipe.head),
            recipe.hook_point,
            self.sae,
            inputs,
            recipe.atoms,
            target_kl,
            by=recipe.amounts,
            positions=recipe.positions,
        )
        moved = int(np.argmax(np.abs(recipe.amounts)))
        return recipe.scaled(found.by[moved] / recipe.amounts[moved]), found


def _once(known: dict[Hashable, T], key: Hashable, make: Callable[[], T], kept: int = KEPT) -> T:
    """Return what is known under a key, made if it is not; the newest few are kept."""
    if key not in known:
        known[key] = make()
        for old in list(known)[:-kept]:
            del known[old]
    return known[key]
