"""In which unit a strength is given, how far its slider goes, and what people call the unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from sae_nb.steering_modes import MODES, Mode
from sae_nb.steering_request import Unit
from sae_nb.strengths import strength_p99
from sae_nb_widgets.figures.theme import format_number

if TYPE_CHECKING:
    from sae_nb.architectures.base import SparseAutoencoder

WIDEST = 5.0
"""End of the slider, in multiples of the 99th percentile or as a factor."""

WIDEST_LENGTHS = 2.0
"""End of the slider where no percentile is known, in median lengths of a state."""


class StrengthScale:
    """Units of strength: multiples of an atom's 99th percentile where it is known.

    Examples
    --------
    >>> scale = StrengthScale()
    >>> scale.unit(0, "add")
    'coefficient'
    >>> scale.p99 = np.array([3.0, 0.0])
    >>> scale.unit(0, "add"), scale.unit(1, "add"), scale.limits(0, "add")
    ('p99', 'coefficient', (-5.0, 5.0))
    """

    def __init__(self) -> None:
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

    def words(self, atom: int, mode: Mode) -> str:
        """Return what stands beside the slider."""
        if not MODES[mode].takes_p99:
            return MODES[mode].unit_words
        p99 = self.of(atom, mode)
        if p99 is not None:
            return f"× p99 = {format_number(p99)}"
        return "units of the model" + (" (it never fires in acts)" * (self.p99 is not None))


def measured_p99(sae: SparseAutoencoder, acts: Any) -> Float[np.ndarray, " n_atoms"]:
    """Return every atom's 99th percentile of non-zero strengths.

    Parameters
    ----------
    sae
        Encodes `acts`, or carries `strength_p99`.
    acts
        Activations, codes, a catalogue that has counted already, or None.
    """
    counted = getattr(acts, "p99", None)
    return np.asarray(strength_p99(sae, acts) if counted is None else counted)


def one_digit(value: float) -> float:
    """Round to one significant digit.

    Examples
    --------
    >>> one_digit(37.2), one_digit(0.0)
    (40.0, 1.0)
    """
    return float(f"{value:.0e}") if value > 0 else 1.0
