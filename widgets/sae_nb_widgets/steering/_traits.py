"""The state of a SteeringPanel as traits that refuse what the model cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import traitlets as t

from sae_nb.checks import check_atom
from sae_nb.steering import MODES, Positions
from sae_nb.summaries import answering
from sae_nb_widgets.panel import Panel, Samples, check_point, or_trait_error

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


class SteeringTraits(Panel):
    """What is asked of the model, each part a trait that can be set, observed and linked."""

    # What `close` reads, also of a panel that was refused before it was built.
    _closed = True

    model: LiveModel
    sae: SparseAutoencoder
    n_atoms: int
    _samples: Samples

    atom = t.Int(0, help="Row of the dictionary that is made stronger.")
    strength = t.Float(0.0, help="How much, in the panel's unit.")
    # The table itself, not a copy: a mode that is added to it can be chosen.
    mode = t.Enum(cast(Any, MODES), default_value="add", help="What is done with it.")
    positions = t.Any(None, help="None or 'all', a name such as 'cls' or 'last', or indices.")
    hook_point = t.Unicode("", help="Where in the model.")
    sample = t.Int(0, help="Which of the inputs.")
    seed = t.Int(0, help="Of the random direction.")
    head = t.Unicode("", help="Which head answers; empty for the main one.")
    text = t.Unicode("", help="What a language model reads.")
    others = t.Tuple(help="Atoms changed with it: pairs of an atom and its strength, in its unit.")
    target_kl = t.Float(None, allow_none=True, help="Divergence to find the strength for, in nats.")
    recipes = t.List(t.Dict(), help="Recipes that were kept, ready for JSON.")
    max_new_tokens = t.Int(20, help="Tokens that a continuation adds.")

    @t.validate("atom")
    def _atom_exists(self, proposal: t.Bunch) -> int:
        return or_trait_error(check_atom, proposal["value"], self.n_atoms)

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

    @t.validate("strength")
    def _strength_is_finite(self, proposal: t.Bunch) -> float:
        value = float(proposal["value"])
        if not np.isfinite(value):
            raise t.TraitError(f"`strength` must be finite, got {value}.")
        return value

    @t.validate("sample", "seed", "max_new_tokens")
    def _in_range(self, proposal: t.Bunch) -> int:
        name, value = proposal["trait"].name, int(proposal["value"])
        ends = {"sample": (0, len(self._samples) - 1), "max_new_tokens": (1, 200)}
        low, high = ends.get(name, (0, 2**31 - 1))
        if not low <= value <= high:
            raise t.TraitError(f"`{name}` must be between {low} and {high}, got {value}.")
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
