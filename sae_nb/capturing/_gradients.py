"""Gradients of a loss by activations, in the pass that reads them: one forward, one backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sae_nb.checks import check_classes, same_length, shown
from sae_nb.files._fingerprints import tensor_bytes
from sae_nb.models import HookPoint
from sae_nb.models._answers import Answer
from sae_nb.models._interventions import Backend
from sae_nb.models._running import Runner

if TYPE_CHECKING:
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch, Batches

Named = Literal["next_token", "labels"]
GradientOf = Named | Callable[[Tensor], Tensor]
"""A loss of the model by name, or a function from its answers to one number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Loss:
    """The differentiated quantity: a sum over a batch, so that a row's gradient is the same in any batch."""

    name: str
    of: Callable[[Answer, Batch], Tensor]
    """(answer of the model, batch) → one number."""

    labels: Mapping[str, Tensor] = field(default_factory=dict)
    """Class of each sample, by head; "" is the model's own answer."""

    @property
    def method(self) -> str:
        """Method of the module that is run."""
        return "__call__" if set(self.labels) <= {""} else "forward_heads"

    def check(self, batches: Batches) -> None:
        """Refuse labels of another number of samples, where that is known."""
        for labels in self.labels.values():
            if batches.n_samples is not None:
                same_length(labels, batches.n_samples, name="labels", per="sample of `inputs`")

    def stated(self) -> dict[str, Any]:
        """Return the settings that decide the gradients, as plain values."""
        import hashlib

        digests = {
            head: hashlib.sha256(tensor_bytes(labels)).hexdigest()
            for head, labels in self.labels.items()
        }
        return {"gradient_of": self.name} | ({"labels": digests} if digests else {})


def chosen_loss(model: LiveModel, gradient_of: object, labels: object = None) -> Loss:
    """Return the loss that was asked for, checked against the model."""
    if gradient_of is None:
        raise ValueError(
            '`labels` must be None without gradient_of="labels", got some. Leave them out.'
        )
    _check_can_differentiate(model)
    named = gradient_of if isinstance(gradient_of, str) else None
    if labels is not None and named != "labels":
        raise ValueError(
            f'`labels` must be None unless gradient_of="labels", got some with {shown(gradient_of)}. '
            "Leave them out."
        )
    if named == "next_token":
        return _next_token(model)
    if named == "labels":
        return _of_labels(model, labels)
    if not callable(gradient_of):
        raise ValueError(
            f"`gradient_of` must be {' or '.join(map(repr, get_args(Named)))}, or a function of the "
            f"model's answers that gives one number, got {shown(gradient_of)}."
        )
    _check_takes_answers(gradient_of)
    return _own(gradient_of)


def _check_takes_answers(function: Callable[..., Any]) -> None:
    """Refuse a function that cannot be called with one thing."""
    try:
        parameters = signature(function.forward if isinstance(function, nn.Module) else function)
    except (ValueError, TypeError):  # built-in functions need not say what they take
        return
    try:
        parameters.bind(None)
    except TypeError as error:
        raise ValueError(
            "`gradient_of` as a function must take one thing, the model's answers to a batch, got "
            f"{shown(function)} with parameters {parameters} ({error}). Wrap it: "
            "gradient_of=lambda y: f(y, …)."
        ) from error


def _check_can_differentiate(model: LiveModel) -> None:
    if model.remote:
        raise ValueError(
            f"`gradient_of` must be None for {model.name!r}, which runs remotely. Load it here."
        )


def _next_token(model: LiveModel) -> Loss:
    if not model.modality.is_text or not model.causal:
        raise ValueError(
            f'`gradient_of="next_token"` needs a decoder of language, got {model.name!r}. Use '
            'gradient_of="labels" with labels=, or a function of its answers.'
        )

    def of(answer: Answer, batch: Batch) -> Tensor:
        where, ids = batch.has_next(), cast(Tensor, batch.token_ids)[:, 1:]
        logits = answer.tensor[:, :-1][where].float()
        return cross_entropy(logits, ids[where], reduction="sum")

    return Loss(name="next_token", of=of)


