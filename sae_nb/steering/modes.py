"""For builders of panels: modes of steering and units of strength, a record each, and their words.

A mode moves a latent z_j, or a direction's coefficient ⟨x, d⟩ / ⟨d, d⟩, from z to z', and the activation by
(z' − z)·d_j. To add a mode, write its record here and its row in `docs/howto/steer.md`.
To add a unit, write its record here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import OneOf, check_matrix, is_array
from sae_nb.codes import SparseCodes

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.steering._one_site import OneSite


@dataclass(frozen=True, kw_only=True)
class SteeringMode:
    """One way of making atoms stronger, weaker or fixed."""

    change: Callable[[Any, Any], Any]
    """(z, `by`) → z' − z, of tensors or numbers."""

    reads_latents: bool = True
    """Whether the change depends on z; where it does not, the SAE need not encode anything."""

    unit_atoms: bool = False
    """Whether an atom of another length than 1 is brought to length 1, so that `by` is a norm."""

    takes_units: bool = True
    """Whether `by` is a strength, which may be given in any unit; False: a factor."""

    signed: bool = False
    """Whether a slider goes below zero."""

    neutral: float | None = None
    """The `by` that changes nothing, where there is one."""

    verb: str
    """Past participle before the number: "held at" 2; then the mode in a menu."""

    menu: str
    unit_words: str = ""
    """Quantity that a factor multiplies."""

    verb_below: str = ""
    """Participle if the number is below zero; the words then give its size."""

    linear: bool = True
    """Whether the change is g·z + b, so that programs that know only these two numbers can make it."""

    headline: tuple[str, str] | None = None
    """"Hold", "held": what to do and what was done, in a panel's headline; None: turned up or down."""


MODES: dict[str, SteeringMode] = {
    "add": SteeringMode(
        change=lambda _z, by: by,
        reads_latents=False,
        unit_atoms=True,
        signed=True,
        neutral=0.0,
        verb="added at",
        verb_below="subtracted at",
        menu="add to the activation",
    ),
    "set": SteeringMode(
        change=lambda z, by: by - z,
        verb="held at",
        menu="set the latent to",
        headline=("Hold", "held"),
    ),
    "scale": SteeringMode(
        change=lambda z, by: by * z - z,
        takes_units=False,
        neutral=1.0,
        verb="scaled by",
        menu="scale the latent by",
        unit_words="× its own strength",
    ),
    "cap": SteeringMode(
        change=lambda z, by: (by - z).clamp_max(0),
        linear=False,
        verb="kept at most at",
        menu="keep the latent at most at",
        headline=("Cap", "capped"),
    ),
    "floor": SteeringMode(
        change=lambda z, by: (by - z).clamp_min(0),
        linear=False,
        verb="kept at least at",
        menu="keep the latent at least at",
        headline=("Keep up", "kept up"),
    ),
}

Mode = Annotated[Literal["add", "set", "scale", "cap", "floor"], OneOf(MODES)]
"""The name of a mode that has its record."""


@dataclass(frozen=True, kw_only=True)
class StrengthUnit:
    """One unit in which the strength of an edit may be given."""

    name: str
    measure: Callable[[Any, Any], Float[np.ndarray, " n_atoms"]] | None = None
    """(SAE, activations or codes) → one unit of every atom, as a latent; 0 for an atom that never fires.
    None: one unit is a coefficient of 1."""

    stored: str = ""
    """Attribute of an SAE that holds what `measure` finds."""

    counted: str = ""
    """Attribute of a catalogue of atoms that does."""

    words: str
    """Text next to a slider."""

    many: str
    """A strength in a sentence, with its number."""

    one: str = ""
    """The same where the number is 1; empty: with its number."""

    sign: str = ""
    """Suffix of a number if there is little room."""

    meaning: str = ""
    """Meaning of one measured unit, in a few words; then in a sentence, with its {size}."""

    explained: str = ""
    widest: float
    """Default end of a slider."""

    widest_lengths: float = 0.0
    """The same in median lengths of a state, where that is known; 0: the state does not matter."""

    safe: float | None = None
    """Strength that a panel chooses by itself, and above which it keeps none that was set for another
    atom. None: a quarter of the slider, where the length of a state is known."""

    safe_for_text: float | None = None
    """The same where a text is continued."""

    @property
    def measured(self) -> bool:
        """Whether one unit differs from atom to atom and is measured."""
        return self.measure is not None

    def known(self, sae: object, acts: object = None) -> bool:
        """Return whether `sizes` finds what it needs."""
        return not self.measured or acts is not None or getattr(sae, self.stored, None) is not None

    def sizes(
        self, sae: SparseAutoencoder | OneSite, acts: object = None
    ) -> Float[np.ndarray, " n_atoms"]:
        """Return one unit of every atom, as a latent; 0 for an atom that never fires.

        From activations or codes, or from a catalogue that has counted them; without, what the SAE holds.
        """
        if self.measure is None:
            return np.ones(sae.n_atoms)
        if acts is not None:
            counted = getattr(acts, self.counted, None)
            return self.measure(sae, acts) if counted is None else np.asarray(counted)
        stored = getattr(sae, self.stored, None)
        if stored is None:
            raise ValueError(
                f'`unit="{self.name}"` needs strengths to measure it on, got acts=None and an SAE without '
                f"`{self.stored}`. Pass acts= (activations or codes)."
            )
        return np.asarray(torch.as_tensor(stored).detach().cpu(), dtype=np.float64)

    def amount_words(self, number: str) -> str:
        """Write a strength in a sentence: "full strength", "3× full strength", "2 model units"."""
        return self.one if number == "1" and self.one else self.many.format(number)

    def slider_end(self, length: float | None) -> float:
        """Return the end of a slider, given the median length of a state."""
        if not self.widest_lengths or not length:
            return self.widest
        return one_digit(self.widest_lengths * length)

    def safe_strength(self, length: float | None, *, talks: bool) -> float | None:
        """Return the strength a panel chooses by itself; None if unknown."""
        safe = self.safe_for_text if talks else self.safe
        if safe is not None:
            return safe
        return one_digit(self.slider_end(length) / 4) if length else None


