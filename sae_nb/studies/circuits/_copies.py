"""One input several times as one batch, so that several changes of it are measured in one pass."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.models import run

if TYPE_CHECKING:
    from sae_nb.models import Batch, LiveModel, Puts, Run
    from sae_nb.studies.circuits._asked import Measure

BLOCK = 64
"""Changes that are measured together, each in a copy of the input of its own: bounds the memory."""


def blocks(n: int) -> list[range]:
    """Return 0 … n − 1 in blocks."""
    return [range(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


def measured_copies(
    model: LiveModel, batch: Batch, n: int, changes: Puts, measure: Measure
) -> Float[Tensor, " n"]:
    """Return what is asked of the answers to n copies of one input; changes see all copies at once."""
    return measured(run(model, copies(batch, n), put=changes), measure)


def measured(ran: Run, measure: Measure) -> Float[Tensor, " n"]:
    """Return what is asked of each answer of a pass."""
    return torch.tensor([float(measure(ran.answer.one(i))) for i in range(ran.batch.n)])


def copies(batch: Batch, n: int) -> Batch:
    """Return one input n times, as one batch."""

    def several(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim and len(value) == 1:
            return value.expand(n, *value.shape[1:])
        return value

    changes: dict[str, Any] = {f.name: several(getattr(batch, f.name)) for f in fields(batch)}
    changes["args"] = tuple(several(value) for value in batch.args)
    changes["kwargs"] = {name: several(value) for name, value in batch.kwargs.items()}
    return replace(batch, **{**changes, "n": n})
