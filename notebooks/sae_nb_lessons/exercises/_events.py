"""Exercises of lab 04: a step for counts, how long it may be, and what happens without a limit on events."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-4
LEVEL, SIZE, WEIGHT = -0.5, 0.1, 2.0


def step(z: Tensor, x: Tensor, h: Tensor, b: float, size: float, weight: float) -> Tensor:
    """Return the codes after one step of proximal descent on the Poisson likelihood."""
    return torch.relu(z + size * (_slope(z, x, h, b) - weight))


def _eta(z: Tensor, h: Tensor, b: float) -> Tensor:
    return F.conv_transpose1d(z[None, None], h[None, None])[0, 0] + b


def _slope(z: Tensor, x: Tensor, h: Tensor, b: float) -> Tensor:
    left = x - _eta(z, h, b).exp()
    return F.conv1d(left[None, None], h[None, None])[0, 0]


def _judge_step(
    mine: Callable[[Tensor, Tensor, Tensor, float, float, float], Tensor],
) -> str | None:
    generator = torch.Generator().manual_seed(0)
    h, z = torch.tensor([0.2, 0.8, 0.5]), torch.rand(10, generator=generator)
    z[::2] = 0  # where a step may lead below it
    x = torch.poisson(torch.full((12,), 2.0), generator=generator)
    answer = mine(z.clone(), x.clone(), h.clone(), LEVEL, SIZE, WEIGHT).float()
    if answer.shape != z.shape:
        return f"Return one code for each of the {len(z)} places."
    if torch.allclose(answer, step(z, x, h, LEVEL, SIZE, WEIGHT), atol=CLOSE):
        return None
    slope = _slope(z, x, h, LEVEL)
    flipped = F.conv1d((x - _eta(z, h, LEVEL).exp())[None, None], h.flip(0)[None, None])[0, 0]
    gaussian = F.conv1d((x - _eta(z, h, LEVEL))[None, None], h[None, None])[0, 0]
    near = {
        "The mean of counts is exp(η), not η.": torch.relu(z + SIZE * (gaussian - WEIGHT)),
        "The threshold is size · λ: the price counts along the step as the slope does.": torch.relu(
            z + SIZE * slope - WEIGHT
        ),
        "Codes may not be negative: end with relu.": z + SIZE * (slope - WEIGHT),
        "A step goes along the residual, x − exp(η), not against it.": torch.relu(
            z - SIZE * (slope + WEIGHT)
        ),
        "The adjoint correlates with h as it is; nothing is turned round.": torch.relu(
            z + SIZE * (flipped - WEIGHT)
        ),
    }
    for message, wrong in near.items():
        if torch.allclose(answer, wrong, atol=CLOSE):
            return message
    return "It differs: relu(z + size · conv1d(x − exp(η), h) − size · λ), with η = conv_transpose1d(z, h) + b."


def _judge_length(answer: float) -> str | None:
    if abs(answer - 1 / 1.96) <= 0.005:
        return None
    if abs(answer - 1) <= 0.005:
        return "That is 1 / ‖h‖², right for one place alone. Kernels that start in neighbouring bins overlap."
    if abs(answer - 1.96) <= 0.005:
        return "That is L; the step is 1 / L."
    return "L is the largest |ĥ(ω)|² = |0.6 + 0.8 e^(−iω)|² over frequencies."


@cache
def without_limit() -> float:
    """Return the share of found events that are near a true one; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lab_dunl").of("no limit: precision").mean


TASKS = tasks(
    "events",
    {
        "lab_04.1": Answer(
            function(
                tensor("places"),
                takes="z (places,), x (bins,), h (length,), b, the step's size and λ",
            ),
            judge=_judge_step,
        ),
        "lab_04.2": Answer(number(0, 10), judge=_judge_length),
        "lab_04.3": Answer(number(0, 1), measure=without_limit),
    },
)
