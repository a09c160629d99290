"""What causal numbers are made of: targets, log-odds input by input, and activations that are edited.

What is measured of an answer is m(y) = log-odds of the target, log p(T) − log(1 − p(T)).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.evaluation.causal._outcomes import outcome_name
from sae_nb.steering import Active, Answers, MaskedEdit, Positions, log_odds as log_odds_of

if TYPE_CHECKING:
    from sae_nb.models import RunState


Targets = int | Sequence[int]
"""A class or token id, or several that count as one (all spellings of a word, say)."""


@dataclass(frozen=True)
class Target:
    """Which outcomes are moved: a class or token, or several that count as one."""

    ids: tuple[int, ...]
    """Of classes or tokens."""

    words: str
    """What is measured of them."""

    def log_odds(self, outputs: Float[Tensor, "n outcomes"]) -> Float[np.ndarray, " n"]:
        """Return log p(T) − log(1 − p(T)) of every answer."""
        return log_odds(outputs, self.ids)


def target_of(answers: Answers, given: object) -> Target:
    """Return the target that a person names, after checking that the model has it."""
    model, n_outcomes = answers.model, answers.clean.shape[1]
    several = isinstance(given, Sequence) and not isinstance(given, str)
    named: list[Any] = list(given) if several else [given]  # type: ignore[call-overload]
    if not all(hasattr(t, "__index__") and not isinstance(t, bool) for t in named):
        raise TypeError(
            f"`target` must be a class or token id, or several, got {given!r}. Tokens of "
            f"{model.name}: model.tokenizer(text)['input_ids']."
        )
    ids = sorted({operator.index(t) for t in named})
    if not ids or ids[0] < 0 or ids[-1] >= n_outcomes or len(ids) == n_outcomes:
        raise ValueError(
            f"`target` must name some of the outcomes 0 … {n_outcomes - 1} of {model.name}, and not "
            f"all, got {named}."
        )
    names = [f"“{outcome_name(model, index)}”" for index in ids[:3]]
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return Target(tuple(ids), f"log-odds of {', '.join(names)}{more}")


def log_odds(
    outputs: Float[Tensor, "n outcomes"], targets: Targets | Int[Tensor, " n"]
) -> Float[np.ndarray, " n"]:
    """Return log p(T) − log(1 − p(T)) of every answer, as plain numbers."""
    return np.asarray(log_odds_of(outputs.detach(), targets))


def quantile_of(values: Float[np.ndarray, " controls"], share: float = 0.95) -> float | None:
    """Return a quantile of controls; None where there are none."""
    return float(np.quantile(values, share)) if len(values) else None


class _Reading(MaskedEdit):
    """Notes what it would touch, and touches nothing."""

    def __init__(self, positions: Positions) -> None:
        super().__init__(positions, lambda x: x)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x: Float[Tensor, "batch time d_in"], state: RunState) -> Tensor:
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        mask = self.positions.mask(tokens, state)
        self.seen.append((tokens[mask].detach().float().cpu(), mask.cpu()))
        return x


def read_positions(runs: Answers) -> list[tuple[Tensor, Tensor]]:
    """Return the activations at the edited positions, batch by batch, with the mask of where they are."""
    reading = _Reading(Positions(runs.positions, prefix_tokens=runs.model.prefix_tokens))
    runs.under(Active(runs.model, runs.model.hook_point(runs.hook_point), reading, None))
    return reading.seen
