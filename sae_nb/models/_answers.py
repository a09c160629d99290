"""The answer of a model: the tensor that counts, its heads by name, and of each sample one answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb._hints import hint, no_attribute
from sae_nb.activations._activations import NamedTensor
from sae_nb.models import _facts as facts

if TYPE_CHECKING:
    from sae_nb.models._inputs import Batch
    from sae_nb.models._interface import Runs

Model = TypeVar("Model", bound="Runs")

AnswerKind = Literal["class", "next token", "vector"]

_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Settings of c in c · tanh(logits / c)."""


class AnswerTensor(NamedTensor):
    """A model's answer to all inputs: a tensor, with the names that Hugging Face's outputs have."""

    @property
    def logits(self) -> Float[Tensor, "n ..."]:
        """The same numbers, as a plain tensor."""
        return self.as_subclass(Tensor)

    if not TYPE_CHECKING:
        __getattr__ = no_attribute

    def __getitem__(self, key: Any) -> Tensor:
        """Read rows, or the logits by their name, as from a record of Hugging Face."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        if key == "logits":
            return self.logits
        do = hint(key, ["logits"])
        raise KeyError(f"An answer has 'logits' by name, got {key!r}. {do}".strip())


@dataclass(frozen=True, eq=False)
class Answer:
    """A model's answer to a batch; the only reader of a raw output."""

    model: Runs
    raw: object
    keep: Bool[Tensor, "n time"] | None = None
    """Of the batch: False at padding; None without text."""

    @cached_property
    def tensor(self) -> Float[Tensor, "n ..."]:
        """The tensor that counts: logits, embeddings or states; see `LiveModel.main_output`."""
        return self.model.main_output(self.raw)

    @property
    def heads(self) -> dict[str, Tensor]:
        """Every named tensor."""
        return named_outputs(self.raw)

    @property
    def by_token(self) -> bool:
        """Whether there is an answer for each token of a text."""
        keep = self.keep
        return keep is not None and self.tensor.ndim >= 3 and self.tensor.shape[:2] == keep.shape

    @property
    def at_end(self) -> Float[Tensor, "n ..."]:
        """The answer at each text's last token; what is not by token as it is."""
        keep = self.keep
        if keep is None or not self.by_token:
            return self.tensor
        last = (keep.sum(dim=1) - 1).to(self.tensor.device)
        return self.tensor[torch.arange(len(self.tensor), device=self.tensor.device), last]

    @property
    def kind(self) -> AnswerKind:
        """Kind of answer: scores of classes, of next tokens, or numbers that are neither."""
        model, ndim = self.model, self.tensor.ndim
        if model.modality.is_text and model.causal and ndim == 3:
            return "next token"
        return "class" if ndim == 2 and model.class_names is not None else "vector"

    def one(self, i: int = 0) -> Float[Tensor, " outcomes"]:
        """Return the answer to one sample, fp32: scores of the next token or of classes, or all its numbers."""
        answer = self.tensor[i].float()
        if self.kind == "next token":
            keep = self.keep
            return answer[-1 if keep is None else int(keep[i].nonzero()[-1])]
        return answer.flatten()


class AnswerOf:
    """A live model whose answer is one of its other heads; everything else is the model's own."""

    def __init__(self, model: Runs, head: str) -> None:
        if not callable(getattr(model.module, "forward_heads", None)):
            raise ValueError(
                f'`head` must be "" for {model.name}, which has one head, got {head!r}.'
            )
        self._model, self._head = model, head
        self.class_names: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def forward(self, batch: Batch, **how: Any) -> Tensor:
        """Return the head's logits for a batch."""
        heads = self._model.forward(batch, **{**how, "method": "forward_heads"})
        if self._head not in heads:
            raise ValueError(
                f"`head` must be one of {sorted(heads)} or empty for the main one, got {self._head!r}."
            )
        return cast(Tensor, heads[self._head])

    def main_output(self, raw: Tensor) -> Tensor:
        """Return the logits as they are."""
        return raw


def answering(model: Model, head: str) -> Model:
    """Return the model, or the model with another of its heads as its answer."""
    return cast("Model", AnswerOf(model, head)) if head else model


