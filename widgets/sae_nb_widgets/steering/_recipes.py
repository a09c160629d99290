"""Recipes of a SteeringPanel: named, written, read back, done again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_nb.files._atomic import read_json
from sae_nb.summaries._steering import SteeringRecipe
from sae_nb_widgets.steering._words import recipe_words

if TYPE_CHECKING:
    from sae_nb_widgets.steering._panel import SteeringPanel

NO_RECIPE = (
    "This is not a recipe I can read{}. Paste one that stood in this field, and press replay."
)


class Recipes:
    """The recipes of a panel: everything it takes to steer in the same way again, as plain JSON values."""

    def __init__(self, panel: SteeringPanel) -> None:
        self._panel = panel
        self.waiting: SteeringRecipe | None = None
        """One that came before it was known in which unit a strength is."""

    def words(self, recipe: Mapping[str, Any]) -> str:
        """Return a recipe in a few words, in the names that atoms have now."""
        panel = self._panel
        return recipe_words(SteeringRecipe.from_json(dict(recipe)), panel.names, panel.scale)

    def keep(self) -> dict[str, Any]:
        """Add what is asked for now to the panel's recipes, and return it; one that is there stays once."""
        panel, recipe = self._panel, self._panel.recipe()
        if recipe not in panel.recipes:
            panel.recipes = [*panel.recipes, recipe]
        panel.say(f"Kept as recipe {panel.recipes.index(recipe) + 1}: {self.words(recipe)}.")
        return dict(recipe)

    def read(self, given: Mapping[str, Any] | str | Path) -> SteeringRecipe:
        """Return a recipe from its fields or its file.

        Raises
        ------
        ValueError: If it is of another SAE.
        """
        fields = given if isinstance(given, Mapping) else read_json(Path(given))
        asked, own = SteeringRecipe.from_json(dict(fields)), self._panel.identity
        if asked.sae is not None and not asked.sae.is_same(own):
            raise ValueError(
                f"`recipe` must be of the SAE that is steered, {own}, and this one is of {asked.sae}. Open "
                "the panel with that SAE."
            )
        return asked

    def in_field(self) -> dict[str, Any]:
        """Return what is written in the field.

        Raises
        ------
        ValueError: If it is not a recipe.
        """
        try:
            fields = json.loads(self._panel.controls.recipe.value)
        except json.JSONDecodeError as error:
            where = f" (line {error.lineno}, column {error.colno})"
            raise ValueError(NO_RECIPE.format(where)) from None
        if not isinstance(fields, dict):
            raise ValueError(NO_RECIPE.format(""))
        return fields

    def take(self, asked: SteeringRecipe) -> None:
        """Set every trait of the panel to the value in a recipe."""
        panel, size = self._panel, self._panel.scale.unit_size
        strength = asked.amount / size(asked.atom, asked.mode)
        panel.strength_of_atom = (asked.atom, strength)
        with panel.hold_trait_notifications():
            panel.hook_point, panel.atom, panel.mode = asked.hook_point, asked.atom, asked.mode
            panel.positions, panel.sample, panel.seed = asked.positions, asked.sample, asked.seed
            panel.head, panel.target_kl = asked.head, None
            # The same coefficients, also where percentiles were measured on other activations.
            panel.others = tuple((a, amount / size(a, asked.mode)) for a, amount in asked.others)
            panel.strength = strength
        if asked.text is not None:  # last, because another sample brings its own
            panel.text = asked.text

    def offer(self) -> None:
        """Offer the recipes that were kept in the menu."""
        self._panel.controls.show_kept([self.words(one) for one in self._panel.recipes])

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what a session kept: the recipe that was shown, and those that were kept."""
        panel = self._panel
        if unknown := sorted(set(state) - {"recipe", "recipes"}):
            raise ValueError(
                f"`state` must name what a {type(panel).__name__} keeps (recipe, recipes), got "
                f"{', '.join(unknown)}. Take it from `state()` of the same kind of panel."
            )
        if "recipe" in state:
            panel.replay(state["recipe"])
        panel.recipes = [dict(one) for one in state.get("recipes", panel.recipes)]
