"""The question of a SteeringPanel as one frozen value, and the runs of the model that answer it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sae_nb.files import SaeIdentity
from sae_nb.files._fingerprints import identity_of
from sae_nb.steering import calibrate_strength
from sae_nb.steering._calibration import CalibratedStrength
from sae_nb.summaries import SteeringSummary
from sae_nb.summaries._steering import (
    Steered,
    SteeringRecipe,
)
from sae_nb.summaries.input._answers import (
    Reading,
    answering,
    as_batch,
    read_answer,
    read_hook_point,
)
from sae_nb_widgets.panel._samples import target_of

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel
    from sae_nb_widgets.steering._panel import SteeringPanel

T = TypeVar("T")
KEPT, PREPARED = 8, 2
"""Inputs that are kept, and inputs with an edit prepared, which hold the states below it."""


@dataclass(frozen=True)
class Ask:
    """Everything that the model's answer depends on."""

    recipe: SteeringRecipe
    target: int | None
    """Class or token that the answer is about; None: the one that changes most."""

    version: int
    """Counts what makes earlier answers void: other weights, another image under the same number."""

    @property
    def question(self) -> Ask:
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


class Asking:
    """Asks for what `panel` shows: a question is asked once, by the present values of the panel's traits."""

    def __init__(self, panel: SteeringPanel) -> None:
        self._panel = panel
        self._runs = SteeringRuns(panel.model, panel.sae)
        self._identity: SaeIdentity | None = None
        self._given: tuple[Any, Any] = (None, None)
        self._version = 0
        self._last: Ask | None = None
        self._unit: tuple[Any, ...] = ()

    @property
    def identity(self) -> SaeIdentity:
        """Identity of the SAE of the atoms, as recipes and sessions write it."""
        if self._identity is None:
            self._identity = identity_of(self._panel.sae)
        return self._identity

    def recipe(self) -> SteeringRecipe:
        """Return the panel's present request."""
        panel = self._panel
        # Once each: another thread may change them meanwhile, and a unit belongs to a mode.
        atom, mode, units = panel.atom, panel.mode, panel.units
        return SteeringRecipe(
            hook_point=panel.hook_point,
            atom=atom,
            strength=panel.strength,
            unit=units.unit(atom, mode),
            p99=units.of(atom, mode),
            others=tuple(
                (other, strength * units.unit_size(other, mode))
                for other, strength in panel.others
                if other != atom  # while it is the one in question, its slider is the large one
            ),
            mode=mode,
            positions=panel.positions,
            sample=panel.sample,
            seed=panel.seed,
            head=panel.head,
            text=panel.text if panel.reads_text and panel.text else None,
            model_name=panel.model.name,
            target_kl=panel.target_kl,
            sae=self.identity,
        )

    def renew(self) -> None:
        """Have everything read again: other weights, or another image under the same number."""
        self._version += 1
        self._identity = None

    def forget(self) -> None:
        """Forget the last question: it is asked again."""
        self._last = None

    def ask(self) -> Callable[[], SteeringAnswer] | None:
        """Return the work that answers what is asked now; None if that was asked last."""
        panel, recipe = self._panel, self.recipe()
        target = (
            target_of(answering(panel.model, panel.head), panel.target) if panel.target else None
        )
        ask = Ask(recipe, target, self._version)
        if ask.question == self._last:
            return None
        self._last = ask.question
        if self._given[0] != ask.input:
            self._given = ask.input, panel.given()
        given = self._given[1]
        return lambda: self._runs.answer(ask, given)


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
    """Runs of one model with edits of one SAE: what does not hang on the strength is kept for the next one."""

    def __init__(self, model: LiveModel, sae: SparseAutoencoder) -> None:
        self.model, self.sae = model, sae
        self._clean: dict[Any, tuple[Any, Reading]] = {}
        self._steered: dict[Any, Steered] = {}

    def answer(self, ask: Ask, inputs: Any) -> SteeringAnswer:
        """Run the model for what is asked of an input. Touches no widget."""
        recipe = ask.recipe
        with self.model.lock:
            # What a `with` block around a cell has put in force is part of the clean run.
            others = tuple(id(edit) for edit in self.model.interventions)
        place = (*ask.input, recipe.hook_point, others)
        batch, clean = _once(self._clean, place, lambda: self._read(recipe, inputs))
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
            summary=steered.answer(recipe, target=ask.target),
            length=float(np.median(np.linalg.norm(clean.edited, axis=-1))),
            found=found,
            note=f"The text was cut at {self.model.context_length} tokens, all the model can read."
            if batch.truncated
            else "",
        )

    def _read(self, recipe: SteeringRecipe, inputs: Any) -> tuple[Any, Reading]:
        """Run the model without the edit."""
        model = answering(self.model, recipe.head)
        batch, read_at = as_batch(model, inputs), read_hook_point(model, recipe.hook_point)
        return batch, read_answer(model, batch, recipe.hook_point, read_at)

    def _state_of_sae(self) -> tuple[tuple[int, int], ...]:
        """Return what changes when the SAE's weights do: it may be in training."""
        weights: Iterable[Any] = getattr(self.sae, "parameters", tuple)()
        return tuple((id(weight), weight._version) for weight in weights)

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


def _once(known: dict[Any, T], key: Any, make: Callable[[], T], kept: int = KEPT) -> T:
    """Return what is known under a key, made if it is not; the newest few are kept."""
    if key not in known:
        known[key] = make()
        for old in list(known)[:-kept]:
            del known[old]
    return known[key]
