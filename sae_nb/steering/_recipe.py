"""The recipe of a steering: everything it takes to do the same again, as plain JSON values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sae_nb.checks import one_of
from sae_nb.files import SaeIdentity
from sae_nb.steering._contexts import Active, steer
from sae_nb.steering.modes import MODES, UNITS, Mode, Unit

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


@dataclass(frozen=True, kw_only=True)
class SteeringRecipe:
    """Everything it takes to do the same again."""

    hook_point: str
    atom: int
    strength: float
    """Strength, in `unit`s."""

    unit: Unit = "coefficient"
    p99: float | None = None
    """One measured unit of this atom as a coefficient, where it is known: its 99th percentile, or what `unit`
    measures instead."""

    others: tuple[tuple[int, float], ...] = ()
    """Atoms that are changed with it, each with its own amount in the model's units (or factor)."""

    mode: Mode = "add"
    """Steering mode."""

    positions: str | tuple[int, ...] | None = None
    """Where in the input: None for all, a name, or indices."""

    sample: int = 0
    """Index of the input."""

    text: str | None = None
    """The input itself, where it is a text."""

    seed: int = 0
    """Of the random direction."""

    head: str = ""
    """Head of the model that answers; empty for the main one."""

    model_name: str = ""
    target_kl: float | None = None
    """Divergence in nats that the strength was found for; None where it was set by hand."""

    sae: SaeIdentity | None = None
    """SAE of the atoms; None if it was not recorded."""

    direction: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    """Two groups of texts, whose direction is atom 0; None where the atoms are an SAE's."""

    def __post_init__(self) -> None:
        one_of(self.mode, MODES, name="mode")
        one_of(self.unit, UNITS, name="unit")
        if not math.isfinite(self.strength):
            raise ValueError(f"`strength` must be finite, got {self.strength}.")
        known = self.p99 is not None and self.p99 > 0
        if UNITS[self.unit].measured and not (known and MODES[self.mode].takes_units):
            fitting = " or ".join(f'"{name}"' for name, mode in MODES.items() if mode.takes_units)
            raise ValueError(
                f'`unit="{self.unit}"` needs a positive p99 and mode {fitting}, got p99={self.p99} and '
                f'mode {self.mode!r}. Use unit="coefficient".'
            )
        if self.direction is not None and self.atoms != (0,):
            raise ValueError(f"`direction` has one atom, 0, got atoms {self.atoms}. Pass atom=0.")
        if len(set(self.atoms)) < len(self.atoms) or not np.isfinite(self.amounts).all():
            raise ValueError(
                f"`others` must name other atoms than {self.atom}, each once, with finite amounts, got "
                f"{self.others}."
            )

    @property
    def atoms(self) -> tuple[int, ...]:
        """Every atom that is changed, the one in question first."""
        return (self.atom, *(atom for atom, _ in self.others))

    @property
    def amounts(self) -> tuple[float, ...]:
        """Amount of each atom, in the form `steer` takes."""
        return (self.amount, *(float(amount) for _, amount in self.others))

    @property
    def name(self) -> str:
        """Names of the atoms: "atom 5", "atoms 5 + 9"."""
        return f"atom{'s' * bool(self.others)} {' + '.join(map(str, self.atoms))}"

    def scaled(self, factor: float) -> SteeringRecipe:
        """Return the same recipe with every strength so much larger."""
        others = tuple((atom, factor * amount) for atom, amount in self.others)
        return replace(self, strength=factor * self.strength, others=others)

    @property
    def unit_size(self) -> float:
        """One unit of strength in the model's units."""
        return float(self.p99) if UNITS[self.unit].measured and self.p99 else 1.0

    @property
    def amount(self) -> float:
        """Argument for `steer`: a coefficient, or for "scale" a factor."""
        return self.strength * self.unit_size

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values."""
        plain = asdict(self)
        if isinstance(self.positions, tuple):
            plain["positions"] = list(self.positions)
        plain["others"] = [list(pair) for pair in self.others]
        return plain

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> SteeringRecipe:
        """Return the recipe of `to_json`; names it does not know are refused."""
        known = sorted(cls.__dataclass_fields__)
        if unknown := sorted(set(fields) - set(known)):
            raise ValueError(f"A steering recipe has the entries {known}, got {unknown} too.")
        if missing := sorted({"hook_point", "atom", "strength"} - set(fields)):
            raise ValueError(f"A steering recipe needs {missing}, got only {sorted(fields)}.")
        fields = dict(fields)
        if isinstance(fields.get("positions"), list):
            fields["positions"] = tuple(fields["positions"])
        others = fields.get("others", ())
        try:
            fields["others"] = tuple((int(atom), float(amount)) for atom, amount in others)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`others` must be pairs of an atom and how much of it, got {others!r}."
            ) from error
        if fields.get("direction") is not None:
            fields["direction"] = two_groups(fields["direction"])
        if fields.get("sae") is not None:
            fields["sae"] = SaeIdentity.from_json(fields["sae"])
        return cls(**fields)


def two_groups(given: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return two groups of texts as tuples, from lists."""
    groups = given if isinstance(given, list | tuple) and len(given) == 2 else ((), ())
    first, second = (tuple(one) if isinstance(one, list | tuple) else () for one in groups)
    if not first or not second or not all(isinstance(one, str) for one in (*first, *second)):
        raise ValueError(f"`direction` must be two lists of texts, got {given!r}.")
    return first, second


def edit_of(model: LiveModel, sae: SparseAutoencoder, recipe: SteeringRecipe) -> Active:
    """Return the steering that a recipe asks for, ready for a `with` block."""
    return steer(
        model,
        recipe.hook_point,
        sae,
        recipe.atoms,
        recipe.amounts,
        mode=recipe.mode,
        positions=recipe.positions,
    )
