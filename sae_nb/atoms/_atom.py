"""One atom as a record of plain arrays: how often, how strongly, on what, next to which others."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import numpy as np
from jaxtyping import Float, Int, UInt8

from sae_nb.activations._context import Context
from sae_nb.atoms._catalogue import AtomCatalogue
from sae_nb.atoms._effects import effects_of, written_at
from sae_nb.atoms._examples import QUANTILES, build_examples, choose_rows, place_in
from sae_nb.atoms._firings import Histogram
from sae_nb.atoms._records import AtomSummary, Band, Crops, Footprint, SiteExamples
from sae_nb.atoms._sites import examples_at_sites
from sae_nb.checks import Count, Seed, at_least, check_atom, checked

if TYPE_CHECKING:
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel


# -------------------------------------------------------------------------------------------------
# Histogram of an atom's strengths.


N_BINS = 40
MARKED = ("99 %", "50 %")
"""Bands whose place in the histogram is marked, next to its largest value."""


def strength_histogram(strengths: Float[np.ndarray, " uses"]) -> Histogram:
    """Count how strongly an atom fires where it fires; other rows are left out."""
    low, high = float(strengths.min(initial=0.0)), float(strengths.max(initial=0.0))
    span = (low, high if high > low else low + 1.0)
    counts, edges = np.histogram(strengths, bins=N_BINS, range=span)
    marks = {}
    if len(strengths):
        size = np.abs(strengths)
        marks = {name: float(np.quantile(size, QUANTILES[name])) for name in MARKED}
        marks["top"] = float(size.max())
    return Histogram(edges=edges, counts=counts, marks=marks)


# -------------------------------------------------------------------------------------------------
# Where in its samples an atom fires: on cls, registers and patches, or early and late in a text.


def footprint_of(catalogue: AtomCatalogue, atom: int) -> Footprint | None:
    """Return where in its samples an atom fires; None for plain vectors."""
    context = catalogue.acts.context
    if catalogue.acts.tokens is None:
        return None
    everywhere = catalogue.rows_at_position
    rows, _ = catalogue.strengths(atom)
    fired = np.bincount(catalogue.positions[rows], minlength=len(everywhere))
    n_prefix, grid = context.prefix_tokens, context.patch_grid
    if context.modality.is_text:
        # Each range is eight times as long as the one before: early tokens differ more than late ones.
        edges, grid = [0, 1, 2], None
        while edges[-1] < len(everywhere):
            edges.append(8 * edges[-1])
        parts = {
            f"token {a}" if b == a + 1 else f"{a}–{b - 1}": slice(a, b) for a, b in pairwise(edges)
        }
    else:
        parts = {
            "cls": slice(0, min(n_prefix, 1)),
            "registers": slice(1, max(n_prefix, 1)),
            "patches": slice(n_prefix, len(everywhere)),
        }
    parts = {name: part for name, part in parts.items() if everywhere[part].any()}
    n_rows = np.array([everywhere[part].sum() for part in parts.values()], np.int64)
    hits = np.array([fired[part].sum() for part in parts.values()], np.float64)
    return Footprint(
        places=tuple(parts),
        frequency=hits / n_rows,
        rows=n_rows,
        patch_frequency=None if grid is None else _per_patch(fired, everywhere, context, *grid),
    )


def _per_patch(
    fired: Int[np.ndarray, " length"],
    everywhere: Int[np.ndarray, " length"],
    context: Context,
    rows: int,
    columns: int,
) -> Float[np.ndarray, "patch_rows patch_columns"]:
    size = context.prefix_tokens + rows * columns
    counts = np.zeros((2, size))
    n = min(size, len(everywhere))
    counts[:, :n] = fired[:n], everywhere[:n]
    with np.errstate(invalid="ignore", divide="ignore"):
        return context.on_face((counts[0] / counts[1])[context.prefix_tokens :])


# -------------------------------------------------------------------------------------------------
# Crops: the patches an atom fires on, cut out of their images with a little around them.


AROUND = 1
"""Patches shown on each side: a patch of 4 × 4 pixels alone is not recognisable."""

OUTSIDE = 128
"""Grey of what lies beyond the image."""


def build_crops(
    catalogue: AtomCatalogue, atom: int, band: Band, n: int, *, seed: int = 0
) -> Crops | None:
    """Cut the patches of a band out of their images, at most one per image."""
    context = catalogue.acts.context
    grid, pictures = context.face_grid, context.pictures
    placed = context.images
    if placed is None and (grid is None or pictures is None):
        return None
    choice = choose_rows(catalogue, atom, band, seed=seed, patches_only=True).part(slice(n))
    rows = choice.rows
    if not len(rows):
        return None
    cut: list[UInt8[np.ndarray, "3 height width"]] = []
    places, kept = [], []
    for i, row in enumerate(rows.tolist()):
        sample, position = int(catalogue.samples[row]), int(catalogue.positions[row])
        if placed is not None:
            image = placed.around(sample, position)
            if image is None:
                continue
            grid, shown = placed.grid(image), placed.pictures[image]
            cell = position - placed.patches(image).start
        elif grid is not None and pictures is not None:
            shown, cell = pictures[sample], context.cell_of(position - context.prefix_tokens)
        else:
            continue
        crop = crop_patch(shown.cpu().numpy(), grid, divmod(cell, grid[1]))
        if cut and crop.shape != cut[0].shape:  # of an image with another grid
            continue
        cut.append(crop)
        kept.append(i)
        places.append(place_in(context, sample, position))
    return Crops(
        pictures=np.stack(cut),
        rows=rows[kept],
        strengths=choice.strengths[kept],
        places=tuple(places),
        n_context=AROUND,
    )


def crop_patch(
    picture: UInt8[np.ndarray, "3 height width"], grid: tuple[int, int], patch: tuple[int, int]
) -> UInt8[np.ndarray, "3 crop_height crop_width"]:
    """Return the patch of a row and column with one patch around it; grey beyond the image."""
    high, wide = picture.shape[1] // grid[0], picture.shape[2] // grid[1]
    margin = ((0, 0), (AROUND * high,) * 2, (AROUND * wide,) * 2)
    padded = np.pad(picture, margin, constant_values=OUTSIDE)
    top, left = patch[0] * high, patch[1] * wide
    across, along = (2 * AROUND + 1) * high, (2 * AROUND + 1) * wide
    return padded[:, top : top + across, left : left + along]


# -------------------------------------------------------------------------------------------------
# All of it in one record.


N_CROPS = 20


@checked
def describe_atom(
    catalogue: AtomCatalogue,
    atom: int,
    *,
    band: Band = "top",
    n_examples: Count = 12,
    page: Annotated[int, at_least(0)] = 0,
    seed: Seed = 0,
    n_neighbours: Annotated[int, at_least(0)] = 8,
    model: LiveModel | None = None,
    lens: Lens | None = None,
) -> AtomSummary:
    """Return everything a panel shows about one atom.

    Parameters
    ----------
    band
        Kind of examples: "top", "99 %", "50 %", "10 %", "random" or "just below".
    n_examples, page, seed
        Examples on a page, the page, and the seed of the random ones.
    n_neighbours
        Nearest atoms, and atoms that fire together with it.
    model
        A language model, for the tokens the atom raises along the direct path alone.
    lens
        A lens of the model, for what the atom raises with later blocks taken into account.

    Example
    -------
    >>> import torch
    >>> from sae_nb.codes import SparseCodes
    >>> class Signs:
    ...     d_in, n_atoms, dictionary = 2, 2, torch.eye(2)
    ...     def encode(self, x, k=None):
    ...         return SparseCodes.from_dense(x.relu())
    >>> record = AtomCatalogue(Signs(), torch.tensor([[1.0, -1.0], [2.0, 3.0]])).summary(0)
    >>> record.n_fired, record.max_strength, [example.row for example in record.examples]
    (2, 2.0, [1, 0])
    """
    atom = check_atom(atom, catalogue.n_atoms)
    choice = choose_rows(catalogue, atom, band, seed=seed)
    at_sites: tuple[SiteExamples, ...] = ()
    if catalogue.side_by_side:
        each = -(-n_examples // len(catalogue.side_by_side))
        at_sites, page = examples_at_sites(catalogue, atom, band, page=page, n=each, seed=seed)
    else:
        page = min(page, max(-(-len(choice.rows) // n_examples) - 1, 0))
    near, cosines = catalogue.nearest(atom, n_neighbours)
    joint, lifts, counts = catalogue.coactive(atom, n_neighbours)
    direction, place = catalogue.dictionary[atom], written_at(catalogue)
    effects = effects_of(model, direction, lens=lens, hook_point=place)
    strengths = catalogue.strengths(atom)[1]
    shown = slice(page * n_examples, (page + 1) * n_examples)
    return AtomSummary(
        atom=atom,
        n_atoms=catalogue.n_atoms,
        n_rows=len(catalogue.acts),
        n_fired=int(catalogue.n_fired[atom]),
        frequency=float(catalogue.frequency[atom]),
        mean_strength=float(catalogue.mean_strength[atom]),
        max_strength=float(catalogue.max_strength[atom]),
        p99=float(catalogue.p99[atom]),
        histogram=strength_histogram(strengths),
        frequencies=catalogue.frequencies,
        band=band,
        examples=build_examples(catalogue, atom, choice.part(shown)),
        n_examples=len(choice.rows),
        page=page,
        missing=choice.missing,
        keeps=catalogue.keeps(atom),
        foretold=catalogue.foretold(atom),
        nearest_atoms=near,
        nearest_cosines=cosines,
        coactive_atoms=joint,
        coactive_lifts=lifts,
        coactive_counts=counts,
        footprint=footprint_of(catalogue, atom),
        crops=build_crops(catalogue, atom, band, N_CROPS, seed=seed),
        logits_up=effects.up,
        logits_down=effects.down,
        logits_by=effects.words,
        sites=at_sites,
    )
