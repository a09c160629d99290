"""Crops: the patches an atom fires on, cut out of their pictures with a little around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from sae_nb.summaries.catalogue import AtomCatalogue
from sae_nb.summaries.examples import Band, choose_rows

AROUND = 1
"""Patches shown on each side: a patch of 4 × 4 pixels alone says nothing to people."""

OUTSIDE = 128
"""Grey of what lies beyond the picture."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Crops:
    """Patches of one size, as one stack."""

    pictures: UInt8[np.ndarray, "n 3 height width"]
    """Each patch with one patch around it on every side."""

    rows: Int[np.ndarray, " n"]
    """Rows of the activations."""

    strengths: Float[np.ndarray, " n"]
    """z of each."""

    places: tuple[str, ...]
    """Picture and patch in words."""

    n_context: int
    """Patches around each; the whole is 2 × n_context + 1 patches wide."""


def build_crops(
    catalogue: AtomCatalogue, atom: int, band: Band, n: int, *, seed: int = 0
) -> Crops | None:
    """Cut the patches of a band out of their pictures, at most one per picture.

    Parameters
    ----------
    catalogue
        Whose activations know their pictures and the grid of patches.
    atom
        Row of the dictionary.
    band
        Which of its firings; cls and registers, which are nowhere in the picture, do not count.
    n
        How many at most.
    seed
        Of the random band.

    Returns
    -------
    Crops or None
        None where there are no pictures, no patches, or the atom fires on none.
    """
    context = catalogue.acts.context
    grid, pictures = context.patch_grid, context.pictures
    if grid is None or pictures is None:
        return None
    choice = choose_rows(catalogue, atom, band, seed=seed, patches_only=True)
    rows, strengths = choice.rows[:n], choice.strengths[:n]
    if not len(rows):
        return None
    patch = catalogue.positions[rows] - context.prefix_tokens
    cut = [
        _crop(pictures[sample].cpu().numpy(), grid, divmod(int(index), grid[1]))
        for sample, index in zip(catalogue.samples[rows].tolist(), patch.tolist())
    ]
    places = tuple(
        f"{context.sample_word} {sample}, {context.token_name(position)}"
        for sample, position in zip(
            catalogue.samples[rows].tolist(), catalogue.positions[rows].tolist()
        )
    )
    return Crops(
        pictures=np.stack(cut),
        rows=rows,
        strengths=strengths,
        places=places,
        n_context=AROUND,
    )


def _crop(
    picture: UInt8[np.ndarray, "3 height width"], grid: tuple[int, int], patch: tuple[int, int]
) -> UInt8[np.ndarray, "3 crop_height crop_width"]:
    high, wide = picture.shape[1] // grid[0], picture.shape[2] // grid[1]
    margin = ((0, 0), (AROUND * high,) * 2, (AROUND * wide,) * 2)
    padded = np.pad(picture, margin, constant_values=OUTSIDE)
    top, left = patch[0] * high, patch[1] * wide
    across, along = (2 * AROUND + 1) * high, (2 * AROUND + 1) * wide
    return padded[:, top : top + across, left : left + along]