def one_digit(value: float) -> float:
    """Round to one significant digit."""
    return float(f"{value:.0e}") if value > 0 else 1.0


# -------------------------------------------------------------------------------------------------
# Typical strengths of atoms: quantiles of non-zero |z|.


_CHUNK = 4096  # rows encoded at a time


def strength_quantile(
    sae: SparseAutoencoder, acts: Activations | Tensor | SparseCodes, share: float
) -> Float[np.ndarray, " n_atoms"]:
    """Return a quantile of every atom's non-zero strengths |z|; 0 for an atom that never fires."""
    atoms, strengths = [], []
    for codes in _codes(sae, acts):
        values = codes.values.detach().abs().float().cpu().numpy()
        atoms.append(codes.atoms.cpu().numpy()[values > 0])
        strengths.append(values[values > 0])
    return _quantile_by_atom(np.concatenate(atoms), np.concatenate(strengths), sae.n_atoms, share)


def _quantile_by_atom(
    atoms: np.ndarray, strengths: np.ndarray, n_atoms: int, share: float
) -> Float[np.ndarray, " n_atoms"]:
    """Interpolate linearly between order statistics, as numpy.quantile does, for all at once."""
    strengths = strengths[np.lexsort((strengths, atoms))].astype(np.float64)
    counts = np.bincount(atoms, minlength=n_atoms)
    first = np.cumsum(counts) - counts
    fires = counts > 0
    place = share * (counts[fires] - 1)
    low = np.floor(place).astype(np.int64)
    below = strengths[first[fires] + low]
    above = strengths[first[fires] + np.minimum(low + 1, counts[fires] - 1)]
    quantile = np.zeros(n_atoms)
    quantile[fires] = below + (place - low) * (above - below)
    return quantile


def _codes(
    sae: SparseAutoencoder, acts: Activations | Tensor | SparseCodes
) -> Iterator[SparseCodes]:
    if isinstance(acts, SparseCodes):
        _require("codes of this SAE", "atoms", acts.n_atoms, sae.n_atoms)
        yield acts
        return
    if isinstance(acts, Tensor) or is_array(acts):  # the first for type checkers
        x = check_matrix(acts, name="acts", d_in=sae.d_in, flatten=True)
        chunks: Iterable[Tensor] = cast("Sequence[Tensor]", torch.split(x, _CHUNK))
    else:
        _require("activations of its hook point", "width", acts.d_in, sae.d_in)
        starts = range(0, len(acts), _CHUNK)
        chunks = (acts.rows(range(i, min(i + _CHUNK, len(acts)))) for i in starts)
    like = sae.dictionary
    for chunk in chunks:
        with torch.no_grad():
            codes = sae.encode(chunk.to(like))
        yield codes


def _require(what: str, quantity: str, got: int, expected: int) -> None:
    if got != expected:
        raise ValueError(
            f"`acts` must be {what}, with {quantity} {expected}, got {quantity} {got}. See "
            "`sae.hook_point`."
        )


_UNITS = (
    StrengthUnit(
        name="coefficient",
        words="model units",
        many="{} model units",
        widest=10.0,
        widest_lengths=2.0,
    ),
    # Safe strengths: of 25 atoms of the bundled tiny-gpt, added at every token, none makes a continuation
    # repeat itself at 1×, 6 do at 1.5×, 7 at 2× and 13 at 3× (fewer than half of 12 new tokens are
    # distinct). Classes bear more: on tiny-vit 9 of 10 atoms move the answer by less than 0.2 nats at 2×.
    StrengthUnit(
        name="p99",
        measure=partial(strength_quantile, share=0.99),
        stored="strength_p99",
        counted="p99",
        words="× usual strength",
        many="{}× its usual strength",
        one="its usual strength",
        sign="×",
        meaning="the 99th percentile of the atom's activations",
        explained=(
            "usual: as strong as the atom is in the strongest 1 % of its firings "
            "({size}, their 99th percentile)"
        ),
        widest=5.0,
        safe=2.0,
        safe_for_text=1.0,
    ),
)
UNITS: dict[str, StrengthUnit] = {unit.name: unit for unit in _UNITS}

Unit = Annotated[Literal["coefficient", "p99"], OneOf(UNITS)]
"""The name of a unit that has its record."""

USUAL: Unit = "p99"
"""The unit in which panels give a strength, where it can be measured."""
