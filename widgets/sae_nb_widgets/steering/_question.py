"""The question of a SteeringPanel: its traits, what they allow, and the recipe that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import traitlets as t

from sae_nb.activations import modality_of
from sae_nb.checks import check_atom
from sae_nb.files import SaeIdentity, identity_of
from sae_nb.steering import MODES, Positions, Unit
from sae_nb.summaries import SteeringRecipe, answering
from sae_nb_widgets.panel import (
    LARGEST_SEED,
    Atom,
    Number,
    Panel,
    Samples,
    Whole,
    check_point,
    or_trait_error,
    target_of,
    target_rule,
)
from sae_nb_widgets.steering._controls import OWN_ANSWER
from sae_nb_widgets.steering._scale import StrengthScale

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

MOST = 10_000.0
"""Largest strength either way, in any unit: far beyond what leaves anything of the model."""

ASKED: tuple[str, ...] = ("atom", "strength", "mode", "positions", "hook_point")
ASKED += ("sample", "seed", "head", "text", "others", "target_kl", "target")
"""Traits that make up what is asked: changing one runs the model."""


class SteeringQuestion(Panel):
    """The changed atom, the model, and the mode, strength and place of the change."""

    model: LiveModel
    sae: SparseAutoencoder
    n_atoms: int
    kind: str
    samples: Samples
    scale: StrengthScale
    _identity: SaeIdentity | None = None

    atom = Atom(help="Row of the dictionary that is made stronger.")
    strength = Number(0.0, -MOST, MOST, help="How much, in the panel's unit.")
    # The table itself, not a copy: a mode that is added to it can be chosen.
    mode = t.Enum(cast(Any, MODES), default_value="add", help="What is done with it.")
    positions = t.Any(None, help="None or 'all', a name such as 'cls' or 'last', or indices.")
    hook_point = t.Unicode("", help="Where in the model.")
    target = t.Unicode(
        "", help="Class or token that the sentence and the curve are about; empty: the answer."
    )
    sample = Whole(0, 0, lambda panel: len(panel.samples) - 1, help="Which of the inputs.")
    seed = Whole(0, 0, LARGEST_SEED, help="Of the random direction.")
    head = t.Unicode("", help="Which head answers; empty for the main one.")
    text = t.Unicode("", help="What a language model reads.")
    others = t.Tuple(help="Atoms changed with it: pairs of an atom and its strength, in its unit.")
    target_kl = t.Float(None, allow_none=True, help="Divergence to find the strength for, in nats.")
    recipes = t.List(t.Dict(), help="Recipes that were kept, ready for JSON.")
    max_new_tokens = Whole(20, 1, 200, help="Tokens that a continuation adds.")

    @t.validate("hook_point")
    def _hook_point_fits(self, proposal: t.Bunch) -> str:
        or_trait_error(check_point, self.model, self.sae, proposal["value"])
        return str(proposal["value"])

    @t.validate("positions")
    def _positions_exist(self, proposal: t.Bunch) -> Any:
        value = None if proposal["value"] == "all" else proposal["value"]
        if isinstance(value, list):
            value = tuple(value)
        or_trait_error(Positions, value, prefix_tokens=self.model.prefix_tokens)
        return value

    @t.validate("others")
    def _others_exist(self, proposal: t.Bunch) -> tuple[tuple[int, float], ...]:
        try:
            pairs = tuple((int(atom), float(strength)) for atom, strength in proposal["value"])
        except (TypeError, ValueError):
            raise t.TraitError(
                f"`others` must be pairs of an atom and its strength, got {proposal['value']!r}."
            ) from None
        for atom, strength in pairs:
            or_trait_error(check_atom, atom, self.n_atoms)
            if not np.isfinite(strength):
                raise t.TraitError(f"`others` must have finite strengths, got {strength}.")
        if len({atom for atom, _ in pairs}) < len(pairs):
            raise t.TraitError(f"`others` must name each atom once, got {pairs}.")
        return pairs

    @t.validate("target_kl")
    def _target_is_positive(self, proposal: t.Bunch) -> float | None:
        value = proposal["value"]
        if value is not None and not 0 < float(value) < np.inf:
            raise t.TraitError(f"`target_kl` must be positive and finite, in nats, got {value}.")
        return None if value is None else float(value)

    @t.validate("head")
    def _head_exists(self, proposal: t.Bunch) -> str:
        or_trait_error(answering, self.model, proposal["value"])
        return str(proposal["value"])

    @t.validate("target")
    def _target_exists(self, proposal: t.Bunch) -> str:
        or_trait_error(target_of, answering(self.model, self.head), proposal["value"])
        return str(proposal["value"])

    def target_rule(self) -> str:
        """State what sentence and curve can be about."""
        return target_rule(self.model, OWN_ANSWER)

    @property
    def unit(self) -> Unit:
        """Unit of `strength`: a measured one where that is known of the atom, else "coefficient"."""
        return self.scale.unit(self.atom, self.mode)

    @property
    def identity(self) -> SaeIdentity:
        """Identity of the SAE of the atoms, as recipes and sessions write it."""
        if self._identity is None:
            self._identity = identity_of(self.sae)
        return self._identity

    @property
    def current(self) -> SteeringRecipe:
        """The panel's present request."""
        # Once each: another thread may change them meanwhile, and a unit belongs to a mode.
        atom, mode, scale = self.atom, self.mode, self.scale
        return SteeringRecipe(
            hook_point=self.hook_point,
            atom=atom,
            strength=self.strength,
            unit=scale.unit(atom, mode),
            p99=scale.of(atom, mode),
            others=tuple(
                (other, strength * scale.unit_size(other, mode))
                for other, strength in self.others
                if other != atom  # while it is the one in question, its slider is the large one
            ),
            mode=mode,
            positions=self.positions,
            sample=self.sample,
            seed=self.seed,
            head=self.head,
            text=self.text if modality_of(self.kind).is_text and self.text else None,
            model_name=self.model.name,
            target_kl=self.target_kl,
            sae=self.identity,
        )
