"""Recipes of a SteeringPanel: kept, written, read back, done again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_nb.checks import checked
from sae_nb.files import read_json, write_json
from sae_nb.summaries import SteeringRecipe
from sae_nb_widgets.panel import reacts
from sae_nb_widgets.steering._question import SteeringQuestion
from sae_nb_widgets.steering._words import recipe_words

if TYPE_CHECKING:
    from sae_nb_widgets.steering._controls import SteeringControls

NO_RECIPE = (
    "This is not a recipe I can read{}. Paste one that stood in this field, and press replay."
)


class KeepsRecipes(SteeringQuestion):
    """Everything it takes to steer in the same way again, as plain JSON values."""

    controls: SteeringControls
    # A recipe that came before it was known in which unit a strength is.
    _waiting: SteeringRecipe | None = None
    _ready = _auto = _taking = False

    def recipe(self) -> dict[str, Any]:
        """Return everything it takes to do the same again, as plain JSON values."""
        return self.current.to_json()

    def keep_recipe(self) -> dict[str, Any]:
        """Add what is asked for now to `recipes`, and return it; one that is there stays once."""
        recipe = self.recipe()
        if recipe not in self.recipes:
            self.recipes = [*self.recipes, recipe]
        self.say(f"Kept as recipe {self.recipes.index(recipe) + 1}: {self._words_of(recipe)}.")
        return recipe

    def _words_of(self, recipe: Mapping[str, Any]) -> str:
        return recipe_words(SteeringRecipe.from_json(dict(recipe)), self.names, self.scale)

    @checked
    def save_recipe(self, path: str | Path) -> Path:
        """Write what is asked for now as a JSON file, atomically."""
        write_json(Path(path), self.recipe())
        return Path(path)

    @checked
    def replay(self, recipe: Mapping[str, Any] | str | Path) -> None:
        """Carry out a recipe."""
        fields = recipe if isinstance(recipe, Mapping) else read_json(Path(recipe))
        asked = SteeringRecipe.from_json(dict(fields))
        if asked.sae is not None and not asked.sae.is_same(self.identity):
            raise ValueError(
                f"`recipe` must be of the SAE that is steered, {self.identity}, and this one is of "
                f"{asked.sae}. Open the panel with that SAE."
            )
        # Without an event loop the strengths' answer comes on a thread of its own: not in between.
        with self._drawing:
            self._auto = False
            if not self._ready:  # until then the unit of a strength is not known
                self._waiting = asked
            self._take(asked)

    def _take(self, asked: SteeringRecipe) -> None:
        """Set every trait to the value in a recipe."""
        self._taking = True
        try:
            self._take_edit(asked)
        finally:
            self._taking = False
        if asked.text is not None:  # last, because another sample brings its own
            self.text = asked.text

    def _take_edit(self, asked: SteeringRecipe) -> None:
        with self.hold_trait_notifications():
            self.hook_point, self.atom, self.mode = asked.hook_point, asked.atom, asked.mode
            self.positions, self.sample, self.seed = asked.positions, asked.sample, asked.seed
            self.head, self.target_kl = asked.head, None
            # The same coefficients, also where percentiles were measured on other activations.
            size = self.scale.unit_size
            self.others = tuple((a, amount / size(a, asked.mode)) for a, amount in asked.others)
            self.strength = asked.amount / size(asked.atom, asked.mode)

    def replay_text(self) -> None:
        """Carry out the recipe in the field."""
        with self.guarded("recipe"):
            try:
                fields = json.loads(self.controls.recipe.value)
            except json.JSONDecodeError as error:
                where = f" (line {error.lineno}, column {error.colno})"
                raise ValueError(NO_RECIPE.format(where)) from None
            if not isinstance(fields, dict):
                raise ValueError(NO_RECIPE.format(""))
            self.replay(fields)

    @reacts("recipes", early=True)
    def _offer_recipes(self) -> None:
        self.controls.show_kept([self._words_of(one) for one in self.recipes])

    def state(self) -> dict[str, Any]:
        """Return what a saved session keeps: the recipe that is shown, and those that were kept."""
        return {"recipe": self.recipe(), "recipes": list(self.recipes)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        if unknown := sorted(set(state) - {"recipe", "recipes"}):
            raise ValueError(
                f"`state` must name what a {type(self).__name__} keeps (recipe, recipes), got "
                f"{', '.join(unknown)}. Take it from `state()` of the same kind of panel."
            )
        if "recipe" in state:
            self.replay(state["recipe"])
        self.recipes = [dict(one) for one in state.get("recipes", self.recipes)]
