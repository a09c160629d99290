"""What each part of an SAE's error costs the model: its loss on x̂, on x̂ + linear part, on x̂ + the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.evaluation.downstream import Scores, score_batches
from sae_nb.evaluation.linear_prediction import LinearFit
from sae_nb.evaluation.measurement import Measurement, Resampling, measured

if TYPE_CHECKING:
    from sae_nb.evaluation.splicing import SpliceTask

_BATCH = 16
_MEASURED = {
    "next_token": ("ce", "delta_ce", "tokens"),
    "labels": ("ce", "delta_ce", "samples"),
    "classes": ("kl", "kl_clean_spliced", "samples"),
    "vectors": ("cosine", "output_cosine", "outputs"),
}


def splice_parts(
    task: SpliceTask,
    sae: Any,
    error: LinearFit,
    mean: Float[np.ndarray, " d_in"],
    resampling: Resampling,
) -> dict[str, Measurement]:
    """Run the model on reconstructions with one part of the error given back at a time.

    Parameters
    ----------
    task
        Checked: model, samples, positions.
    sae
        Whose error.
    error
        Predicts x − x̂ from x.
    mean
        The mean row, which mean ablation puts in: the floor.
    resampling
        Of the intervals, over samples.

    Returns
    -------
    dict
        "x_hat", "x_hat_and_linear", "x_hat_and_rest": the rise of the cross-entropy in nats, the KL
        where there are no labels, or the cosine of output vectors.
    """
    weights, offset = (
        torch.from_numpy(error.weights).float(),
        torch.from_numpy(error.offset).float(),
    )
    centre, mu = torch.from_numpy(error.mean).float(), torch.from_numpy(mean).float()

    def linear(x: Tensor) -> Tensor:
        predicted = (x.float() - centre.to(x.device)) @ weights.to(x.device) + offset.to(x.device)
        return predicted.to(x.dtype)

    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "spliced": sae,
        "linear": lambda x: sae(x) + linear(x),
        "rest": lambda x: x - linear(x),
        "mean": lambda x: mu.to(x).expand_as(x),
    }
    batches = task.model.batches(task.inputs, batch_size=_BATCH)
    scores = score_batches(
        task.model,
        task.hook_point,
        changes,
        batches,
        task.labels,
        keep=task.keep,
        done=lambda _n: None,
    )
    return _measured(scores, resampling)


def _measured(scores: Scores, resampling: Resampling) -> dict[str, Measurement]:
    quantity, definition, unit = _MEASURED[scores.scoring]
    sums = scores.by_group(resampling)
    place = {name: i for i, name in enumerate(scores.columns)}

    def cost(s: Float[np.ndarray, "resamples columns"], variant: str) -> Any:
        value = s[:, place[f"{quantity}_{variant}"]]
        if quantity == "ce":
            value = value - s[:, place["ce_clean"]]
        return value / s[:, place["n"]]

    variants = {"x_hat": "spliced", "x_hat_and_linear": "linear", "x_hat_and_rest": "rest"}
    statistics = {name: partial(cost, variant=variant) for name, variant in variants.items()}
    total = sums.sum(axis=0, keepdims=True)
    return {
        name: measured(
            definition,
            value,
            floor=cost(total, "mean")[0],
            interval=interval,
            n=int(total[0, place["n"]]),
            unit=unit,
        )
        for name, (value, interval) in resampling.estimates(sums, statistics).items()
    }
