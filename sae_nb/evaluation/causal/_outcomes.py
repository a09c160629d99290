"""What is asked of a model's answers: one number of each, such as a logit or log-odds; and what is edited.

Of one sample: m(y) = ℓ_y − mean(ℓ), a logit above the mean of all logits, since a shift common to all of
them is nothing the softmax sees. Of many: the log-odds of the target, log p(T) − log(1 − p(T)).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.steering import Active, Answers, MaskedEdit, Positions, log_odds as log_odds_of

if TYPE_CHECKING:
    from sae_nb.codes import SparseCodes
    from sae_nb.models import Batch, LiveModel, RunState


MAX_SECONDS = 600.0
"""What would take longer is refused, with the cost said, unless more is allowed."""

Target = int | str | Callable[[Tensor], Tensor] | None
"""A class or token id, its name, a function of the answer, or None for the model's own top answer."""

OutcomeKind = Literal["class", "next token", "vector"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """One number of an answer, differentiable, and what people call it."""

    index: int | None  # class or token id; None for a function or a vector
    name: str  # of the class or token; of the function
    words: str  # what the number is, with its unit
    measure: Callable[[Tensor], Tensor]  # answer of one sample → a scalar


def answer_of(model: LiveModel, batch: Batch, raw: Any) -> tuple[Float[Tensor, ...], OutcomeKind]:
    """Return the answer to one sample, with its graph, and what kind it is."""
    answer = model.main_output(raw)[0].float()
    if model.kind == "language" and model.causal and answer.ndim == 2:
        last = len(answer) - 1 if batch.keep is None else int(batch.keep[0].nonzero()[-1])
        return answer[last], "next token"
    if answer.ndim == 1 and model.class_names is not None:
        return answer, "class"
    return answer.flatten(), "vector"


def outcome_of(
    model: LiveModel, answer: Float[Tensor, " outcomes"], kind: OutcomeKind, target: Target = None
) -> Outcome:
    """Return what is measured of an answer."""
    if callable(target):
        name = getattr(target, "__name__", "measure").replace("_", " ")
        return Outcome(index=None, name=name, words=name, measure=_one_number(target))
    if target is None and kind == "vector":
        along = answer.detach() / answer.detach().norm().clamp_min(1e-12)
        return Outcome(
            index=None,
            name="its own output",
            words="length of the output along what it is",
            measure=lambda other: other @ along,
        )
    index = int(answer.detach().argmax()) if target is None else _index(model, len(answer), target)
    name = outcome_name(model, index)
    above = " above the mean logit" if kind != "vector" else " of the output above their mean"
    noun = {"class": "logit of", "next token": "logit of the next token", "vector": "number"}[kind]
    return Outcome(
        index=index,
        name=name,
        words=f"{noun} “{name}”{above}",
        measure=lambda other: other[index] - other.mean(),
    )


def outcome_name(model: LiveModel, index: int) -> str:
    """Return what people call a class or token."""
    if model.kind == "language" and model.tokenizer is not None:
        from sae_nb.activations import describe_ids

        return describe_ids(model.tokenizer, [index])[index]
    names = model.class_names or ()
    return str(names[index]) if index < len(names) else f"{index}"


def _index(model: LiveModel, n_outcomes: int, target: int | str) -> int:
    if isinstance(target, str):
        return _index_of_name(model, target)
    if isinstance(target, bool) or not hasattr(target, "__index__"):
        raise TypeError(
            "`target` must be a class or token id, its name, or a function of the answer, got "
            f"{target!r}."
        )
    index = operator.index(target)
    if not 0 <= index < n_outcomes:
        raise ValueError(
            f"`target` must be between 0 and {n_outcomes - 1}, the outcomes of {model.name}, got "
            f"{index}."
        )
    return index


def _index_of_name(model: LiveModel, name: str) -> int:
    if model.kind == "language" and model.tokenizer is not None:
        ids = model.tokenizer(name, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            pieces = model.tokenizer.convert_ids_to_tokens(ids)
            raise ValueError(
                f"`target` as a text must be one token of {model.name}, got {name!r}, which is "
                f"{len(ids)}: {pieces[:6]}. Mind the leading space, or pass a token id."
            )
        return int(ids[0])
    names = [str(known) for known in model.class_names or ()]
    if name not in names:
        raise ValueError(
            f"`target` must be one of the classes {names} of {model.name}, got {name!r}."
        )
    return names.index(name)


def _one_number(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def measure(answer: Tensor) -> Tensor:
        value = function(answer)
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                "`target` as a function must turn the answer to one sample, of shape "
                f"{tuple(answer.shape)}, into one number, got {got}."
            )
        return value.reshape(())

    return measure


def largest_cosine(d_in: int, share: float = 0.95) -> float:
    """Return the size of cosine with a fixed vector that `share` of random directions stay below.

    cos² of a direction drawn evenly from the sphere is Beta(1/2, (d − 1)/2).
    """
    if d_in == 1:
        return 1.0
    from scipy.special import betaincinv

    return math.sqrt(float(betaincinv(0.5, (d_in - 1) / 2, share)))


# -------------------------------------------------------------------------------------------------
# What is measured of many answers, and which activations are edited.


Targets = int | Sequence[int]
"""A class or token id, or several that count as one (all spellings of a word, say)."""


@dataclass(frozen=True)
class TargetSet:
    """Which classes or tokens are moved, and in words what is measured of them."""

    ids: tuple[int, ...]
    words: str

    def log_odds(self, outputs: Float[Tensor, "n outcomes"]) -> Float[np.ndarray, " n"]:
        """Return log p(T) − log(1 − p(T)) of every answer."""
        return log_odds(outputs, self.ids)


def target_of(answers: Answers, target: object) -> TargetSet:
    """Return which outcomes a person names, after checking that the model has them."""
    model, n_outcomes = answers.model, answers.clean.shape[1]
    several = isinstance(target, Sequence) and not isinstance(target, str)
    named: list[Any] = list(target) if several else [target]  # type: ignore[call-overload]
    if not all(hasattr(t, "__index__") and not isinstance(t, bool) for t in named):
        raise TypeError(
            f"`target` must be a class or token id, or several, got {target!r}. Tokens of "
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
    return TargetSet(tuple(ids), f"log-odds of {', '.join(names)}{more}")


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


def mean_strengths(codes: SparseCodes) -> Float[Tensor, " n_atoms"]:
    """Return each atom's mean over rows, zeros included, in fp64."""
    sums = torch.zeros(codes.n_atoms, dtype=torch.float64)
    sums.index_add_(0, codes.atoms.cpu().long(), codes.values.detach().double().cpu())
    return sums / max(len(codes), 1)


def nearest(unit: Float[Tensor, "n_atoms d_in"], atom: int, n: int = 1) -> list[int]:
    """Return the n other atoms with the largest cosine, nearest first; unit rows."""
    cosine = unit @ unit[atom]
    cosine[atom] = -torch.inf
    return [int(j) for j in cosine.argsort(descending=True)[: min(n, len(unit) - 1)]]
