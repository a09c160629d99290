"""Activations at the patches of images, with the atoms that fire there: what maps of atoms are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations import Activations, check_one_place
from sae_nb.capturing import capture
from sae_nb.codes import SparseCodes
from sae_nb.corpora import check_reads
from sae_nb.evaluation import codes_of
from sae_nb_studies.vision._pixels import Pixels

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Patches:
    """Every patch of some images: what a model has there, and the SAE's codes."""

    images: Float[Tensor, "n channels height width"]
    """In [0, 1]."""

    acts: Activations
    """One row per patch, image by image; class and register tokens are left out."""

    codes: SparseCodes
    image: Int[np.ndarray, " rows"]
    place: Int[np.ndarray, " rows"]
    """Image and patch of each row."""

    grid: tuple[int, int]

    @classmethod
    def of(cls, model: LiveModel, sae: SparseAutoencoder, images: Any, hook_point: str) -> Patches:
        """Capture and encode."""
        check_one_place(sae)
        pixels = Pixels.of(model, images)
        point = check_reads(model, sae, hook_point)
        acts = capture(model, images, hook_point, progress=False)
        grid = acts.context.patch_grid
        place = acts.position.numpy() - acts.context.prefix_tokens
        if grid is None or int((place >= 0).sum()) != len(pixels.x) * grid[0] * grid[1]:
            raise ValueError(
                f"`hook_point` must have a patch for each place of a grid, and {point} of {model.name} has "
                "none. Choose one before the patches are pooled, or wrap the model with patch_grid=."
            )
        own = acts.subset(torch.from_numpy(place >= 0))
        return cls(
            images=pixels.x.clamp(0, 1).cpu(),
            acts=own,
            codes=codes_of(sae, own),
            image=own.sample.numpy(),
            place=place[place >= 0],
            grid=grid,
        )

    @property
    def n(self) -> int:
        """Images."""
        return len(self.images)

    def on_grid(self, rows: Any, values: Any) -> Float[np.ndarray, "rows columns"]:
        """Return values of some rows, all of one image, as a map; 0 elsewhere."""
        found = np.zeros(self.grid[0] * self.grid[1])
        found[self.place[rows]] = values
        return found.reshape(self.grid)


def iou(a: Bool[np.ndarray, "..."], b: Bool[np.ndarray, "..."]) -> float:
    """Compute the intersection over union; 0 of two empty masks."""
    return float((a & b).sum() / max(int((a | b).sum()), 1))
