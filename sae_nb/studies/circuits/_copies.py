"""One input several times as one batch, so that several changes of it are measured in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.evaluation import answer_of
from sae_nb.models import intervening

if TYPE_CHECKING:
    from sae_nb.models import Batch, Intervention, LiveModel
    from sae_nb.studies.circuits._asked import Measure

BLOCK = 64
"""Changes that are measured together, each in a copy of the input of its own: bounds the memory."""


def blocks(n: int) -> list[range]:
    """Return 0 … n − 1 in blocks."""
    return [range(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


def measured_copies(
    model: LiveModel, batch: Batch, n: int, edits: Sequence[Intervention], measure: Measure
) -> Float[Tensor, " n"]:
    """Return what is asked of the answers to n copies of one input; edits see all copies at once."""
    with torch.no_grad(), intervening(model, edits):
        out = model.main_output(model.forward(_copies(batch, n)))
    found = [float(measure(answer_of(model, batch, out[i : i + 1])[0])) for i in range(n)]
    return torch.tensor(found)


def _copies(batch: Batch, n: int) -> Batch:
    """One input n times, as one batch."""

    def several(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim and len(value) == 1:
            return value.expand(n, *value.shape[1:])
        return value

    changes: dict[str, Any] = {f.name: several(getattr(batch, f.name)) for f in fields(batch)}
    changes["args"] = tuple(several(value) for value in batch.args)
    changes["kwargs"] = {name: several(value) for name, value in batch.kwargs.items()}
    return replace(batch, **{**changes, "n": n})
