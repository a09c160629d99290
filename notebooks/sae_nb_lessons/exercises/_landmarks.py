"""Exercises of lab 01: the ties of landmarks, the sharpness of one step, and digits in groups."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 0.005


def ties(z: Tensor) -> Tensor:
    """Return Σ_i z_ij z_il of every pair of landmarks, nothing on the diagonal."""
    shared = z.T @ z
    return shared - torch.diag(shared.diagonal())


_CASES: dict[str, list[list[float]]] = {
    "inputs that share a landmark": [[0.5, 0.5, 0], [0.5, 0, 0.5], [1.0, 0, 0], [0, 1.0, 0]],
    "inputs with a landmark each": [[1.0, 0.0], [0.0, 1.0]],
    "two inputs of the same two landmarks": [[0.25, 0.75], [0.5, 0.5]],
}


def _judge_ties(mine: Callable[[Tensor], Tensor]) -> str | None:
    for name, rows in _CASES.items():
        z = torch.tensor(rows)
        answer, expected = mine(z.clone()), ties(z)
        if answer.shape != expected.shape:
            return f"For {name} it should be landmarks × landmarks, {tuple(expected.shape)}, not {tuple(answer.shape)}."
        if float(answer.diagonal().abs().max()) > CLOSE:
            return "A landmark has no tie to itself: the diagonal is 0."
        if not torch.allclose(answer.float(), expected, atol=CLOSE):
            return f"For {name} yours gives {answer.tolist()}, and it is {expected.tolist()}."
    return None


def _judge_sharpness(answer: float) -> str | None:
    if abs(answer - 0.25) <= CLOSE:
        return None
    if abs(answer - 0.125) <= CLOSE:
        return "That leaves out the reconstruction: with λ = 0 a step prefers near landmarks, too."
    if abs(answer - 0.5) <= CLOSE:
        return "Halve it: ⟨x, w⟩ = −½‖x − w‖² + what is the same for all landmarks."
    return f"The step is ¼, and 1 + 2λ is 2; not {answer:g}."


@cache
def digits_in_groups() -> float:
    """Return the share of digits that KDS puts in the right group; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lab_kds").of("digits").mean


TASKS = tasks(
    "landmarks",
    {
        "lab_01.1": Answer(
            function(tensor("landmarks", "landmarks"), takes="codes (inputs, landmarks)"),
            judge=_judge_ties,
        ),
        "lab_01.2": Answer(number(0, 1), judge=_judge_sharpness),
        "lab_01.3": Answer(number(0, 1), measure=digits_in_groups),
    },
)
