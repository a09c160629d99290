"""In which unit a strength is given, how far its slider goes, and how strong is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from sae_nb.figures import format_number
from sae_nb.steering import MODES, UNITS, USUAL, Mode, Unit

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

WIDEST_FACTOR = 5.0
"""End of the slider of a factor."""


class StrengthScale:
    """Units of strength: one that is measured atom by atom where it is known, else the model's."""

    def __init__(self, *, talks: bool = False, unit: Unit = USUAL) -> None:
        self.measured = UNITS[unit]
        self._name, self._talks = unit, talks
        self.sizes: Float[np.ndarray, " n_atoms"] | None = None
        self.lengths: Float[np.ndarray, " n_atoms"] | None = None
        self.length: float | None = None

    def measure(self, sae: SparseAutoencoder, acts: Any) -> Float[np.ndarray, " n_atoms"] | None:
        """Return one measured unit of every atom; None if neither activations nor the SAE tell it."""
        return self.measured.sizes(sae, acts) if self.measured.known(sae, acts) else None

    def of(self, atom: int, mode: Mode = "set") -> float | None:
        """Return an atom's measured unit; None when it is not known or the atom never fires.

        "add" adds a unit vector, so there an atom's length counts too: those of other libraries' SAEs
        may be longer or shorter than 1.
        """
        if self.sizes is None:
            return None
        length = (
            1.0 if self.lengths is None or not MODES[mode].unit_atoms else float(self.lengths[atom])
        )
        return length * float(self.sizes[atom]) or None

    def unit_size(self, atom: int, mode: Mode) -> float:
        """Return one unit of strength in the model's units."""
        return (self.of(atom, mode) or 1.0) if UNITS[self.unit(atom, mode)].measured else 1.0

    def unit(self, atom: int, mode: Mode) -> Unit:
        """Return the unit of a strength."""
        known = MODES[mode].takes_units and self.of(atom) is not None
        return self._name if known else "coefficient"

    def limits(self, atom: int, mode: Mode) -> tuple[float, float]:
        """Return the ends of the slider."""
        high = WIDEST_FACTOR
        if MODES[mode].takes_units:
            high = UNITS[self.unit(atom, mode)].slider_end(self.length)
        return (-high if MODES[mode].signed else 0.0, high)

    def safe(self, atom: int, mode: Mode) -> float | None:
        """Return the default maximum strength, or None if unknown."""
        if not MODES[mode].takes_units:
            return None
        return UNITS[self.unit(atom, mode)].safe_strength(self.length, talks=self._talks)

    def words(self, atom: int, mode: Mode) -> str:
        """Return the label of the slider."""
        if not MODES[mode].takes_units:
            return MODES[mode].unit_words
        unit = UNITS[self.unit(atom, mode)]
        silent = self.sizes is not None and not unit.measured
        return unit.words + " (it never fires in the examples)" * silent

    def explained(self, atom: int, mode: Mode) -> str:
        """Return what the words of the slider mean; empty where they say it themselves."""
        size = self.of(atom, mode)
        if size is None or not MODES[mode].takes_units:
            return ""
        return self.measured.explained.format(size=format_number(size))