def _of_labels(model: LiveModel, labels: object) -> Loss:
    if labels is None:
        raise ValueError(
            '`gradient_of="labels"` needs `labels`, the class of each sample, or {head: classes}, got '
            "none. Pass labels=."
        )
    labels_by_head = labels if isinstance(labels, Mapping) else {"": labels}
    by_head = {str(head): check_classes(part) for head, part in labels_by_head.items()}
    if not by_head or ("" not in by_head and not hasattr(model.module, "forward_heads")):
        raise ValueError(
            f"`labels` must be the class of each sample for {model.name!r}, which has no heads, got "
            f"{list(by_head)}. Pass one tensor."
        )

    def of(answer: Answer, batch: Batch) -> Tensor:
        parts = []
        for head, classes in by_head.items():
            heads = {"": answer.tensor} if head == "" else answer.heads
            if head not in heads:
                raise ValueError(
                    f"`labels` must name heads of the model, {list(heads)}, got {head!r}."
                )
            logits = heads[head]
            mine = classes[batch.first_sample : batch.first_sample + batch.n].to(logits.device)
            same_length(mine, batch.n, name="labels", per="sample of `inputs`")
            _check_logits(logits, mine)
            parts.append(cross_entropy(logits.float(), mine, reduction="sum"))
        return torch.stack(parts).sum()

    return Loss(name="labels", of=of, labels=by_head)


def _check_logits(logits: Tensor, classes: Tensor) -> None:
    if logits.ndim != 2 or int(classes.max()) >= logits.shape[1]:
        raise ValueError(
            f"`labels` must be classes that the model scores, an output of shape {tuple(logits.shape)}, "
            f"got {int(classes.max())}. Pass a function of its answers where they are not classes."
        )


def _own(function: Callable[[Tensor], Tensor]) -> Loss:
    def of(answer: Answer, _batch: Batch) -> Tensor:
        answers = answer.tensor
        try:
            value: Any = function(answers)
        except Exception as error:
            raise ValueError(
                "`gradient_of` as a function must turn the answers to a batch into one number, but "
                f"{shown(function)} raised {type(error).__name__} on answers of shape "
                f"{tuple(answers.shape)}: {error} Call it on model(inputs) to see where."
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ValueError(
                "`gradient_of` as a function must turn the answers to a batch into one number, got "
                f"{shown(value)}. Sum over the batch, so that a row's gradient is the same in any batch."
            )
        return value.reshape(())

    return Loss(name=getattr(function, "__qualname__", type(function).__qualname__), of=of)


def differentiating(
    model: LiveModel, points: Mapping[str, HookPoint], loss: Loss, backend: Backend
) -> Runner:
    """Return what reads a model at some hook points, with a zero added there for the loss's gradient."""
    for point in points.values():
        point.check_writable()
    return Runner(model, read=points, grad=points, method=loss.method, backend=backend, every=True)


def with_gradients(
    runner: Runner, batch: Batch, loss: Loss
) -> Iterator[tuple[str, int, Tensor, Tensor]]:
    """Run a batch forwards and backwards; yield hook point, application, activations, their gradients."""
    run = runner(batch)
    with run.model.lock, torch.enable_grad():
        value = loss.of(run.answer, run.batch)
        gradients = run.gradients(value)
    steps = {name: run.steps.get(name, [(0, name)]) for name in runner.leaves}
    lost = [key for listed in steps.values() for _, key in listed if key not in gradients]
    if lost:
        raise _no_gradient(run.model, lost)
    for name, listed in steps.items():
        for step, key in listed:
            yield name, step, run.seen[key].detach(), gradients[key]


def _no_gradient(model: LiveModel, names: list[str]) -> ValueError:
    return ValueError(
        f"`gradient_of` must hang on what is read at {', '.join(map(repr, names))}, but no gradient of "
        f"it gets there in {model.name!r}: the hook point comes after the loss or beside it, or the "
        "model's forward switches gradients off. Choose an earlier hook point; "
        "`model.hook_points()` lists them."
    )
