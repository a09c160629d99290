"""Words for a device whose memory ran out: what was asked of it, and how much of that would fit."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sae_nb.checks import available_memory

SAFE = 0.8
"""Share of the free memory that is offered: pieces between tensors are lost."""


@contextmanager
def explain_out_of_memory(
    what: str, x: Tensor, row_bytes: int, instead: str, *, besides: int = 0
) -> Iterator[None]:
    """Raise torch's OutOfMemoryError as a MemoryError with the number of rows that would fit.

    `row_bytes`: about what each row of x takes; `besides`: bytes that are needed for any number of rows;
    `instead`: what to do, with `{rows}` in place of their number.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        # What the failed call had made goes with its frames, and counts as free.
        traceback.clear_frames(error.__traceback__)
        free = available_memory(x.device) or 0
        fit = min(int(SAFE * free - besides) // max(1, row_bytes), len(x) // 2)
        also = f", with {besides / 2**30:.2f} GiB for any number of rows" if besides else ""
        advice = instead.format(rows=fit)
        if fit < 1:
            advice = "Not one would: free what other tensors and processes hold there, or take fewer atoms."
        raise MemoryError(
            f"{what} of {len(x)} rows must fit in the memory of {x.device}: a row takes about "
            f"{row_bytes / 1e3:.1f} kB{also}, and {free / 2**30:.2f} GiB are free. {advice}"
        ) from error
