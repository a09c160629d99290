"""Crops show the patch that fired, where it lies in its picture."""

from __future__ import annotations

import numpy as np
import torch

from sae_nb.activations import Activations, Context
from sae_nb.atoms import AtomCatalogue
from sae_nb.atoms._atom import OUTSIDE
from sae_nb.codes import SparseCodes

GRID, PREFIX, SIDE = (3, 4), 2, 2


class Two:
    d_in, n_atoms, dictionary = 2, 2, torch.eye(2)

    def encode(self, x, k=None):
        return SparseCodes.from_dense(x.relu())


def _catalogue(grid=GRID) -> AtomCatalogue:
    """Five pictures in which every pixel is unlike any other; atom 0 fires with random strength."""
    length = PREFIX + GRID[0] * GRID[1]
    pixels = torch.arange(5 * 3 * GRID[0] * SIDE * GRID[1] * SIDE, dtype=torch.int32) % 127
    pictures = pixels.to(torch.uint8).reshape(5, 3, GRID[0] * SIDE, GRID[1] * SIDE)
    context = Context(
        kind="vision", n_samples=5, pictures=pictures, patch_grid=grid, prefix_tokens=PREFIX
    )
    x = torch.rand(5 * length, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    x[:, 1] = -1
    sample = torch.arange(5).repeat_interleave(length)
    position = torch.arange(length).repeat(5)
    return AtomCatalogue(
        Two(), Activations.from_tensor(x, sample=sample, position=position, context=context)
    )


def test_the_middle_of_a_crop_is_the_patch_itself() -> None:
    """For every patch of every row; what lies beyond the picture is grey."""
    catalogue = _catalogue()
    found = catalogue.summary(0).crops
    assert len(found.pictures) == 5
    for crop, row, z in zip(found.pictures, found.rows, found.strengths, strict=True):
        sample, position = int(catalogue.samples[row]), int(catalogue.positions[row])
        i, j = divmod(position - PREFIX, GRID[1])
        picture = catalogue.acts.context.pictures[sample].numpy()
        patch = picture[:, i * SIDE : (i + 1) * SIDE, j * SIDE : (j + 1) * SIDE]
        np.testing.assert_array_equal(crop[:, SIDE : 2 * SIDE, SIDE : 2 * SIDE], patch)
        assert crop.shape == (3, 3 * SIDE, 3 * SIDE)
        if i == 0:
            assert (crop[:, :SIDE] == OUTSIDE).all()
        if j == GRID[1] - 1:
            assert (crop[:, :, 2 * SIDE :] == OUTSIDE).all()
        assert float(catalogue.codes.to_dense()[row, 0]) == np.float32(z)
        assert f"image {sample}, patch {i},{j}" in found.places


def test_crops_are_the_strongest_patches_whatever_cls_does() -> None:
    """cls and registers have no place in the picture; the best patch of each picture is shown."""
    catalogue = _catalogue()
    z = catalogue.codes.to_dense()[:, 0].reshape(5, -1)
    found = catalogue.summary(0).crops
    best = z[:, PREFIX:].max(dim=1).values.sort(descending=True).values
    np.testing.assert_allclose(found.strengths, best, rtol=1e-6)
    assert all("patch" in place for place in catalogue.summary(0, band="random").crops.places)


def test_an_atom_that_fires_nowhere_and_vectors_have_none() -> None:
    assert _catalogue().summary(1).crops is None
    assert AtomCatalogue(Two(), torch.ones(3, 2)).summary(0).crops is None
    assert _catalogue(grid=None).summary(0).crops is None
