"""changed_image: one image as two checkpoints answer it, where the change comes from, and what explains it.

Where: each patch is covered, with its neighbours, by the mean colour of the image, and both models answer
again; a patch counts by the part of KL(a‖b) that goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sae_nb.checks import Count, checked
from sae_nb.diffing._model_diff import ModelDiff, check_alike, check_found, read_by_both, scores_of
from sae_nb.findings import Finding
from sae_nb.models import outcome_names
from sae_nb.models._running import run
from sae_nb.steering._answers import kl

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch

AROUND = 1
"""Neighbours on each side that are covered with a patch. One patch alone hides too little: of eight images with
a planted shortcut the patch that counts most lay on it in three, and with its neighbours in all eight. Ours."""

FINEST = 8
"""Places by side that are covered at most; of a finer grid, neighbouring patches count as one, so that a large
model runs 128 times at most. Ours."""

ROWS = 64
"""Covered images in one forward pass."""


class ChangedImage(Finding):
    """An image as two models answer it; made by `changed_image`."""

    picture: UInt8[np.ndarray, "3 height width"]
    """The image as displayed."""

    kl: float
    """KL(a‖b) of the classes, in nats."""

    left: float | None
    """KL in nats that is left when b has a's states along the finding's direction; None without a finding."""

    covered: Float[np.ndarray, "rows columns"]
    """KL in nats that is left when a patch and its neighbours are covered by the image's mean colour; of a grid
    finer than 8 × 8, patches in groups.
    """

    outcomes: tuple[str, ...]
    """The answers of both models, then the classes whose probability moved most."""

    before: Float[np.ndarray, " outcomes"]
    after: Float[np.ndarray, " outcomes"]
    """Their probabilities under a and under b."""

    set_back: Float[np.ndarray, " outcomes"] | None
    """Their probabilities under b with a's states along the direction; None without a finding."""

    @property
    def goes(self) -> Float[np.ndarray, "rows columns"]:
        """Nats of the KL that go when a patch and its neighbours are covered; below 0 where it grows."""
        return self.kl - self.covered

    @property
    def answers(self) -> tuple[str, str]:
        """The most probable class before and after."""
        return self.outcomes[int(self.before.argmax())], self.outcomes[int(self.after.argmax())]

    @property
    def headline(self) -> str:
        """Both answers, the KL, the patch that counts most, and the part that the direction explains."""
        old, new = self.answers
        row, column = np.unravel_index(int(self.goes.argmax()), self.goes.shape)
        words = (
            f"{old!r} → {new!r}, KL {self.kl:.3g} nats; covering patch {row},{column} leaves "
            f"{self.covered[row, column]:.3g}"
        )
        if self.left is None or not self.kl:
            return words
        return f"{words}; {1 - self.left / self.kl:.0%} of it along the direction"

    @property
    def table(self) -> DataFrame:
        """A row per class: outcome, before, after, and set_back with a finding."""
        import pandas as pd

        columns = {
            "outcome": self.outcomes,
            "before": self.before,
            "after": self.after,
            "set_back": self.set_back,
        }
        return pd.DataFrame({name: x for name, x in columns.items() if x is not None})


@checked(leave=("image",))
def changed_image(
    a: LiveModel,
    b: LiveModel,
    image: Inputs,
    found: ModelDiff | None = None,
    *,
    finding: int = 0,
    n_outcomes: Count = 6,
) -> ChangedImage:
    """Read one image with both models: how answers differ, from where, and what a finding's direction explains.

    Costs two forward passes for the image and each of its patches, or each place of 8 × 8 of a finer grid, and
    one more with a finding.

    Parameters
    ----------
    a, b
        Before and after, as for `diff_models`; classifiers of images with a grid of patches.
    image
        One image, or several of which the first is read, as both take them.
    found
        From `diff_models` of the same two; None: nothing is set back.
    finding
        Row of `found.table` whose direction is set back.
    n_outcomes
        Classes that are listed.

    Raises
    ------
    DifferentModelsError: If the two cannot be compared.
    TypeError: If `found` does not come from `diff_models`.
    ValueError: If they read no images, have no grid of patches, or there is no such finding.

    Source
    ------
    Covering parts of an image: Zeiler and Fergus, arXiv 1311.2901. Of the difference of two models: ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> vit = sn.load_model("tiny-vit")
    >>> seen = changed_image(vit, vit, sn.data.scenes(1, seed=0).images)
    >>> seen.covered.shape, abs(seen.kl) < 1e-6
    ((8, 8), True)
    """
    check_alike(a, b)
    check_found(found)
    takes_images = a.modality.is_image and a.patch_grid is not None
    batch = next(iter(a.batches(image, batch_size=1))) if takes_images else None
    if batch is None or batch.pictures is None or a.patch_grid is None:
        raise ValueError(
            f"`a` must be a classifier of images with patches, got {a.name}, which reads {a.modality.sample}s. "
            "Use changed_text for a language model, and diff_models(a, b, inputs).places for others."
        )
    _, old, new, rest = read_by_both(a, b, batch, found, finding)
    with torch.no_grad():
        covered = _covered(a, b, batch, [min(n, FINEST) for n in a.patch_grid])
    p, q = old[0].softmax(-1), new[0].softmax(-1)
    moved = (q - p).abs()
    for own in (p, q):  # what each would say is listed, moved or not
        moved[own.argmax()] = 2.0
    top = moved.topk(min(n_outcomes, len(p))).indices

    def listed(scores: Tensor) -> Float[np.ndarray, " outcomes"]:
        return scores[0].softmax(-1)[top].double().cpu().numpy()

    return ChangedImage(
        picture=batch.pictures[0].numpy(),
        kl=float(kl(old, new)[0]),
        left=None if rest is None else float(kl(old, rest)[0]),
        covered=covered,
        outcomes=tuple(outcome_names(b, top.tolist())),
        before=listed(old),
        after=listed(new),
        set_back=None if rest is None else listed(rest),
    )


def _covered(
    a: LiveModel, b: LiveModel, batch: Batch, grid: Sequence[int]
) -> Float[np.ndarray, "rows columns"]:
    """Return KL(a‖b) with each patch and its neighbours covered by the mean colour."""
    image: Tensor = next(iter((*batch.args, *batch.kwargs.values())))[0]  # as the module reads it
    mean = image.mean(dim=(1, 2), keepdim=True)
    edges = [
        np.linspace(0, side, n + 1).round().astype(int) for side, n in zip(image.shape[1:], grid)
    ]
    places = [(row, column) for row in range(grid[0]) for column in range(grid[1])]
    left: list[Tensor] = []
    for start in range(0, len(places), ROWS):
        some = places[start : start + ROWS]
        images = image.repeat(len(some), 1, 1, 1)
        for one, place in zip(images, some, strict=True):
            rows, columns = (
                slice(edge[max(at - AROUND, 0)], edge[min(at + AROUND + 1, n)])
                for at, edge, n in zip(place, edges, grid)
            )
            one[:, rows, columns] = mean
        several = _with_images(batch, images)
        old, new, *_ = scores_of(run(a, several), run(b, several))
        left.append(kl(old, new).double().cpu())
    return torch.cat(left).reshape(tuple(grid)).numpy()


def _with_images(batch: Batch, images: Tensor) -> Batch:
    """Return a batch of one image with others in its place."""
    copies = batch.copies(len(images))
    if batch.args:
        return replace(copies, args=(images, *copies.args[1:]))
    return replace(copies, kwargs=copies.kwargs | {next(iter(copies.kwargs)): images})
