"""Seeds of what an architecture draws at every step: kept in a buffer, so that a resumed training continues."""

from __future__ import annotations

import torch
from torch import Tensor


def drawn_seed(generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Draw a seed, on the device of a parameter; from torch's global generator for None."""
    where = None if generator is None else generator.device
    return torch.randint(2**31, (), generator=generator, device=where).to(like.device)
