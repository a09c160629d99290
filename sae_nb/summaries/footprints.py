"""Where in its samples an atom fires: on cls, registers and patches, or early and late in a text."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from sae_nb.summaries.catalogue import AtomCatalogue


@dataclass(frozen=True, kw_only=True, eq=False)
class Footprint:
    """Where in its sample an atom fires."""

    places: tuple[str, ...]
    """cls, registers, patches; or ranges of token positions."""

    frequency: Float[np.ndarray, " places"]
    """Share of the rows at each place in which the atom fires."""

    rows: Int[np.ndarray, " places"]
    """Rows at each place."""

    patch_frequency: Float[np.ndarray, "patch_rows patch_columns"] | None = None
    """The same for every patch; NaN where no row was captured."""


def footprint_of(catalogue: AtomCatalogue, atom: int) -> Footprint | None:
    """Return where in its samples an atom fires; None for plain vectors."""
    context = catalogue.acts.context
    if catalogue.acts.tokens is None:
        return None
    everywhere = catalogue.rows_at_position
    rows, _ = catalogue.strengths(atom)
    fired = np.bincount(catalogue.positions[rows], minlength=len(everywhere))
    if context.kind == "language":
        return _language_footprint(fired, everywhere)
    return _patch_footprint(fired, everywhere, context.prefix_tokens, context.patch_grid)


def _language_footprint(
    fired: Int[np.ndarray, " length"], everywhere: Int[np.ndarray, " length"]
) -> Footprint:
    # Each range eight times the one before: early tokens of a text differ more than late ones.
    edges = [0, 1, 2]
    while edges[-1] < len(everywhere):
        edges.append(8 * edges[-1])
    parts = [(a, b) for a, b in pairwise(edges) if everywhere[a:b].any()]
    names = tuple(f"token {a}" if b == a + 1 else f"{a}–{b - 1}" for a, b in parts)
    return _ratio(names, [slice(a, b) for a, b in parts], fired, everywhere)


def _patch_footprint(
    fired: Int[np.ndarray, " length"],
    everywhere: Int[np.ndarray, " length"],
    n_prefix: int,
    grid: tuple[int, int] | None,
) -> Footprint:
    kinds = {
        "cls": slice(0, min(n_prefix, 1)),
        "registers": slice(1, max(n_prefix, 1)),
        "patches": slice(n_prefix, len(everywhere)),
    }
    kinds = {name: part for name, part in kinds.items() if everywhere[part].any()}
    found = _ratio(tuple(kinds), list(kinds.values()), fired, everywhere)
    if grid is None:
        return found
    size = n_prefix + grid[0] * grid[1]
    counts = np.zeros((2, size))
    n = min(size, len(everywhere))
    counts[:, :n] = fired[:n], everywhere[:n]
    with np.errstate(invalid="ignore", divide="ignore"):
        patches = (counts[0] / counts[1])[n_prefix:].reshape(grid)
    return Footprint(
        places=found.places, frequency=found.frequency, rows=found.rows, patch_frequency=patches
    )


def _ratio(
    names: tuple[str, ...],
    parts: list[slice],
    fired: Int[np.ndarray, " length"],
    everywhere: Int[np.ndarray, " length"],
) -> Footprint:
    rows = np.array([everywhere[part].sum() for part in parts], np.int64)
    hits = np.array([fired[part].sum() for part in parts], np.float64)
    return Footprint(places=names, frequency=hits / np.maximum(rows, 1), rows=rows)
