"""In which unit a strength is given, how far its slider goes, and how strong is safe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from sae_nb.figures.theme import format_number
from sae_nb.steering.modes import MODES, UNITS, USUAL, Mode, Unit, one_digit

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.atoms import Peaks

WIDEST_FACTOR = 5.0
"""End of the slider of a factor."""


class StrengthScale:
    """Units of strength: one that is measured atom by atom where it is known, else the model's."""

    def __init__(self, *, talks: bool = False, unit: Unit = USUAL) -> None:
        self.measured = UNITS[unit]
        self._name, self._talks = unit, talks
        self.sizes: Float[np.ndarray, " n_atoms"] | None = None
        self.peaks: Peaks | None = None
        self.lengths: Float[np.ndarray, " n_atoms"] | None = None
        self.length: float | None = None
        self.firing: Mapping[int, float] = {}
        """Largest strength of atoms in the input at hand, for those that were not measured."""

        self.distance: float | None = None
        """Of a direction in the place of the atoms: how far its two groups are apart along it."""

    def know(self, sae: SparseAutoencoder, found: Peaks | None) -> None:
        """Note how strongly atoms fire, where that is known, and how long they are."""
        self.peaks, self.sizes = found, None if found is None else found.usual
        self.lengths = sae.dictionary.detach().float().norm(dim=1).cpu().numpy()
        between = getattr(sae, "direction", None)
        self.distance = None if between is None else abs(float(between.scale))

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

    def strongest_in_units(self, atom: int, mode: Mode) -> float | None:
        """Return the largest strength that was seen, in units of the usual one; None if unknown."""
        if self.peaks is None or not MODES[mode].takes_units or self.of(atom) is None:
            return None
        found = float(self.peaks.strongest[atom] / self.peaks.usual[atom])
        return found if np.isfinite(found) else None

    def note_firings(self, atoms: Iterable[int], strengths: Iterable[float]) -> None:
        """Note how strongly atoms fire in the input at hand; of several numbers of one the largest."""
        firing: dict[int, float] = {}
        for atom, strength in zip(atoms, strengths):
            firing[int(atom)] = max(firing.get(int(atom), 0.0), abs(float(strength)))
        self.firing = firing

    def peak(self, atom: int) -> float | None:
        """Return how strongly an atom fires in the input, at most; of a weak or silent one what the strongest
        tenth of the atoms reach; of a direction the distance of its groups.
        """
        if self.distance is not None:
            return self.distance
        if not self.firing:
            return None
        usual = float(np.quantile(list(self.firing.values()), 0.9))
        return max(self.firing.get(atom, 0.0), usual) or None

    def limits(self, atom: int, mode: Mode) -> tuple[float, float]:
        """Return the ends of the slider."""
        high = WIDEST_FACTOR
        if MODES[mode].takes_units:
            unit, peak = UNITS[self.unit(atom, mode)], self.peak(atom)
            high = unit.slider_end(self.length)
            if peak is not None and not unit.measured:
                high = one_digit(self.measured.widest * peak)
        return (-high if MODES[mode].signed else 0.0, high)

    def safe(self, atom: int, mode: Mode) -> float | None:
        """Return the default maximum strength, or None if unknown."""
        if not MODES[mode].takes_units:
            return None
        unit, peak = UNITS[self.unit(atom, mode)], self.peak(atom)
        if unit.measured or peak is None:
            return unit.safe_strength(self.length, talks=self._talks)
        if self.distance is not None:
            return float(f"{peak:.2g}")
        times = self.measured.safe_strength(None, talks=self._talks) or 1.0
        return float(f"{times * peak:.2g}")

    def of_peak(self, atom: int, mode: Mode) -> tuple[float, str]:
        """Return how much of `strength` is as strong as the atom usually fires, and words for that unit.

        That is its 99th percentile where that was measured, else its largest strength in the input; of a
        direction the distance of its two groups.
        Where neither is known, the unit stays that of the mode or the model.
        """
        if not MODES[mode].takes_units:
            return 1.0, MODES[mode].unit_words
        unit, peak = UNITS[self.unit(atom, mode)], self.peak(atom)
        if unit.measured:
            return 1.0, "× usual"
        if self.distance is not None:
            return self.distance, "× usual"
        return (1.0, unit.words) if peak is None else (peak, "× as here")

    def words(self, atom: int, mode: Mode) -> str:
        """Return the label of the slider."""
        if not MODES[mode].takes_units:
            return MODES[mode].unit_words
        unit = UNITS[self.unit(atom, mode)]
        silent = self.sizes is not None and not unit.measured
        return unit.words + " (it never fires in the examples)" * silent

    def explained(self, atom: int, mode: Mode) -> str:
        """Return what the words of the slider mean; empty where they say it themselves."""
        if self.distance is not None and MODES[mode].takes_units:
            return f"usual: the distance of the two groups' means, {format_number(self.distance)}"
        size = self.of(atom, mode)
        if size is None or not MODES[mode].takes_units:
            return ""
        return self.measured.explained.format(size=format_number(size))
