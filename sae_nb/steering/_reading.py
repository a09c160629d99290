"""Runs of a model on one input, with and without an edit: the answer, and states on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sae_nb.models._answers import answering
from sae_nb.models._one_input import as_batch
from sae_nb.models._running import Run, run

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch
    from sae_nb.steering._recipe import SteeringRecipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """One run of the model: its answer, and its states on the way."""

    scores: Float[np.ndarray, " outcomes"] | None
    """Natural logarithms of the probabilities; None where the answer is a state."""

    answer: Float[np.ndarray, "tokens d"]
    edited: Float[np.ndarray, "tokens d_in"]
    """States at the hook point that is steered, after the edit."""

    later: Float[np.ndarray, "tokens d"] | None
    """States at the hook point where consequences are read."""


def read_unsteered(
    model: LiveModel, inputs: Inputs, recipe: SteeringRecipe
) -> tuple[Batch, Reading]:
    """Run the model on one input without the edit; return its batch, and what was read.

    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b"])
    >>> recipe = sn.steering.SteeringRecipe(hook_point="0", atom=0, strength=3.0)
    >>> batch, reading = read_unsteered(model, torch.zeros(1, 2), recipe)
    >>> batch.n, reading.edited.tolist()
    (1, [[0.0, 0.0]])
    """
    model = answering(model, recipe.head)
    batch, read_at = as_batch(model, inputs), read_hook_point(model, recipe.hook_point)
    return batch, read_answer(model, batch, recipe.hook_point, read_at)


def read_hook_point(model: LiveModel, hook_point: str) -> str | None:
    """Return where consequences of an edit are read: the last residual stream at or after it."""
    points = [str(point) for point in model.hook_points()]
    last = [name for name in points if name.startswith("resid_post.")]
    if not last:
        return None
    edited = str(model.hook_point(hook_point))
    if edited in points and points.index(edited) > points.index(last[-1]):
        return None
    return last[-1]


def read_answer(
    model: LiveModel, batch: Batch, hook_point: str, read_at: str | None = None
) -> Reading:
    """Run the model once, under the edits in force, and keep its answer and its states."""
    return read_answers(model, batch, hook_point, read_at)[0]


def read_answers(
    model: LiveModel, batch: Batch, hook_point: str, read_at: str | None = None
) -> list[Reading]:
    """Run the model once on copies of one sample, under the edits in force, and keep the same of each."""
    ran = run(model, batch, read={hook_point, read_at or hook_point}, answer="end")
    return readings_of(model, ran, hook_point, read_at)


def readings_of(
    model: LiveModel, ran: Run, hook_point: str, read_at: str | None = None
) -> list[Reading]:
    """Return answer and states of every sample of a pass over copies of one."""
    batch = ran.batch
    states = {
        name: x.float().cpu()[:, _real(batch.at(ran.points[name]))].numpy()
        for name, x in ran.states.items()
    }
    answers = ran.answer.tensor.detach().float().cpu()
    if batch.keep is not None and answers.ndim == 3 and answers.shape[1] == len(batch.keep[0]):
        answers = answers[:, _real(batch)]
    readings = []
    for i, answer in enumerate(answers):
        scores = _scores(model, answer)
        readings.append(
            Reading(
                scores=None if scores is None else scores.numpy(),
                answer=answer.reshape(-1, answer.shape[-1] if answer.ndim else 1).numpy(),
                edited=states[hook_point][i],
                later=None if read_at is None else states[read_at][i],
            )
        )
    return readings


def _real(batch: Batch) -> slice | Tensor:
    """Return which columns of a batch of one are of its sample."""
    return slice(None) if batch.keep is None else batch.keep[0].cpu()


def _scores(model: LiveModel, answer: Tensor) -> Tensor | None:
    """Log-probabilities of classes or next tokens; None where the answer is a state."""
    if model.modality.is_text:
        return answer[-1].log_softmax(dim=-1) if model.causal and answer.ndim == 2 else None
    if answer.ndim == 1 and model.class_names is not None:
        return answer.log_softmax(dim=-1)
    return None
