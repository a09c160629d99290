"""Records of one atom, as plain arrays: its examples, its places, its crops, and all that is shown of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from sae_nb.atoms._firings import Histogram

Band = Literal["top", "99 %", "50 %", "10 %", "random", "just below"]
BANDS: tuple[Band, ...] = ("top", "99 %", "50 %", "10 %", "random", "just below")
Effects = tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One row in which an atom fires (or nearly fires), with what surrounds it."""

    DROPPED: ClassVar[str] = "○"
    """Mark of an example that another solver does not keep."""

    row: int
    sample: int
    """Image, text or plain row it belongs to; `position` is the place in its token sequence."""

    position: int
    strength: float
    """z there; for a near miss, what z would be."""

    place: str
    """Sample and position in words: "image 3, patch 2,5"."""

    kept: bool | None = None
    """Whether another solver has this firing, too; None where that is not known."""

    picture: UInt8[np.ndarray, "3 height width"] | None = None
    heat: Float[np.ndarray, "rows columns"] | None = None
    """z at every patch of the image; NaN where nothing was captured."""

    prefix: tuple[tuple[str, float], ...] = ()
    """z at cls and registers, by name."""

    tokens: tuple[str, ...] = ()
    token_strengths: Float[np.ndarray, " window"] | None = None
    special: tuple[bool, ...] = ()
    """Texts of the tokens around the position, as `texts_to_draw` writes them; z at each, NaN where
    nothing was captured; whether it represents no text (class, separator, end of text)."""

    numbers: tuple[int, ...] = ()
    """Number of each in a sequence that is written letter by letter, 0 at other tokens."""

    first_position: int = 0
    clipped: tuple[bool, bool] = (False, False)
    """Position in the sample of the first of them; whether text was left out before and after."""

    coordinates: Int[np.ndarray, " m"] | None = None
    """The largest coordinates of a plain vector; then their values."""

    coordinate_values: Float[np.ndarray, " m"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class SiteExamples:
    """Examples of an atom at one site."""

    site: str
    n_fired: int
    frequency: float
    """Rows in which it fires there, and their share."""

    share: float | None
    """Part of the atom that lies there, where that is measured."""

    examples: tuple[Example, ...]
    """With strengths z; z times `share` where all sites have one code."""

    scaled: bool
    """Whether strengths are multiplied by the share."""

    n_examples: int
    max_strength: float
    """On which scale to show them: one for all sites that have one code."""

    missing: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Footprint:
    """Positions in its sample at which an atom fires."""

    places: tuple[str, ...]
    """cls, registers, patches; or ranges of token positions."""

    frequency: Float[np.ndarray, " places"]
    """Share of the rows at each place in which the atom fires."""

    rows: Int[np.ndarray, " places"]
    patch_frequency: Float[np.ndarray, "patch_rows patch_columns"] | None = None
    """The same for every patch; NaN where no row was captured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Crops:
    """Patches of one size, as one stack, with row, strength z and place in words of each."""

    pictures: UInt8[np.ndarray, "n 3 height width"]
    """Each patch with one patch around it on every side."""

    rows: Int[np.ndarray, " n"]
    strengths: Float[np.ndarray, " n"]
    places: tuple[str, ...]
    n_context: int
    """Patches around each; the whole is 2 × n_context + 1 patches wide."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomSummary:
    """Everything a panel shows about one atom."""

    atom: int
    n_atoms: int
    n_rows: int
    """Number of activations read; the atom fires (z ≠ 0) in `n_fired` of them."""

    n_fired: int
    frequency: float
    mean_strength: float
    """Mean |z| where it fires; `max_strength` is the largest."""

    max_strength: float
    p99: float
    """99th percentile of |z| where it fires."""

    histogram: Histogram
    """Strengths where it fires, with the bands marked."""

    frequencies: Histogram
    """Frequencies of the atoms of the whole dictionary."""

    band: Band
    examples: tuple[Example, ...]
    n_examples: int
    page: int
    """Rows of the band, at most one per sample: those from page × examples per page on, of
    `n_examples` in all."""

    missing: str
    """Reason why there are no examples, if there are none."""

    keeps: str = ""
    """How many of its firings another solver keeps, next to both controls; empty if not known."""

    foretold: str = ""
    """How steady its effect is expected to be, and what came of a push; empty if not known."""

    nearest_atoms: Int[np.ndarray, " n"]
    """Atoms with the largest cosine, this one left out; then the cosines."""

    nearest_cosines: Float[np.ndarray, " n"]
    coactive_atoms: Int[np.ndarray, " m"]
    """Atoms that fire in the same rows more often than by chance."""

    coactive_lifts: Float[np.ndarray, " m"]
    """P(both) / (P(one) P(other)); then in how many rows both fire."""

    coactive_counts: Int[np.ndarray, " m"]
    footprint: Footprint | None
    """Positions in its sample at which it fires; None for plain vectors."""

    crops: Crops | None = None
    """The patches of the band themselves, for images."""

    logits_up: Effects = ()
    logits_down: Effects = ()
    """Next tokens (by a lens, also classes) that it raises and lowers most, and how much."""

    logits_by: str = ""
    """The way these were found, and how far it holds in the running model: "direct path only: …"."""

    sites: tuple[SiteExamples, ...] = ()
    """Examples of every site, where sites have some of their own."""
