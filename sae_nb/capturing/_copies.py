"""Copies of a batch's rows from a card, on a stream of their own, while the model runs the next batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Copies:
    """Rows on their way from a card to the CPU; what is on the CPU already is returned as it is.

    A copy waits for what was under way on the card, and the card's memory is not used again before the copy
    has ended. Pinned memory is torch's, which hands out none that a copy still writes to; where it has no
    more, a copy is an ordinary one, which waits.
    """

    def __init__(self) -> None:
        self._ends: list[Any] = []

    def start(self, x: Tensor) -> Tensor:
        """Return the place where the rows will be when `wait` returns."""
        if not x.is_cuda:
            return x
        try:
            place = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
        except RuntimeError:
            return x.cpu()
        now, beside = torch.cuda.current_stream(x.device), _beside(x.device)
        beside.wait_stream(now)
        with torch.cuda.stream(beside):
            place.copy_(x, non_blocking=True)
            end = torch.cuda.Event()
            end.record(beside)
        x.record_stream(beside)
        self._ends.append(end)
        return place

    def wait(self) -> None:
        """Wait until all that was started is there; for nothing else on the card."""
        while self._ends:
            self._ends.pop().synchronize()


_STREAMS: dict[torch.device, Any] = {}


def _beside(device: torch.device) -> Any:
    """Return the stream for copies from a device, one for all captures."""
    if device not in _STREAMS:
        _STREAMS[device] = torch.cuda.Stream(device)
    return _STREAMS[device]
