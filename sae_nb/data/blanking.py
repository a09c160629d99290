"""The scenes as they are without their digit: what each picture shows once the object is painted over."""

from __future__ import annotations

from dataclasses import replace

import torch

from sae_nb.data import rendering
from sae_nb.data.handwriting import Split, digits
from sae_nb.data.rendering import Scenes, scenes


def scenes_without_digit(
    n: int, seed: int = 0, split: Split = "train", *, start: int = 0
) -> Scenes:
    """Render the pictures of `scenes` again, all but the digit.

    Background, disc and noise are those of `scenes` with the same arguments; pixels that the digit does
    not touch are equal. Labels are those of the digit that was left out; the masks are empty.

    Parameters
    ----------
    n, seed, split, start
        As for `scenes`.

    Raises
    ------
    TypeError, ValueError
        If a number is not a whole one in range, or `split` is unknown.
    MemoryError
        If the pictures would not fit.

    Example
    -------
    >>> shown, blank = scenes(2, seed=0), scenes_without_digit(2, seed=0)
    >>> changed = (shown.images != blank.images).any(dim=1)
    >>> bool(changed[shown.mask].all()), bool(blank.mask.any()), bool(changed.float().mean() < 0.5)
    (True, False, True)
    """
    shown = scenes(n, seed, split, start=start)
    source = digits(split)
    no_ink = replace(source, images=torch.zeros_like(source.images))
    block = rendering.BLOCK
    parts = []
    for number in range(start // block, -(-(start + n) // block)):
        last = min(start + n - number * block, block)
        draws = rendering._draw(number, max(start - number * block, 0), last, seed, split)
        parts.append(rendering._render(no_ink, *draws))
    return replace(
        shown,
        images=torch.cat([part.images for part in parts]),
        mask=torch.zeros_like(shown.mask),
        patch_mask=torch.zeros_like(shown.patch_mask),
    )
