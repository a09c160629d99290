"""Exercises of lab 04: a step for counts, how long it may be, and what happens without a limit on events."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

LEVEL, SIZE, WEIGHT = -0.5, 0.1, 2.0


def step(z: Tensor, x: Tensor, h: Tensor, b: float, size: float, weight: float) -> Tensor:
    """Return the codes after one step of proximal descent on the Poisson likelihood."""
    return torch.relu(z + size * (_slope(z, x, h, b) - weight))


def _eta(z: Tensor, h: Tensor, b: float) -> Tensor:
    return F.conv_transpose1d(z[None, None], h[None, None])[0, 0] + b


def _slope(z: Tensor, x: Tensor, h: Tensor, b: float) -> Tensor:
    left = x - _eta(z, h, b).exp()
    return F.conv1d(left[None, None], h[None, None])[0, 0]


def _moved(
    z: Tensor, x: Tensor, h: Tensor, b: float, size: float, weight: float, change: str
) -> Tensor:
    """Return the codes after a step with a mistake."""
    eta = _eta(z, h.flip(0) if change == "laid" else h, 0 * b if change == "baseline" else b)
    if change == "outside":
        eta = _eta(z, h, 0 * b)
    rate = eta if change == "gaussian" else eta.exp() + (b if change == "outside" else 0)
    slope = F.conv1d((x - rate)[None, None], (h.flip(0) if change == "flipped" else h)[None, None])
    by, begin = slope[0, 0] * (-1 if change == "against" else 1), 0 if change == "zero" else z
    by = by * (1 if change == "long" else size)
    price = {"price": weight, "free": 0.0, "paid": -size * weight}.get(change, size * weight)
    if change == "both":
        return F.softshrink(begin + by, price)
    if change == "signed":
        return begin + by - price
    if change == "before":
        return torch.relu(begin + by) - price
    return torch.relu(begin + by - price)


_STEP_SLIPS = tuple(
    Slip(said, hint, partial(_moved, change=change))
    for change, said, hint in (
        ("gaussian", "The mean of counts is exp(η), not η.", "left = x − exp(η)."),
        ("price", "Your threshold is λ, however short the step.", "The threshold is size · λ: the price counts along the step as the slope does."),
        ("signed", "Some of your codes are negative.", "Codes may not be negative: end with relu."),
        ("before", "You cut at 0 and then take the price off, so that codes become negative.", "relu comes last."),
        ("against", "Your step goes against the residual, and the fit becomes worse.", "A step goes along the residual, x − exp(η)."),
        ("flipped", "You turn the kernel round where the residual is laid on it.", "The adjoint correlates with h as it is; nothing is turned round."),
        ("laid", "You turn the kernel round where z lays it.", "`conv_transpose1d(z, h)` lays h as it is."),
        ("baseline", "The baseline b is missing.", "η = conv_transpose1d(z, h) + b."),
        ("outside", "You add b to the rate, after exp.", "b belongs inside: exp(η) with η = conv_transpose1d(z, h) + b."),
        ("free", "λ is missing: nothing is cut.", "relu(z + size · … − size · λ)."),
        ("paid", "You add the price to the codes.", "It is taken off: − size · λ."),
        ("zero", "You forget where the codes were: yours begins at zero.", "z + size · …"),
        ("long", "The step's size is missing before the slope.", "z + size · conv1d(left, h)."),
        ("both", "You shrink codes below 0 towards 0, and leave them negative.", "Codes may not be negative: relu(… − size · λ)."),
    )
)  # fmt: skip


def _judge_step(
    mine: Callable[[Tensor, Tensor, Tensor, float, float, float], Tensor],
) -> Mistake | str | None:
    cases = {}
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        h, z = torch.tensor([0.2, 0.8, 0.5]), (1 + 2 * seed) * torch.rand(10, generator=generator)
        z[::2] = 0  # where a step may lead below it
        x = torch.poisson(torch.full((12,), 2.0), generator=generator)
        weight = WEIGHT / (1 + seed)
        cases[f"{len(x)} bins and λ = {weight:g}"] = (z, x, h, LEVEL, SIZE, weight)
    return diagnose(mine, step, cases, _STEP_SLIPS)


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
