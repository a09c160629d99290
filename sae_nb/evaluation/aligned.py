"""Aligned rows: the same samples at the same positions, seen by several models or layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes


def check_aligned(acts: Sequence[Activations], *, at_least: int = 2) -> None:
    """Refuse activations whose rows are not the same places of the same samples.

    Raises
    ------
    TypeError, ValueError
        If there are too few, or rows differ; the first one that does is named.
    """
    if len(acts) < at_least:
        raise ValueError(
            f"`acts` must be of at least {at_least} models or layers, got {len(acts)}. Capture the same "
            "inputs from each."
        )
    for number, one in enumerate(acts):
        if not isinstance(one, Activations):
            raise TypeError(
                f"`acts` must be Activations, got {type(one).__name__} at place {number}. Use "
                "Activations.from_tensor(x)."
            )
    first = acts[0]
    for number, one in enumerate(acts[1:], 1):
        if len(one) != len(first):
            raise ValueError(
                f"`acts` must be aligned, row by row, got {len(first)} rows at place 0 and {len(one)} "
                f"at place {number}. Pool both to samples, or keep the same positions."
            )
        moved = (one.sample != first.sample) | (one.position != first.position)
        if bool(moved.any()):
            row = int(moved.nonzero()[0])
            raise ValueError(
                f"`acts` must be aligned, row by row, but row {row} is {first.where(row)!r} at place 0 "
                f"and {one.where(row)!r} at place {number}. Capture the same inputs in the same order."
            )


def check_same_rows(codes: Sequence[SparseCodes]) -> None:
    """Refuse codes of different numbers of rows, and codes in which nothing is active.

    Raises
    ------
    ValueError
        If so.
    """
    if len(codes) < 2:
        raise ValueError(f"`codes` must be of at least two models or layers, got {len(codes)}.")
    counts = [len(one) for one in codes]
    if len(set(counts)) > 1:
        raise ValueError(
            f"`codes` must be of the same rows, got {counts} rows. Encode aligned activations."
        )
    for number, one in enumerate(codes):
        if not bool(torch.any(one.values != 0)):
            raise ValueError(
                f"`codes` must have an atom that fires, but all {one.n_atoms} at place {number} are "
                "silent. Look at whether SAE and activations belong together."
            )
