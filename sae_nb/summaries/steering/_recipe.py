"""The recipe of a steering: everything it takes to do the same again, as plain JSON values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sae_nb.checks import one_of
from sae_nb.files import SaeIdentity
from sae_nb.steering import MODES, UNITS, Mode, Unit


@dataclass(frozen=True, kw_only=True)
class SteeringRecipe:
    """Everything it takes to do the same again."""

    hook_point: str
    atom: int
    strength: float
    """How much, in `unit`s."""

    unit: Unit = "coefficient"
    """"p99": multiples of the atom's 99th percentile of non-zero strengths."""

    p99: float | None = None
    """That percentile, where it is known; "p99" needs it."""

    others: tuple[tuple[int, float], ...] = ()
    """Atoms that are changed with it, each with its own amount in the model's units (or factor)."""

    mode: Mode = "add"
    """What is done with it."""

    positions: str | tuple[int, ...] | None = None
    """Where in the input: None for all, a name, or indices."""

    sample: int = 0
    """Which input."""

    text: str | None = None
    """The input itself, where it is a text."""

    seed: int = 0
    """Of the random direction."""

    head: str = ""
    """Which of the model's heads answers; empty for the main one."""

    model_name: str = ""
    target_kl: float | None = None
    """Divergence in nats that the strength was found for; None where it was set by hand."""

    sae: SaeIdentity | None = None
    """Whose atoms; None where nobody wrote it down."""

    def __post_init__(self) -> None:
        one_of(self.mode, MODES, name="mode")
        one_of(self.unit, UNITS, name="unit")
        if not math.isfinite(self.strength):
            raise ValueError(f"`strength` must be finite, got {self.strength}.")
        known = self.p99 is not None and self.p99 > 0
        if self.unit == "p99" and not (known and MODES[self.mode].takes_p99):
            fitting = " or ".join(f'"{name}"' for name, mode in MODES.items() if mode.takes_p99)
            raise ValueError(
                f'`unit="p99"` needs a positive p99 and mode {fitting}, got p99={self.p99} and '
                f'mode {self.mode!r}. Use unit="coefficient".'
            )
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
        """How much of each, as `steer` takes it."""
        return (self.amount, *(float(amount) for _, amount in self.others))

    @property
    def name(self) -> str:
        """What people call the atoms: "atom 5", "atoms 5 + 9"."""
        return f"atom{'s' * bool(self.others)} {' + '.join(map(str, self.atoms))}"

    def scaled(self, factor: float) -> SteeringRecipe:
        """Return the same recipe with every strength so much larger."""
        others = tuple((atom, factor * amount) for atom, amount in self.others)
        return replace(self, strength=factor * self.strength, others=others)

    @property
    def unit_size(self) -> float:
        """One unit of strength in the model's units."""
        return float(self.p99) if self.unit == "p99" and self.p99 else 1.0

    @property
    def amount(self) -> float:
        """What `steer` gets: a coefficient, or for "scale" a factor."""
        return self.strength * self.unit_size

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values."""
        plain = asdict(self)
        if isinstance(self.positions, tuple):
            plain["positions"] = list(self.positions)
        plain["others"] = [list(pair) for pair in self.others]
        plain["sae"] = None if self.sae is None else self.sae.to_json()
        return plain

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> SteeringRecipe:
        """Return the recipe of `to_json`; names it does not know are refused."""
        known = set(cls.__dataclass_fields__)
        if unknown := sorted(set(fields) - known):
            raise ValueError(
                f"A steering recipe has the entries {sorted(known)}, got {unknown} too."
            )
        if missing := sorted({"hook_point", "atom", "strength"} - set(fields)):
            raise ValueError(f"A steering recipe needs {missing}, got only {sorted(fields)}.")
        fields = dict(fields)
        if isinstance(fields.get("positions"), list):
            fields["positions"] = tuple(fields["positions"])
        fields["others"] = _pairs(fields.get("others", ()))
        if fields.get("sae") is not None:
            fields["sae"] = SaeIdentity.from_json(fields["sae"])
        return cls(**fields)


def _pairs(others: Any) -> tuple[tuple[int, float], ...]:
    try:
        return tuple((int(atom), float(amount)) for atom, amount in others)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`others` must be pairs of an atom and how much of it, got {others!r}."
        ) from error
