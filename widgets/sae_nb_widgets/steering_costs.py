"""What an edit may cost: the strength found for a divergence, and atoms that share it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from sae_nb.steering_calibration import CalibratedStrength, calibrate_strength
from sae_nb.summaries.answers import answering
from sae_nb.summaries.steering_recipe import SteeringRecipe
from sae_nb_widgets.figures.theme import format_number
from sae_nb_widgets.steering_recipes import SteeringRecipes


class SteeringCosts(SteeringRecipes):
    """The strength is set by hand, or found for a divergence; other atoms are scaled with it."""

    _following: bool = False
    _found: CalibratedStrength | None = None

    def _calibrated(self, recipe: SteeringRecipe, inputs: Any) -> SteeringRecipe:
        """Find the strength that a divergence asks for; in the worker thread."""
        self._found = None
        target = recipe.target_kl
        if target is None:
            return recipe
        if not any(recipe.amounts):
            recipe = replace(recipe, strength=1.0)
        self._found = calibrate_strength(
            answering(self.model, recipe.head),
            inputs,
            recipe.hook_point,
            self.sae,
            recipe.atoms,
            target,
            by=recipe.amounts,
            positions=recipe.positions,
        )
        moved = int(np.argmax(np.abs(recipe.amounts)))
        return recipe.scaled(self._found.by[moved] / recipe.amounts[moved])

    def combine(self) -> None:
        """Keep the atom shown at its strength, whichever other atom is shown next."""
        kept = tuple(pair for pair in self.others if pair[0] != self.atom)
        self.others = (*kept, (self.atom, self.strength))
        self.say(f"Atom {self.atom} stays as it is. Choose another one to change with it.")

    def _follow_found(self, recipe: SteeringRecipe) -> None:
        """Have the traits say what was found."""
        size, found = self._scale.unit_size, dict(recipe.others)
        with self._only_following():
            self.strength = recipe.strength
            # One that is the atom in question for now is not in the recipe, and stays.
            self.others = tuple(
                (atom, found[atom] / size(atom, "add") if atom in found else strength)
                for atom, strength in self.others
            )

    def _settle_target(self, changed: str) -> None:
        """A divergence is only asked of what is added, and not once a strength is set by hand."""
        with self._only_following():
            if changed == "target_kl" and self.target_kl is not None:
                self.mode = "add"
            elif changed == "strength" or self.mode != "add":
                self.target_kl = None

    @contextmanager
    def _only_following(self) -> Iterator[None]:
        """Let traits follow what was found, without running the model for it."""
        self._following, before = True, self._following
        try:
            yield
        finally:
            self._following = before


def cost_words(found: CalibratedStrength | None) -> str:
    """Say what looking for a strength came to."""
    if found is None:
        return ""
    if not found.reached:
        return f" · KL {format_number(found.target_kl)} is out of reach"
    return f" · found for KL {format_number(found.target_kl)} in {found.n_runs} runs"
