"""The same inputs answered again and again, clean and under edits, and how far the answers are apart."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.models._running import run
from sae_nb.steering._contexts import splice, steer
from sae_nb.steering.edits import Change, Positions, Where

if TYPE_CHECKING:
    from sae_nb.activations._positions import PositionPolicy
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch


Edit = AbstractContextManager[Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of a measurement, planned or actual."""

    n_runs: int
    """Forward passes over all inputs; then the wall clock."""

    seconds: float

    def __str__(self) -> str:
        return f"{self.n_runs} runs of the model, {self.seconds:.3g} s"


def _of_torch(error: BaseException) -> bool:
    """Whether torch itself raised it: an error of shapes or types, and not of ours."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return module.startswith("torch.")


class Answers:
    """Runs a model on the same inputs again and again, under one edit after another."""

    def __init__(
        self,
        model: LiveModel,
        inputs: Inputs,
        hook_point: str,
        *,
        positions: Where = None,
        batch_size: int | None = None,
        scored: bool = False,
    ) -> None:
        self.model, self.hook_point, self.positions = model, str(hook_point), positions
        self.replacing(torch.zeros_like)  # checks hook point and positions before anything runs
        self.batches: list[Batch] = list(model.batches(inputs, batch_size=batch_size))
        self.n = sum(batch.n for batch in self.batches)
        self.n_runs = 0
        self._began = time.perf_counter()
        try:
            self.clean = self.under(nullcontext())
        except (TypeError, RuntimeError) as error:  # its layers refuse what they are given
            if not _of_torch(error):
                raise
            raise ValueError(
                f"`inputs` must be what {model.name} takes, and it raised {type(error).__name__}: {error}. "
                "Look at their type and shape."
            ) from error
        self.seconds_per_run = time.perf_counter() - self._began
        has_scores = model.class_names is not None or (model.modality.is_text and model.causal)
        self.scored = has_scores and self.clean.ndim == 2
        if scored and not self.scored:
            raise ValueError(
                "`model` must answer with logits of classes or next tokens, and the answers of "
                f"{model.name} are states of shape {tuple(self.clean.shape)}. Wrap it with class_names=."
            )

    def adding(self, direction: Float[Tensor, " d_in"], by: float) -> Edit:
        """Return the edit that adds a direction, as it is, so many times."""
        return steer(
            self.model,
            self.hook_point,
            direction=direction,
            by=float(by),
            positions=self.positions,
        )

    def replacing(self, change: Change) -> Edit:
        """Return the edit that puts change(x) in the place of x."""
        return splice(self.model, self.hook_point, change, self.positions)

    def under(self, edit: Edit) -> Float[Tensor, "n ..."]:
        """Return the answer to every input with an edit in force, as the model gives it."""
        self.n_runs += 1
        # The lock keeps other threads' forward passes out of the edited stretch.
        with self.model.lock, edit, torch.no_grad():
            return torch.cat(
                [run(self.model, batch, answer="end").answer.at_end for batch in self.batches]
            )

    def edited_rows(
        self, of: PositionPolicy | None = None
    ) -> list[tuple[Float[Tensor, "rows d_in"], Bool[Tensor, "batch time"]]]:
        """Return activations at the edited positions, and their mask, by batch; `of`: those of an SAE."""
        self.n_runs += 1
        chosen = of if self.positions is None else self.positions
        positions = Positions(chosen, prefix_tokens=self.model.prefix_tokens)
        rows = []
        for batch in self.batches:
            states = run(self.model, batch, read=self.hook_point, answer=False).states
            x = states[self.hook_point]
            mask = positions.mask(x, batch.to(x.device).state())
            if of is not None and self.positions is None:
                mask = mask & ~of.massive(x, mask, self.hook_point)
            rows.append((x[mask].float().cpu(), mask.cpu()))
        return rows

    def add(self, direction: Float[Tensor, " d_in"], by: float) -> Float[Tensor, "n ..."]:
        """Return the answer to every input with a direction added, as it is, so many times."""
        return self.under(self.adding(direction, by))

    def with_graph(self, batch: Batch, change: Change) -> Float[Tensor, "m ..."]:
        """Return the answers to one batch with the graph of their making, x replaced by change(x)."""
        with self.model.lock, self.replacing(change):
            return run(self.model, batch, grad=True, answer="end").answer.at_end

    def kl(self, outputs: Float[Tensor, "n outcomes"]) -> Float[np.ndarray, " n"]:
        """Return KL(clean‖edited) of every input, in nats; NaN where answers are states."""
        if not self.scored:
            return np.full(self.n, np.nan)
        return kl(self.clean, outputs).numpy()

    @property
    def cost(self) -> Cost:
        """Cost so far."""
        return Cost(n_runs=self.n_runs, seconds=time.perf_counter() - self._began)

    def check_cost(self, n_runs: int, max_seconds: float | None, what: str) -> Cost:
        """Return what a number of further runs will take, measured on the clean one, and log it."""
        plan = Cost(n_runs=n_runs, seconds=n_runs * self.seconds_per_run)
        logger.info("%s: about %s", what, plan)
        if max_seconds is not None and plan.seconds > max_seconds:
            raise ValueError(
                f"`max_seconds` allows {max_seconds:g} s for {what}, and it would take about {plan}. "
                "Raise it, or pass fewer inputs or controls."
            )
        return plan


def kl(p: Float[Tensor, "*n outcomes"], q: Float[Tensor, "*n outcomes"]) -> Float[Tensor, "*n"]:
    """Return KL(p‖q) in nats, in float64, of answers given as logits or as log-probabilities."""
    log_p, log_q = (logits.detach().cpu().double().log_softmax(dim=-1) for logits in (p, q))
    terms = torch.where(log_p.exp() > 0, log_p.exp() * (log_p - log_q), 0.0)
    return terms.sum(dim=-1).clamp_min(0)


def log_odds(
    outputs: Float[Tensor, "n outcomes"], targets: int | Sequence[int] | Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Return log p(T) − log(1 − p(T)) of every answer, in float64 and with its graph.

    Unlike a probability it is not flat where the model is confident, and unlike a logit it means the
    same everywhere.
    """
    mask = torch.zeros(outputs.shape, dtype=torch.bool)
    if isinstance(targets, Tensor):
        mask[torch.arange(len(outputs)), targets.cpu()] = True
    else:
        mask[:, torch.as_tensor(targets).flatten()] = True
    wide = outputs.cpu().double()
    inside = wide.masked_fill(~mask, -torch.inf).logsumexp(dim=-1)
    return inside - wide.masked_fill(mask, -torch.inf).logsumexp(dim=-1)
