"""The recipes of a SteeringPanel: kept, written, carried out again, and what a session keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets as t

from sae_nb.atoms import AtomNames, Labels
from sae_nb.checks import checked
from sae_nb.files import identity_of, write_json
from sae_nb.sessions import names_of
from sae_nb.steering import SteeringRecipe
from sae_nb_widgets.panel._declaring import reacts
from sae_nb_widgets.steering import _choices as choices, _words as words
from sae_nb_widgets.steering._choices import ChosenStrength
from sae_nb_widgets.steering._directions import HasDirection, name_of


class HasRecipes(HasDirection):
    """Everything it takes to do the same again, kept, written and carried out."""

    recipes = t.List(t.Dict(), help="Recipes that were kept, ready for JSON.")

    if TYPE_CHECKING:
        controls: Any
        mode: Any
        positions: Any
        sample: Any
        seed: Any
        head: Any
        text: Any
        target_kl: Any
        _chosen: ChosenStrength

        @property
        def current(self) -> SteeringRecipe: ...

    def recipe(self) -> dict[str, Any]:
        """Return everything it takes to do the same again, as plain JSON values."""
        return self.current.to_json()

    def keep_recipe(self) -> dict[str, Any]:
        """Add what is asked for now to `recipes`, and return it; one that is there stays once."""
        recipe = self.recipe()
        if recipe not in self.recipes:
            self.recipes = [*self.recipes, recipe]
        number = self.recipes.index(recipe) + 1
        self.say(f"Kept as recipe {number}: {self._recipe_words(recipe)}.")
        return dict(recipe)

    def _recipe_words(self, recipe: Mapping[str, Any]) -> str:
        asked = SteeringRecipe.from_json(dict(recipe))
        names = self.names
        if asked.direction is not None:
            names = AtomNames(labels=Labels({0: name_of(asked.direction)}))
        elif asked.sae is None or not asked.sae.is_same(self.identity):
            names = names_of(self._own_sae)
        return words.recipe_words(asked, names, self.scale)

    @checked
    def save_recipe(self, path: str | Path) -> Path:
        """Write what is asked for now as a JSON file, atomically."""
        write_json(Path(path), self.recipe())
        return Path(path)

    @checked
    def replay(self, recipe: Mapping[str, Any] | str | Path) -> None:
        """Carry out a recipe."""
        asked = choices.read_recipe(recipe, self.identity, identity_of(self._own_sae))
        # Without an event loop the strengths' answer comes on a thread of its own: not in between.
        with self._drawing:
            if self._waits_for_dictionary(asked):
                return
            # Until it is ready the unit of a strength is not known.
            waiting = self._opening.recipe if self.ready else asked
            self._opening = replace(self._opening, strength=False, recipe=waiting)
            self._take_recipe(asked)

    def _take_recipe(self, asked: SteeringRecipe) -> None:
        """Set every trait to the value in a recipe."""
        size = self.scale.unit_size
        # The quotient first: where units are the same it is one, and the strength stays to the last digit.
        strength = asked.strength * (asked.unit_size / size(asked.atom, asked.mode))
        self._chosen = replace(self._chosen, of_recipe=(asked.atom, strength))
        with self.hold_trait_notifications():
            self.hook_point, self.atom, self.mode = asked.hook_point, asked.atom, asked.mode
            self.positions, self.sample, self.seed = asked.positions, asked.sample, asked.seed
            self.head, self.target_kl = asked.head, None
            # The same coefficients, also where percentiles were measured on other activations.
            self.others = tuple((a, amount / size(a, asked.mode)) for a, amount in asked.others)
            self.strength = strength
        if asked.text is not None:  # last, because another sample brings its own
            self.text = asked.text

    def replay_text(self) -> None:
        """Carry out the recipe in the field."""
        with self.guarded("recipe"):
            self.replay(choices.recipe_in(self.controls.recipe.value))

    @reacts("recipes", early=True)
    def _offer_recipes(self) -> None:
        self.controls.show_kept([self._recipe_words(one) for one in self.recipes])

    def state(self) -> dict[str, Any]:
        """Return what a saved session keeps: the recipe that is shown, and those that were kept."""
        return {"recipe": self.recipe(), **super().state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        super().restore({name: value for name, value in state.items() if name != "recipe"})
        if "recipe" in state:
            self.replay(state["recipe"])
