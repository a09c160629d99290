"""Exercises of lab 08: an orbit, how many moves lead back, and what pairs without a mean say."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

ORDER = 4


def orbit(b: Tensor, a: Tensor, order: int) -> Tensor:
    """Stack b, Ab, A²b, …, one per row."""
    rows = [b]
    for _ in range(order - 1):
        rows.append(a @ rows[-1])
    return torch.stack(rows)


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("Yours begins at Ab: the first atom is b itself.", "`rows = [b]`.", lambda b, a, G: orbit(a @ b, a, G)),
        ("You apply the transpose of A.", "The next atom is A @ b.", lambda b, a, G: orbit(b, a.T, G)),
        ("There is one atom too many.", "G atoms with b among them: G − 1 steps.", lambda b, a, G: orbit(b, a, G + 1)),
        ("There is one atom too few.", "G atoms with b among them: G − 1 steps.", lambda b, a, G: orbit(b, a, G - 1)),
        ("Your atoms are columns.", "One atom per row: `torch.stack(rows)`.", lambda b, a, G: orbit(b, a, G).T),
        ("You raise each number of A to a power. Applying A twice is A @ A.", "`A @ rows[-1]`.", lambda b, a, G: torch.stack([a**g @ b if g else b for g in range(G)])),
        ("You multiply number by number.", "`A @ rows[-1]`, the product of matrix and vector.", lambda b, a, G: torch.stack([a.diagonal() ** g * b for g in range(G)])),
        ("You apply A to b each time, so that all but the first are Ab.", "To the last one: `A @ rows[-1]`.", lambda b, a, G: torch.stack([b] + [a @ b] * (G - 1))),
        ("You square A at every step: A, A², A⁴.", "One A more per step.", lambda b, a, G: torch.stack([b] + [torch.linalg.matrix_power(a, 2 ** g) @ b for g in range(G - 1)])),
        ("Each of your atoms is the sum of those before.", "Only A applied to the last one.", lambda b, a, G: orbit(b, a, G).cumsum(dim=0)),
        ("You made every atom a unit vector.", "As they come: A need not keep lengths.", lambda b, a, G: torch.nn.functional.normalize(orbit(b, a, G), dim=1)),
        ("Your order is reversed.", "b first.", lambda b, a, G: orbit(b, a, G).flip(0)),
        ("You apply the inverse of A.", "The next atom is A @ b.", lambda b, a, G: orbit(b, torch.linalg.inv(a), G)),
    )
)  # fmt: skip


def _judge_orbit(mine: Callable[[Tensor, Tensor, int], Tensor]) -> Mistake | str | None:
    cases = {}
    for d, order in ((3, ORDER), (2, 5)):
        generator = torch.Generator().manual_seed(d)
        b, a = torch.randn(d, generator=generator), torch.randn(d, d, generator=generator)
        cases[f"a vector of {d} and G = {order}"] = (b, a, order)
    return diagnose(mine, orbit, cases, _SLIPS)


def _judge_order(answer: float) -> str | None:
    if answer == 6:
        return None
    if answer == 36:
        return "A patch has 36 pixels, but each row of it has 6, and a roll moves within rows."
    return "After how many rolls by one pixel is each row of six pixels what it was?"


@cache
def closure_of_turn() -> float:
    """‖A⁴ − I‖ / ‖I‖ of a turn learned from patches without their mean; over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lab_group_network").of("closure, without mean, turn").mean


TASKS = tasks(
    "orbits",
    {
        "lab_08.1": Answer(
            function(tensor("G", "d"), takes="b (d), A (d, d) and G"), judge=_judge_orbit
        ),
        "lab_08.2": Answer(number(1, 100), judge=_judge_order),
        "lab_08.3": Answer(number(0, 1000), measure=closure_of_turn),
    },
)
