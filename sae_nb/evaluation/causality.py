"""The same inputs answered clean and under edits, input by input: the ground of every causal number.

What is measured of an answer is m(y) = log-odds of the target, log p(T) − log(1 − p(T)): unlike a
probability it is not flat where the model is confident, and unlike a logit it means the same everywhere.
"""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.edits import MaskedEdit, Positions, Where
from sae_nb.evaluation.measurement import Measurement, bootstrap_values
from sae_nb.evaluation.outcomes import outcome_name
from sae_nb.steered_answers import answers_at_end
from sae_nb.steering import Active, splice, steer

if TYPE_CHECKING:
    from sae_nb.models.inputs import Batch
    from sae_nb.models.interventions import RunState
    from sae_nb.models.live_model import LiveModel

Edit = AbstractContextManager[Any]
Targets = int | Sequence[int]
"""A class or token id, or several that count as one (all spellings of a word, say)."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a measurement takes, or took."""

    n_runs: int
    """Forward passes over all inputs."""

    seconds: float
    """Wall clock."""

    def __str__(self) -> str:
        return f"{self.n_runs} runs of the model, {self.seconds:.3g} s"


class CausalRuns:
    """Runs a model on the same inputs again and again, under one edit after another.

    Parameters
    ----------
    model
        A classifier, or a causal language model: its answers must be logits.
    inputs
        Anything that `capture` takes; read once and kept.
    hook_point
        Where edits act.
    positions
        As for `steer`.
    batch_size
        Inputs per forward pass.

    Raises
    ------
    ValueError, TypeError
        If hook point or positions do not fit, or the answers are no logits: before any edit runs.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b"])
    >>> runs = CausalRuns(model, torch.zeros(3, 2), "0")
    >>> steered = runs.add(torch.tensor([1.0, 0.0]), 2.0)
    >>> (log_odds(steered, 0) - log_odds(runs.clean, 0)).tolist(), runs.n_runs
    ([2.0, 2.0, 2.0], 2)
    """

    def __init__(
        self,
        model: LiveModel,
        inputs: Any,
        hook_point: str,
        *,
        positions: Where = None,
        batch_size: int | None = None,
    ) -> None:
        self.model, self.hook_point, self.positions = model, str(hook_point), positions
        splice(model, hook_point, torch.zeros_like, positions)  # checks, and installs nothing
        self.batches: list[Batch] = list(model.batches(inputs, batch_size=batch_size))
        self.n_runs = 0
        self._began = time.perf_counter()
        self.clean = self.outputs(nullcontext())
        self.seconds_per_run = time.perf_counter() - self._began
        scored = model.class_names is not None or (model.kind == "language" and model.causal)
        if self.clean.ndim != 2 or not scored:
            raise ValueError(
                "`model` must answer with logits of classes or next tokens, and the answers of "
                f"{model.name} are states of shape {tuple(self.clean.shape)}. Wrap it with class_names=."
            )

    @property
    def n(self) -> int:
        """How many inputs."""
        return len(self.clean)

    @property
    def cost(self) -> Cost:
        """What was spent so far."""
        return Cost(n_runs=self.n_runs, seconds=time.perf_counter() - self._began)

    def outputs(self, edit: Edit) -> Float[Tensor, "n outcomes"]:
        """Return the logits of every input under an edit.

        Parameters
        ----------
        edit
            From `steer`, `ablate`, `splice`, or `nullcontext()`.
        """
        self.n_runs += 1
        # The lock keeps other threads' forward passes out of the edited stretch.
        with self.model.lock, edit, torch.no_grad():
            found = [
                answers_at_end(self.model.main_output(self.model.forward(batch)), batch)
                for batch in self.batches
            ]
        return torch.cat(found).float().cpu()

    def add(self, direction: Float[Tensor, " d_in"], amount: float) -> Float[Tensor, "n outcomes"]:
        """Return the logits with a direction added.

        Parameters
        ----------
        direction
            As it is.
        amount
            How many times.
        """
        return self.outputs(
            steer(
                self.model,
                self.hook_point,
                direction=direction,
                by=float(amount),
                positions=self.positions,
            )
        )

    def kl(self, outputs: Float[Tensor, "n outcomes"]) -> Float[np.ndarray, " n"]:
        """Return KL(clean‖edited) of every input, in nats.

        Parameters
        ----------
        outputs
            Logits under an edit.
        """
        log_p = self.clean.double().log_softmax(dim=-1)
        log_q = outputs.double().log_softmax(dim=-1)
        return (log_p.exp() * (log_p - log_q)).sum(dim=-1).clamp_min(0).numpy()

    def check_cost(self, n_runs: int, max_seconds: float | None, what: str) -> Cost:
        """Return what a number of further runs will take, measured on the clean one, and log it.

        Parameters
        ----------
        n_runs
            Forward passes planned.
        max_seconds
            Refuse beyond this; None refuses nothing.
        what
            What they are for.

        Raises
        ------
        ValueError
            If it would take longer.
        """
        plan = Cost(n_runs=n_runs, seconds=n_runs * self.seconds_per_run)
        logger.info("%s: about %s", what, plan)
        if max_seconds is not None and plan.seconds > max_seconds:
            raise ValueError(
                f"`max_seconds` allows {max_seconds:g} s for {what}, and it would take about {plan}. "
                "Raise it, or pass fewer inputs or controls."
            )
        return plan


