"""What is asked of a model's answer: one number, such as the logit of a class or of the next token.

m(y) = ℓ_y − mean(ℓ): a logit above the mean of all logits, since a shift common to all of them is
nothing the softmax sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from sae_nb.models import Batch, LiveModel


Target = int | str | Callable[[Tensor], Tensor] | None
"""A class or token id, its name, a function of the answer, or None for the model's own top answer."""

OutcomeKind = Literal["class", "next token", "vector"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """One number of an answer, differentiable, and what people call it."""

    index: int | None
    """Class or token id; None for a function or a vector."""

    name: str
    """Of the class or token; of the function."""

    words: str
    """What the number is, with its unit."""

    measure: Callable[[Tensor], Tensor]
    """Answer of one sample → a scalar."""


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
    index = int(answer.detach().argmax()) if target is None else _index(model, answer, target)
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


def _index(model: LiveModel, answer: Float[Tensor, " outcomes"], target: int | str) -> int:
    if isinstance(target, str):
        return _index_of_name(model, target)
    if isinstance(target, bool) or not hasattr(target, "__index__"):
        raise TypeError(
            "`target` must be a class or token id, its name, or a function of the answer, got "
            f"{target!r}."
        )
    index = int(target.__index__())
    if not 0 <= index < len(answer):
        raise ValueError(
            f"`target` must be between 0 and {len(answer) - 1}, the outcomes of {model.name}, got "
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