def logit_cap(model: Runs) -> float | None:
    """Return c of a model that answers with c · tanh(logits / c); None of others."""
    config = getattr(model.module, "config", None)
    find = getattr(config, "get_text_config", None)
    text = find() if callable(find) else config
    found = (getattr(text, name, None) for name in _CAPS)
    return next((float(c) for c in found if isinstance(c, float | int)), None)


def uncapped(answer: Float[Tensor, "..."], cap: float | None) -> Float[Tensor, "..."]:
    """Return logits as they were before a cap."""
    return answer if cap is None else cap * (answer / cap).clamp(-0.999, 0.999).atanh()


# -------------------------------------------------------------------------------------------------
# Of a raw output the tensor that counts and the heads by name; batches joined to one answer.


def main_tensor(raw: object, *, prefer_pooled: bool = False) -> Tensor:
    """Return the tensor that counts in a raw output; see `LiveModel.main_output`."""
    if isinstance(raw, Tensor):
        return raw
    named = named_outputs(raw)
    wanted = ["logits", "image_embeds", "text_embeds", "pooler_output", "last_hidden_state"]
    if not prefer_pooled:
        wanted.remove("pooler_output")
    for name in wanted:
        if name in named:
            return named[name]
    return next(iter(named.values()))


def named_outputs(raw: object) -> dict[str, Tensor]:
    """Return every tensor of a raw output by name; a lone tensor is called "output"."""
    if isinstance(raw, Tensor):
        return {"output": raw}
    if isinstance(raw, Mapping):
        pairs = [(str(name), value) for name, value in raw.items()]
    elif isinstance(raw, (tuple, list)):
        names = getattr(raw, "_fields", range(len(raw)))
        pairs = [(str(name), value) for name, value in zip(names, raw, strict=True)]
    else:
        pairs = list(vars(raw).items()) if hasattr(raw, "__dict__") else []
    tensors = {name: value for name, value in pairs if isinstance(value, Tensor)}
    if not tensors:
        raise TypeError(f"A model must return a tensor or a record of tensors, got {type(raw)}.")
    return tensors


def check_columns(model: Runs, batch: Batch, raw: object) -> None:
    """Refuse a wrapper that answers at more tokens than it was given: places would be counted from its own."""
    if batch.token_ids is None or batch.encoder is not None or batch.images is not None:
        return
    if facts.is_of_transformers(model.module):
        return
    answer, given = main_tensor(raw), batch.token_ids.shape[1]
    if answer.ndim == 3 and answer.shape[1] > given:
        raise own_tokens(model.name, given, answer.shape[1])


def own_tokens(what: str, given: int, got: int) -> ValueError:
    """Return the error for a model that adds tokens to those that it is given."""
    return ValueError(
        f"{what} must have the {given} tokens that the model is given, got {got}: it puts {got - given} of its "
        "own among them, as prompt tuning does. Wrap the model inside (of peft model.base_model), and write a "
        "prompt in words."
    )


def collected(answers: Iterable[tuple[Batch, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """Join the answers of all batches along their first axis, padding marked with NaN."""
    parts: dict[str, list[Tensor]] = {}
    for batch, named in answers:
        for name, tensor in named.items():
            parts.setdefault(name, []).append(_marked(tensor, batch))
    return {name: _joined(tensors) for name, tensors in parts.items()}


def _marked(tensor: Tensor, batch: Batch) -> Tensor:
    keep = batch.keep
    per_token = keep is not None and tensor.ndim >= 2 and tensor.shape[:2] == keep.shape
    if keep is None or not per_token or bool(keep.all()) or not tensor.is_floating_point():
        return tensor
    return tensor.masked_fill(
        ~keep.to(tensor.device).view(*keep.shape, *[1] * (tensor.ndim - 2)), torch.nan
    )


def _joined(tensors: list[Tensor]) -> Tensor:
    if len(tensors) == 1:
        return tensors[0]
    if len({tensor.shape[1:] for tensor in tensors}) == 1:
        return torch.cat(tensors)
    longest = max(tensor.shape[1] for tensor in tensors)
    shape = (sum(len(tensor) for tensor in tensors), longest, *tensors[0].shape[2:])
    joined = tensors[0].new_full(shape, torch.nan)
    row = 0
    for tensor in tensors:
        joined[row : row + len(tensor), : tensor.shape[1]] = tensor
        row += len(tensor)
    return joined
