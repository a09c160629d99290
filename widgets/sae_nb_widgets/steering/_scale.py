"""In which unit a strength is given, how far its slider goes, and how strong is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from sae_nb.figures import format_number
from sae_nb.steering import MODES, Mode, Unit, strength_p99

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

WIDEST = 5.0
"""End of the slider, in multiples of the 99th percentile or as a factor."""

WIDEST_LENGTHS = 2.0
"""End of the slider where no percentile is known, in median lengths of a state."""

FULL_STRENGTH = "full strength"
"""What panels call the 99th percentile of an atom's activations."""

SAFE, SAFE_FOR_TEXT = 2.0, 1.0
"""Multiples of the 99th percentile that a panel chooses by itself, and above which it keeps no strength
that was set for another atom. Of 25 atoms of the bundled tiny-gpt, added at every token, none makes a
continuation repeat itself at 1×, 6 do at 1.5×, 7 at 2× and 13 at 3× (fewer than half of 12 new tokens
are distinct). Classes bear more: on tiny-vit 9 of 10 atoms move the answer by less than 0.2 nats at 2×."""


class StrengthScale:
    """Units of strength: multiples of an atom's 99th percentile where it is known."""

    def __init__(self, *, talks: bool = False) -> None:
        self._safe = SAFE_FOR_TEXT if talks else SAFE
        self.p99: Float[np.ndarray, " n_atoms"] | None = None
        self.lengths: Float[np.ndarray, " n_atoms"] | None = None
        self.length: float | None = None

    def of(self, atom: int, mode: Mode = "set") -> float | None:
        """Return an atom's percentile; None when it is not known or the atom never fires.

        What "add" adds is a unit vector, so there an atom's length counts too: those of other
        libraries' SAEs may be longer or shorter than 1.
        """
        if self.p99 is None:
            return None
        length = (
            1.0 if self.lengths is None or not MODES[mode].unit_atoms else float(self.lengths[atom])
        )
        return length * float(self.p99[atom]) or None

    def unit_size(self, atom: int, mode: Mode) -> float:
        """Return one unit of strength in the model's units."""
        return (self.of(atom, mode) or 1.0) if self.unit(atom, mode) == "p99" else 1.0

    def unit(self, atom: int, mode: Mode) -> Unit:
        """Return the unit of a strength."""
        return "p99" if MODES[mode].takes_p99 and self.of(atom) is not None else "coefficient"

    def limits(self, atom: int, mode: Mode) -> tuple[float, float]:
        """Return the ends of the slider."""
        high = WIDEST
        if MODES[mode].takes_p99 and self.unit(atom, mode) == "coefficient":
            high = one_digit(WIDEST_LENGTHS * self.length) if self.length else 10.0
        return (-high if MODES[mode].signed else 0.0, high)

    def safe(self, atom: int, mode: Mode) -> float | None:
        """Return how strong an edit may be unless somebody asks for more; None where nobody knows."""
        if not MODES[mode].takes_p99:
            return None
        if self.unit(atom, mode) == "p99":
            return self._safe
        return one_digit(self.limits(atom, mode)[1] / 4) if self.length else None

    def words(self, atom: int, mode: Mode) -> str:
        """Return what stands beside the slider."""
        if not MODES[mode].takes_p99:
            return MODES[mode].unit_words
        if self.of(atom, mode) is not None:
            return f"× {FULL_STRENGTH}"
        return "model units" + " (it never fires in the examples)" * (self.p99 is not None)

    def explained(self, atom: int, mode: Mode) -> str:
        """Return what the words beside the slider mean; empty where they say it themselves."""
        p99 = self.of(atom, mode)
        if p99 is None or not MODES[mode].takes_p99:
            return ""
        return (
            f"{FULL_STRENGTH}: as strong as the atom is in the strongest 1 % of its firings "
            f"({format_number(p99)}, their 99th percentile)"
        )


def measured_p99(sae: SparseAutoencoder, acts: Any) -> Float[np.ndarray, " n_atoms"]:
    """Return every atom's 99th percentile of non-zero strengths."""
    counted = getattr(acts, "p99", None)
    return np.asarray(strength_p99(sae, acts) if counted is None else counted)


def one_digit(value: float) -> float:
    """Round to one significant digit."""
    return float(f"{value:.0e}") if value > 0 else 1.0
