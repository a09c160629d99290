"""Runs of the model behind a SteeringPanel: without an edit, with it, and the strength it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sae_nb.steering import CalibratedStrength, calibrate_strength
from sae_nb.summaries import (
    Reading,
    SteeringRecipe,
    SteeringSummary,
    answering,
    as_batch,
    read_answer,
    read_hook_point,
    summarise_steering,
)

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

CLEAN_RUNS_KEPT = 8


@dataclass(frozen=True)
class SteeringAnswer:
    """The model's answer to a recipe, and how its strength was found."""

    summary: SteeringSummary
    length: float
    """Median length of a state at the hook point, without the edit."""

    found: CalibratedStrength | None
    note: str = ""
    """Change made to the input."""


class SteeringRuns:
    """Runs of one model with edits of one SAE; runs without an edit are kept for the next strength."""

    def __init__(self, model: LiveModel, sae: SparseAutoencoder) -> None:
        self.model, self.sae = model, sae
        self._clean: dict[Any, tuple[Any, Reading]] = {}

    def answer(
        self, recipe: SteeringRecipe, inputs: Any, key: Any, target: int | None = None
    ) -> SteeringAnswer:
        """Run the model for a recipe; `key` names inputs and weights. Touches no widget."""
        model = answering(self.model, recipe.head)
        with self.model.lock:
            # What a `with` block around a cell has put in force is part of the clean run.
            others = tuple(id(edit) for edit in self.model.interventions)
        key = (key, recipe.head, recipe.hook_point, others)
        if key not in self._clean:
            batch = as_batch(model, inputs)
            read_at = read_hook_point(model, recipe.hook_point)
            self._clean[key] = batch, read_answer(model, batch, recipe.hook_point, read_at)
        batch, clean = self._clean[key]
        for old in list(self._clean)[:-CLEAN_RUNS_KEPT]:
            self._clean.pop(old, None)
        found = None
        if recipe.target_kl is not None:
            recipe, found = self._calibrated(recipe, inputs, recipe.target_kl)
        return SteeringAnswer(
            summary=summarise_steering(
                self.model, batch, self.sae, recipe, target=target, clean=clean
            ),
            length=float(np.median(np.linalg.norm(clean.edited, axis=-1))),
            found=found,
            note=f"The text was cut at {model.context_length} tokens, all the model can read."
            if batch.truncated
            else "",
        )

    def _calibrated(
        self, recipe: SteeringRecipe, inputs: Any, target_kl: float
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
