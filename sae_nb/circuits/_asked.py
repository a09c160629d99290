"""What is asked of an answer: an outcome, the difference of two, or a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sae_nb.evaluation import outcome_of

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

Measure = Callable[[Tensor], Tensor]


def asked(model: LiveModel, answer: Tensor, kind: Any, target: Any) -> tuple[str, Measure]:
    """Return what people call it, and the number itself; a tuple is the difference of a pair.

    Raises
    ------
    ValueError, TypeError: If an outcome is not the model's, or a tuple no pair of different ones.
    """
    if not isinstance(target, tuple):
        outcome = outcome_of(model, answer, kind, target)
        return f"“{outcome.name}”", outcome.measure
    if len(target) != 2:
        raise ValueError(f"`target` as a tuple must be a pair, got {len(target)} of them.")
    one, other = (outcome_of(model, answer, kind, name) for name in target)
    if one.index is not None and one.index == other.index:
        raise ValueError(f"`target` as a pair must be two answers, got “{one.name}” twice.")
    return f"“{one.name}” − “{other.name}”", lambda z: one.measure(z) - other.measure(z)
