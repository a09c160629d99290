"""The modes of steering, one record each: what it does to an atom, its unit, and its words in panels.

A mode moves a latent z_j, or a direction's coefficient ⟨x, d⟩ / ⟨d, d⟩, from z to z', and the activation by
(z' − z)·d_j. To add a mode, write its record here and its row in `docs/howto/steer.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["add", "set", "scale"]


@dataclass(frozen=True, kw_only=True)
class SteeringMode:
    """One way of making atoms stronger, weaker or fixed."""

    change: Callable[[Any, Any], Any]
    """(z, `by`) → z' − z, of tensors or numbers."""

    reads_latents: bool = True
    """Whether the change depends on z; where it does not, the SAE need not encode anything."""

    unit_atoms: bool = False
    """Whether an atom of another length than 1 is brought to length 1, so that `by` is a norm."""

    takes_p99: bool = True
    """Whether `by` is a strength, which may be given in 99th percentiles; False: a factor."""

    signed: bool = False
    """Whether a slider goes below zero."""

    neutral: float | None = None
    """The `by` that changes nothing, where there is one."""

    verb: str
    """What was done to the atom, before the number: "held at" 2; then the mode in a menu."""

    menu: str
    unit_words: str = ""
    """What a factor multiplies."""

    verb_below: str = ""
    """What was done where the number is below zero, of which the words then give the size."""


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
    ),
    "scale": SteeringMode(
        change=lambda z, by: by * z - z,
        takes_p99=False,
        neutral=1.0,
        verb="scaled by",
        menu="scale the latent by",
        unit_words="× its own strength",
    ),
}
