"""What an edit may cost: the strength found for a divergence, and atoms that share it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import traitlets as t

from sae_nb.figures import format_number
from sae_nb.files import SaeIdentity, identity_of, read_json, write_json
from sae_nb.steering import CalibratedStrength, Unit, calibrate_strength
from sae_nb.summaries import SteeringRecipe, answering
from sae_nb_widgets.steering import _controls as steering_controls
from sae_nb_widgets.steering._controls import Controls, StrengthScale
from sae_nb_widgets.steering._figure import strength_words
from sae_nb_widgets.steering._traits import SteeringTraits

# -------------------------------------------------------------------------------------------------
# Recipes of a SteeringPanel: what is asked for now, kept, saved, replayed, refused for other SAEs.


class SteeringRecipes(SteeringTraits):
    """What the traits ask for as one record, and the way back from a record to the traits."""

    kind: str
    controls: Controls
    _scale: StrengthScale
    _ready: bool
    _auto: bool

    def __init__(self, **kwargs: Any) -> None:
        self._identity: SaeIdentity | None = None
        self._waiting: SteeringRecipe | None = None
        super().__init__(**kwargs)

    @property
    def unit(self) -> Unit:
        """Unit of `strength`: "p99" where the atom's percentile is known, else "coefficient"."""
        return self._scale.unit(self.atom, self.mode)

    @property
    def identity(self) -> SaeIdentity:
        """Which SAE the atoms are of, as recipes and sessions write it."""
        if self._identity is None:
            self._identity = identity_of(self.sae)
        return self._identity

    @property
    def current(self) -> SteeringRecipe:
        """What the panel asks for now."""
        return SteeringRecipe(
            hook_point=self.hook_point,
            atom=self.atom,
            strength=self.strength,
            unit=self.unit,
            p99=self._scale.of(self.atom, self.mode),
            others=tuple(
                (atom, strength * self._scale.unit_size(atom, self.mode))
                for atom, strength in self.others
                if atom != self.atom  # while it is the one in question, its slider is the large one
            ),
            mode=self.mode,
            positions=self.positions,
            sample=self.sample,
            seed=self.seed,
            head=self.head,
            text=self.text if self.kind == "language" and self.text else None,
            model_name=self.model.name,
            target_kl=self.target_kl,
            sae=self.identity,
        )

    def recipe(self) -> dict[str, Any]:
        """Return everything it takes to do the same again, as plain JSON values."""
        return self.current.to_json()

    def keep_recipe(self) -> dict[str, Any]:
        """Add what is asked for now to `recipes`, and return it; one that is there stays once."""
        recipe = self.recipe()
        if recipe not in self.recipes:
            self.recipes = [*self.recipes, recipe]
        self.say(f"Kept as recipe {self.recipes.index(recipe) + 1}: {recipe_words(recipe)}.")
        return recipe

    def save_recipe(self, path: str | Path) -> Path:
        """Write what is asked for now as a JSON file, atomically."""
        write_json(Path(path), self.recipe())
        return Path(path)

    def replay(self, recipe: Mapping[str, Any] | str | Path) -> None:
        """Do what a recipe says."""
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
            if not self._ready:  # until then nobody knows in which unit a strength is
                self._waiting = asked
            self._take(asked)

    def _take(self, asked: SteeringRecipe) -> None:
        """Set every trait to what a recipe says."""
        with self.hold_trait_notifications():
            self.hook_point, self.atom, self.mode = asked.hook_point, asked.atom, asked.mode
            self.positions, self.sample, self.seed = asked.positions, asked.sample, asked.seed
            self.head, self.target_kl = asked.head, None
            if asked.text is not None:
                self.text = asked.text
            # The same coefficients, also where percentiles were measured on other activations.
            size = self._scale.unit_size
            self.others = tuple((a, amount / size(a, asked.mode)) for a, amount in asked.others)
            self.strength = asked.amount / size(asked.atom, asked.mode)

    # --- sessions ---------------------------------------------------------------------------------

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

    # --- on screen --------------------------------------------------------------------------------

    def _replay_text(self) -> None:
        with self.guarded("replaying the recipe"):
            try:
                fields = json.loads(self.controls.recipe.value)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"A recipe is written in JSON, and this is not: {error}."
                ) from None
            self.replay(fields)

    def _offer_recipes(self, _: t.Bunch | None = None) -> None:
        """Have the menu offer what was kept."""
        menu = self.controls.kept
        named = [(f"{i + 1}: {recipe_words(one)}", i) for i, one in enumerate(self.recipes)]
        menu.options = [("kept recipes …", None), *named]
        menu.layout.display = None if named else "none"

    def _choose_recipe(self, change: t.Bunch) -> None:
        if change["new"] is not None:
            with self.guarded("replaying the recipe"):
                self.replay(self.recipes[change["new"]])
            steering_controls.show_nothing(self.controls.kept)


def recipe_words(recipe: Mapping[str, Any]) -> str:
    """Name a recipe in a few words."""
    asked = SteeringRecipe.from_json(dict(recipe))
    return f"{asked.name}, {strength_words(asked)} at {asked.hook_point}"


# -------------------------------------------------------------------------------------------------
# What an edit may cost: the strength found for a divergence, and atoms that share it.


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
