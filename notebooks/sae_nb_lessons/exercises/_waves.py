"""Exercises of lab 03: a step of the wave equation, a drum by its voice, and what a window sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

DT = 0.5


def step(h: Tensor, v: Tensor, m: Tensor, dt: float) -> Tensor:
    """Return the new height and the new speed, one above the other."""
    around = F.pad(h, (1, 1, 1, 1))
    neighbours = around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]
    v = v + dt * (neighbours - 4 * h) * m
    return torch.stack([(h + dt * v) * m, v])


_STAR = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
_BOX, _LINE = torch.ones(3, 3), torch.zeros(3, 3)
_BOX[1, 1], _LINE[1, 0], _LINE[1, 2] = 0, 1, 1


def _around(h: Tensor, weights: Tensor, mode: str = "constant") -> Tensor:
    around = F.pad(h[None, None], (1, 1, 1, 1), mode=mode)
    return F.conv2d(around, weights[None, None])[0, 0]


def _with(
    bend: Callable[[Tensor], Tensor],
    *,
    of_speed: Callable[[float], float] = lambda dt: dt,
    of_height: Callable[[float], float] = lambda dt: dt,
    held: bool = True,
) -> Callable[..., Tensor]:
    """Return a step with another bend, other factors of both moves, or a speed beyond the drum."""

    def made(h: Tensor, v: Tensor, m: Tensor, dt: float) -> Tensor:
        v = v + of_speed(dt) * bend(h) * (m if held else 1)
        return torch.stack([(h + of_height(dt) * v) * m, v])

    return made


def _bend(h: Tensor) -> Tensor:
    return _around(h, _STAR) - 4 * h


_STEP_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("The height moves with the old speed, and the drum grows louder.", "First v, then h with the new speed.", lambda h, v, m, dt: torch.stack([(h + dt * v) * m, step(h, v, m, dt)[1]])),
        ("The height is right and the speed differs: you return the old one.", "`torch.stack([h, v])` with the new v.", lambda h, v, m, dt: torch.stack([step(h, v, m, dt)[0], v])),
        ("The speed comes first in yours.", "`torch.stack([h, v])`.", lambda h, v, m, dt: step(h, v, m, dt).flip(0)),
        ("4 h is missing: a flat drum would speed up.", "The sum of the four neighbours minus 4 h.", _with(lambda h: _around(h, _STAR))),
        ("You take the mean of the neighbours minus h, a quarter of the bend.", "Their sum minus 4 h.", _with(lambda h: _bend(h) / 4)),
        ("You have eight neighbours.", "Four: above, below, left and right.", _with(lambda h: _around(h, _BOX) - 8 * h)),
        ("You have two neighbours, left and right: that is a row of strings.", "Four: above and below, too.", _with(lambda h: _around(h, _LINE) - 2 * h)),
        ("The grid leads round: what leaves on one side comes in on the other.", "0 beyond the grid: `pad(h, (1, 1, 1, 1))`, not `roll`.", _with(lambda h: _around(h, _STAR, "circular") - 4 * h)),
        ("Beyond the grid stands the height of its edge.", "0 beyond the grid: `pad(h, (1, 1, 1, 1))`.", _with(lambda h: _around(h, _STAR, "replicate") - 4 * h)),
        ("The sign of the bend is turned: hills would grow.", "The neighbours minus 4 h.", _with(lambda h: -_bend(h))),
        ("dt is missing where the speed moves.", "v + dt · (…) · m.", _with(_bend, of_speed=lambda dt: dt**0)),
        ("dt is missing where the height moves.", "h + dt · v.", _with(_bend, of_height=lambda dt: dt**0)),
        ("The points that are held have a speed.", "Times m: they stay at rest.", _with(_bend, held=False)),
        ("The speed is squared in dt.", "v + dt · (…) · m.", _with(_bend, of_speed=lambda dt: dt**2)),
    )
)  # fmt: skip


def _judge_step(mine: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> Mistake | str | None:
    m = torch.zeros(6, 6)
    m[1:5, 1:4] = 1
    generator = torch.Generator().manual_seed(0)
    cases = {
        name: (*(torch.rand(6, 6, generator=generator) * shape for _ in range(2)), shape, dt)
        for name, shape, dt in (
            ("a drum in the middle of the grid", m, DT),
            ("a drum as large as the grid, dt = 0.25", torch.ones(6, 6), DT / 2),
        )
    }
    return diagnose(mine, step, cases, _STEP_SLIPS)


def _judge_side(answer: float) -> str | None:
    if abs(answer - 9) <= 0.05:
        return None
    if abs(answer - 10) <= 0.05:
        return "π / 2(L + 1), not π / 2L: the points that are held count as well."
    return f"√8 sin(π / 2(L + 1)) of {answer:g} is {math.sqrt(8) * math.sin(math.pi / 2 / (answer + 1)):.3f}."


@cache
def by_window() -> float:
    """Return the share of points whose side a window of 7 × 7 tells; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lab_waves").of("window").mean


TASKS = tasks(
    "waves",
    {
        "lab_03.1": Answer(
            function(tensor(2, "height", "width"), takes="h, v and m (height, width), and dt"),
            judge=_judge_step,
        ),
        "lab_03.2": Answer(number(1, 100), judge=_judge_side),
        "lab_03.3": Answer(number(0, 1), measure=by_window),
    },
)
