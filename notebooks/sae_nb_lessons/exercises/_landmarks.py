"""Exercises of lab 01: the ties of landmarks, the sharpness of one step, and digits in groups."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

CLOSE = 0.005


def ties(z: Tensor) -> Tensor:
    """Return Σ_i z_ij z_il of every pair of landmarks, nothing on the diagonal."""
    shared = z.T @ z
    return shared - torch.diag(shared.diagonal())


_CASES: dict[str, list[list[float]]] = {
    "inputs that share a landmark": [[0.5, 0.5, 0], [0.5, 0, 0.5], [1.0, 0, 0], [0, 1.0, 0]],
    "inputs with a landmark each": [[1.0, 0.0], [0.0, 1.0]],
    "an input on the other side of a landmark": [[1.0, -0.5, 0.0], [0.5, 0.25, 0.25]],
    "two inputs of the same two landmarks": [[0.25, 0.75], [0.5, 0.5]],
}


def _bare(shared: Tensor) -> Tensor:
    return shared - torch.diag(shared.diagonal())


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("The diagonal is still there. A landmark has no tie to itself: the diagonal is 0.", "`s - torch.diag(s.diagonal())`.", lambda z: z.T @ z),
        ("Yours has a row for each input. It should be landmarks × landmarks.", "Sum over inputs: `z.T @ z`.", lambda z: z @ z.T),
        ("Yours has a row for each input, with 0 on the diagonal. It should be landmarks × landmarks.", "Sum over inputs: `z.T @ z`.", lambda z: _bare(z @ z.T)),
        ("You take the mean over inputs.", "Their sum.", lambda z: ties(z) / len(z)),
        ("Half of the matrix is empty: a tie of j and l is one of l and j, too.", "Without `triu` or `tril`.", lambda z: ties(z).triu()),
        ("You count on which inputs both are on, not how strongly.", "Products of the codes themselves.", lambda z: ties((z > 0).to(z.dtype))),
        ("You take cosines of columns.", "Sums of products as they are.", lambda z: _bare(torch.nn.functional.normalize(z, dim=0).T @ torch.nn.functional.normalize(z, dim=0))),
        ("You take the mean away first: that is a covariance, and two landmarks may get a tie below 0.", "Products of the codes themselves.", lambda z: ties(z - z.mean(dim=0))),
        ("The diagonal is 1. A landmark has no tie to itself: it is 0.", "`s - torch.diag(s.diagonal())`.", lambda z: ties(z) + torch.eye(z.shape[1])),
        ("You multiply the sums of two landmarks. Which inputs have both is lost.", "Multiply on each input, then add: `z.T @ z`.", lambda z: _bare(torch.outer(z.sum(dim=0), z.sum(dim=0)))),
        ("Every tie is counted twice.", "The sum over inputs, once.", lambda z: 2 * ties(z)),
        ("You add the smaller of both codes of each input.", "Their product.", lambda z: _bare(torch.minimum(z[:, :, None], z[:, None]).sum(dim=0))),
        ("You keep only the diagonal.", "All pairs but the diagonal: subtract it.", lambda z: torch.diag((z * z).sum(dim=0))),
    )
)  # fmt: skip


def _judge_ties(mine: Callable[[Tensor], Tensor]) -> Mistake | str | None:
    return diagnose(mine, ties, {name: (torch.tensor(z),) for name, z in _CASES.items()}, _SLIPS)


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