def log_odds(
    outputs: Float[Tensor, "n outcomes"], targets: Targets | Int[Tensor, " n"]
) -> Float[np.ndarray, " n"]:
    """Return log p(T) − log(1 − p(T)) of every answer.

    Parameters
    ----------
    outputs
        Logits.
    targets
        One outcome or several that count as one, for all answers; or a tensor with one for each.

    Example
    -------
    >>> log_odds(torch.tensor([[0.0, 2.0, 0.0]]), [0, 1]).round(4).tolist()  # ln(1 + e²)
    [2.1269]
    """
    mask = torch.zeros(outputs.shape, dtype=torch.bool)
    if isinstance(targets, Tensor):
        mask[torch.arange(len(outputs)), targets.cpu()] = True
    else:
        mask[:, torch.as_tensor(targets).reshape(-1)] = True
    wide = outputs.detach().double().cpu()
    inside = wide.masked_fill(~mask, -torch.inf).logsumexp(dim=-1)
    return (inside - wide.masked_fill(mask, -torch.inf).logsumexp(dim=-1)).numpy()


def check_targets(model: LiveModel, targets: object, n_outcomes: int) -> tuple[int, ...]:
    """Return class or token ids, after checking that the model has them.

    Parameters
    ----------
    model
        Whose outcomes.
    targets
        One id or several.
    n_outcomes
        How many the model has.

    Raises
    ------
    TypeError
        If they are no whole numbers.
    ValueError
        If there is none, no such outcome, or nothing but targets.
    """
    several = isinstance(targets, Sequence) and not isinstance(targets, str)
    given: list[Any] = list(targets) if several else [targets]  # type: ignore[call-overload]
    if not all(hasattr(t, "__index__") and not isinstance(t, bool) for t in given):
        raise TypeError(
            f"`target` must be a class or token id, or several, got {targets!r}. Tokens of "
            f"{model.name}: model.tokenizer(text)['input_ids']."
        )
    ids = sorted({operator.index(t) for t in given})
    if not ids or ids[0] < 0 or ids[-1] >= n_outcomes or len(ids) == n_outcomes:
        raise ValueError(
            f"`target` must name some of the outcomes 0 … {n_outcomes - 1} of {model.name}, and not "
            f"all, got {given}."
        )
    return tuple(ids)


def target_words(model: LiveModel, targets: Sequence[int]) -> str:
    """Return what is measured, in words.

    Parameters
    ----------
    model
        Whose outcomes.
    targets
        Their ids.
    """
    names = [f"“{outcome_name(model, index)}”" for index in targets[:3]]
    more = f" and {len(targets) - 3} more" if len(targets) > 3 else ""
    return f"log-odds of {', '.join(names)}{more}"


def mean_measurement(
    values: Float[np.ndarray, " n"],
    definition: str,
    *,
    floor: float | None,
    control: float | None,
    n_bootstrap: int,
    seed: int,
    unit: str = "samples",
) -> Measurement:
    """Return the mean of one number per input, with its bootstrap interval.

    Parameters
    ----------
    values
        One per input.
    definition
        Its id.
    floor, control
        Beside it.
    n_bootstrap, seed
        Of the interval.
    unit
        What is resampled.
    """
    clean = np.asarray(values, dtype=np.float64)
    return Measurement(
        value=float(clean.mean()),
        floor=floor,
        control=control,
        interval=bootstrap_values(clean, "mean", n_bootstrap=n_bootstrap, seed=seed),
        definition=definition,
        n=len(clean),
        unit=unit,
    )


def quantile_of(values: Float[np.ndarray, " controls"], share: float = 0.95) -> float | None:
    """Return a quantile of controls; None where there are none.

    Parameters
    ----------
    values
        One per control.
    share
        Which quantile.

    Example
    -------
    >>> quantile_of(np.array([])) is None, quantile_of(np.array([1.0, 3.0]), 0.5)
    (True, 2.0)
    """
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


def read_positions(runs: CausalRuns) -> list[tuple[Tensor, Tensor]]:
    """Return the activations at the edited positions, batch by batch, with the mask of where they are.

    Parameters
    ----------
    runs
        Model, inputs, hook point and positions.
    """
    reading = _Reading(Positions(runs.positions, prefix_tokens=runs.model.prefix_tokens))
    runs.outputs(Active(runs.model, runs.model.hook_point(runs.hook_point), reading, None))
    return reading.seen
