"""One input several times as one batch, so that several changes of it are measured in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.models._running import run

if TYPE_CHECKING:
    from sae_nb.circuits._asked import Measure
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch
    from sae_nb.models._running import (
        Puts,
        Run,
    )

BLOCK = 64
"""Changes that are measured together, each in a copy of the input of its own: bounds the memory."""


def blocks(n: int) -> list[range]:
    """Return 0 … n − 1 in blocks."""
    return [range(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


def measured_copies(
    model: LiveModel, batch: Batch, n: int, changes: Puts, measure: Measure
) -> Float[Tensor, " n"]:
    """Return what is asked of the answers to n copies of one input; changes see all copies at once."""
    return measured(run(model, batch.copies(n), put=changes), measure)


def measured(ran: Run, measure: Measure) -> Float[Tensor, " n"]:
    """Return what is asked of each answer of a pass."""
    return torch.tensor([float(measure(ran.answer.one(i))) for i in range(ran.batch.n)])
