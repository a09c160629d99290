"""How long an evaluation will take, from a small part of it: said before anything long begins."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sae_nb.activations import Activations, acts_for

if TYPE_CHECKING:
    from sae_nb.architectures.base import SparseAutoencoder
    from sae_nb.models.live_model import LiveModel

_ROWS = 2048
_PASSES = 5  # clean, spliced, zero, mean, random


@dataclass(frozen=True, kw_only=True)
class EvaluationCost:
    """Seconds that the parts of `evaluate` will take here."""

    rows: float
    """Reconstruction, sparsity, the dictionary, and their random control."""

    model: float | None
    """Five forward passes over all inputs; None without a model."""

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.rows + (self.model or 0.0)

    def __str__(self) -> str:
        told = f"about {self.rows:.0f} s for rows"
        return told if self.model is None else f"{told}, {self.model:.0f} s for the model's answers"


def evaluation_cost(
    sae: SparseAutoencoder,
    acts: Activations | Tensor,
    model: LiveModel | None = None,
    inputs: Any = None,
) -> EvaluationCost:
    """Estimate what `evaluate` with the same arguments costs, from 2048 rows and one batch of inputs.

    Parameters
    ----------
    sae, acts, model, inputs
        As for `evaluate`.

    Returns
    -------
    EvaluationCost
        `.rows`, `.model`, `.seconds`; prints as a sentence.

    Raises
    ------
    ValueError
        If a model is given without inputs.

    Example
    -------
    >>> import sae_nb as sn
    >>> x = torch.randn(5000, 8, generator=torch.Generator().manual_seed(0))
    >>> cost = evaluation_cost(sn.TopK(8, 16, 2), x)
    >>> cost.seconds > 0, cost.model
    (True, None)
    """
    from sae_nb.evaluation.report import evaluate

    source = acts_for(sae, acts)
    part = torch.zeros(len(source), dtype=torch.bool)
    part[:_ROWS] = True
    few = source.subset(part)
    evaluate(sae, few.subset(torch.arange(len(few)) < 64), n_bootstrap=0)  # loops compile
    start = time.perf_counter()
    evaluate(sae, few)
    seconds = (time.perf_counter() - start) * max(len(source) / len(few), 1.0)
    return EvaluationCost(rows=seconds, model=None if model is None else _passes(model, inputs))


def _passes(model: LiveModel, inputs: Any) -> float:
    if inputs is None:
        raise ValueError("`inputs` are needed to say what the model's part costs. Pass inputs=.")
    batches = model.batches(inputs, batch_size=8)
    first = next(iter(batches)).to(model.device)
    with model.lock, torch.no_grad():
        model.forward(first)
        start = time.perf_counter()
        model.forward(first)
    total = getattr(batches, "n_samples", None) or first.n
    return _PASSES * (time.perf_counter() - start) * total / first.n
