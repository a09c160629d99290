"""The answer to one sample, in the words of experiments that were recorded before `models.Answer`."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from sae_nb.models import Answer, Batch, LiveModel


def answer_of(model: LiveModel, batch: Batch, raw: Any) -> tuple[Float[Tensor, " outcomes"], str]:
    """Return the answer to the first sample, with its graph, and its kind."""
    answer = Answer(model, raw, batch.keep)
    return answer.one(), answer.kind
