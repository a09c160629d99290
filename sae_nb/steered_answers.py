"""The same inputs answered again and again, clean and steered, and how far the answers are apart."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.edits import Where
from sae_nb.steering import splice, steer

if TYPE_CHECKING:
    from sae_nb.models.inputs import Batch
    from sae_nb.models.live_model import LiveModel

Measure = int | Callable[[Tensor], Tensor]
"""A class or token id, or a function of the outputs (n, …) that gives one number per sample."""


class Answers:
    """Runs the same inputs again and again, and compares each answer with the clean one.

    Parameters
    ----------
    model, inputs, batch_size
        What is run; inputs are read once and kept.
    hook_point, positions
        Where directions are added.
    measure
        The number that is compared; None: the model's own answer to the first input.

    Raises
    ------
    ValueError, TypeError
        If the hook point, the positions or the measure do not fit.
    """

    def __init__(
        self,
        model: LiveModel,
        inputs: Any,
        hook_point: str,
        measure: Measure | None,
        positions: Where,
        batch_size: int | None,
    ) -> None:
        self._model, self._point, self._positions = model, hook_point, positions
        # Everything about edit and measure is checked here, before the first forward pass.
        splice(model, hook_point, torch.zeros_like, positions)
        _check_measure(measure)
        self._batches = list(model.batches(inputs, batch_size=batch_size))
        self.n = sum(batch.n for batch in self._batches)
        outputs = self._run(nullcontext())
        scores = model.class_names is not None or (model.kind == "language" and model.causal)
        scores = scores and outputs.ndim == 2
        if measure is None:
            measure = int(outputs[0].argmax()) if scores else _likeness(outputs[0])
        self._measure, self._graded, self.words = _measured(measure, model, outputs)
        self._clean = self._measure(outputs)
        self._log_p = outputs.float().log_softmax(dim=-1) if scores else None
        self.clean = float(self._clean.double().mean())

    def effect(self, direction: Float[Tensor, " d_in"], amount: float) -> tuple[float, float]:
        """Return the mean change of the measure, and KL(clean‖steered)."""
        outputs = self._run(
            steer(
                self._model,
                self._point,
                direction=direction,
                by=float(amount),
                positions=self._positions,
            )
        )
        change = float((self._measure(outputs) - self._clean).double().mean())
        if self._log_p is None:
            return change, float("nan")
        steered = outputs.float().log_softmax(dim=-1)
        kl = (self._log_p.exp() * (self._log_p - steered)).sum(dim=-1)
        return change, float(kl.double().mean())

    def gradient(self, d_in: int) -> Float[Tensor, " d_in"]:
        """Return how fast the measure grows along each dimension of the activation.

        Of a class, its log-odds: a confident model's probabilities are flat and would point nowhere.
        """
        device = self._model.device
        total = torch.zeros(d_in, device=device)
        probe = torch.zeros(d_in, device=device, requires_grad=True)
        for batch in self._batches:
            edit = splice(self._model, self._point, lambda x: x + probe.to(x), self._positions)
            with self._model.lock, edit:
                raw = self._model.forward(batch, grad=True)
            outputs = answers_at_end(self._model.main_output(raw), batch)
            (slope,) = torch.autograd.grad(self._graded(outputs).sum(), probe)
            total += slope
        return total / self.n

    def _run(self, edit: AbstractContextManager[Any]) -> Tensor:
        # The lock keeps other threads' forward passes out of the steered stretch.
        with self._model.lock, edit:
            outputs = [
                answers_at_end(self._model.main_output(self._model.forward(batch)), batch)
                for batch in self._batches
            ]
        return torch.cat(outputs)


def answers_at_end(output: Tensor, batch: Batch) -> Tensor:
    """Return the answer at each text's last token; anything that is not per token as it is.

    Parameters
    ----------
    output
        What the model answered.
    batch
        To what.
    """
    keep = batch.keep
    if keep is None or output.ndim < 3 or output.shape[:2] != keep.shape:
        return output
    last = (keep.sum(dim=1) - 1).to(output.device)
    return output[torch.arange(len(output), device=output.device), last]


def _likeness(first: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the measure of models without classes: cosine with the first input's output."""
    target = first.float().flatten()

    def cosine_with_first_output(outputs: Tensor) -> Tensor:
        return torch.nn.functional.cosine_similarity(
            outputs.float().flatten(1), target.to(outputs.device), dim=-1
        )

    return cosine_with_first_output


def _check_measure(measure: Measure | None) -> None:
    if measure is None or callable(measure):
        return
    if isinstance(measure, bool) or not isinstance(measure, int) or measure < 0:
        raise TypeError(
            f"`measure` must be a class, a token id, or a function of the outputs, got {measure!r}."
        )


def _measured(
    measure: Measure, model: LiveModel, outputs: Tensor
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], str]:
    """Return what is measured, what its slope is taken of, and its name."""
    if callable(measure):
        return measure, measure, getattr(measure, "__name__", "measure").replace("_", " ")
    if outputs.ndim != 2 or measure >= outputs.shape[1]:
        raise ValueError(
            f"`measure` must be one of the model's {outputs.shape[-1]} classes or tokens, got "
            f"{measure} for an output of shape {tuple(outputs.shape)}. Pass a function instead."
        )
    slope = partial(_log_odds, measure)
    if model.kind == "language":
        token = model.tokenizer.decode([measure]) if model.tokenizer is not None else measure
        return partial(_log_p, measure), slope, f"log-probability of {token!r} next"
    names = model.class_names
    name = names[measure] if names is not None and measure < len(names) else measure
    return partial(_probability, measure), slope, f"probability of class {name}"


def _log_p(target: int, outputs: Float[Tensor, "n classes"]) -> Float[Tensor, " n"]:
    return outputs.float().log_softmax(dim=-1)[:, target]


def _probability(target: int, outputs: Float[Tensor, "n classes"]) -> Float[Tensor, " n"]:
    return outputs.float().softmax(dim=-1)[:, target]


def _log_odds(target: int, outputs: Float[Tensor, "n classes"]) -> Float[Tensor, " n"]:
    others = outputs.float().clone()
    others[:, target] = -torch.inf
    return outputs.float()[:, target] - others.logsumexp(dim=-1)
