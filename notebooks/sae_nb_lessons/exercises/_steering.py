"""Exercises of notebook 05: what steering costs, what an untrained SAE would do, and which part is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose
from sae_nb_lessons.exercises._seven import judge_strength, measure_share

COST = 0.4338
"""½ ln(½ / σ(2)) + ½ ln(½ / σ(−2)) nats."""

CLOSE = 0.01

_COST_SLIPS = (
    (-COST, "A divergence is never below 0: it is ½ ln(½ / 0.881) + ½ ln(½ / 0.119)."),
    (2 * COST, "Both terms are there, and each counts with its chance of ½."),
    (COST / 2, "That is a mean of the two terms (`F.kl_div` takes one as it is). Sum them."),
    (0.1884, "That is a logarithm of base 10. Nats: natural logarithms."),
    (0.5664, "That is one of the two terms, without its chance. Sum both, each with ½."),
)
"""What a KL(clean‖steered) of a slip is, and what to say to it."""


def _judge_cost(answer: float) -> str | None:
    if abs(answer - COST) <= CLOSE:
        return None
    if abs(answer - 0.328) <= CLOSE:
        return "That is KL(steered‖clean). The clean answer is what is expected: KL(clean‖steered)."
    for slip, said in _COST_SLIPS:
        if abs(answer - slip) <= CLOSE / 2:
            return said
    if abs(answer - COST / 0.6931) <= CLOSE:
        return "That is in bits. Nats: natural logarithms."
    return f"With logits (0, 0) → (2, 0) the chances become 0.881 and 0.119; not {answer:g} nats."


@cache
def untrained_success() -> float:
    """Return the success of the atom chosen in the same way in an untrained SAE; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("steering_science").of("digits, untrained").mean


_E = torch.eye(4)
_TWICE = torch.stack([_E[0], 2 * _E[0], _E[1]])
"""Three rows that span two dimensions: a basis of three would have one direction too many."""
_CASES: dict[str, tuple[Tensor, Tensor]] = {
    "a direction that is read": (_E[0], _E[:2]),
    "a direction that nobody reads": (_E[3], _E[:2]),
    "half of each": (_E[0] + _E[3], _E[:2]),
    "a reader whose rows are not orthogonal": (
        torch.tensor([1.0, 2.0, 0.0, 2.0]),
        torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]),
    ),
    "the same, three times as long": (
        torch.tensor([3.0, 6.0, 0.0, 6.0]),
        torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]),
    ),
    "a reader with two rows along one direction": (_E[0] + _E[2], _TWICE),
    "the same reader, and a direction that it does not read": (_E[2], _TWICE),
    "a reader with a row of length 0.01": (_E[0] + 2 * _E[1], torch.stack([_E[0], 0.01 * _E[1]])),
    "a square reader": (
        _E[0] + 3 * _E[3],
        torch.stack([_E[0], _E[3], _E[0] - _E[3], _E[0]]).roll(1, 1),
    ),
}


def read_share(v: Tensor, reader: Tensor) -> float:
    """Return ‖v_row‖² / ‖v‖², v_row the part of v in the span of the reader's rows."""
    wide = reader.double()
    part = torch.linalg.pinv(wide) @ (wide @ v.double())
    return float(part.square().sum() / v.double().square().sum())


def _share_in(rows: Tensor, v: Tensor) -> float:
    """Return Σ⟨row, v⟩² / ‖v‖², the share if the rows are orthonormal."""
    return float((rows @ v).square().sum() / v.square().sum())


def _unit(w: Tensor) -> Tensor:
    return torch.nn.functional.normalize(w, dim=1)


_SHARE_SLIPS = tuple(
    Slip(said, hint, way)
    for said, hint, way in (
        (
            "You take every direction that the SVD or QR returns. Where rows are parallel there is one too many.",
            "Keep the rows of `vh` with s > 1e-6: a singular value of 0 comes out as something tiny.",
            lambda v, w: _share_in(torch.linalg.svd(w, full_matrices=False)[2], v),
        ),
        (
            "You leave out what is read weakly. It is read.",
            "Every row of `vh` whose s is not 0: s > 1e-6.",
            lambda v, w: (lambda s, vh: _share_in(vh[s > 0.05], v))(
                *torch.linalg.svd(w, full_matrices=False)[1:]
            ),
        ),
        (
            "Your share is always 1: with `full_matrices=True`, `vh` is a basis of the whole space.",
            "Keep only rows of `vh` that belong to a singular value above 0.",
            lambda v, w: 1.0,  # noqa: ARG005
        ),
        (
            "You add up the shares of the rows as if they were orthogonal.",
            "Make a basis of their span first: an SVD of W.",
            lambda v, w: _share_in(_unit(w), v),
        ),
        (
            "You use the rows as they are: their lengths count, and what two share counts twice.",
            "Make an orthonormal basis of their span first.",
            lambda v, w: _share_in(w, v),
        ),
        (
            "This is the share that is *not* read.",
            "1 minus it.",
            lambda v, w: 1 - read_share(v, w),
        ),
        (
            "This is the ratio of lengths. The share is of ‖v‖².",
            "Square it.",
            lambda v, w: read_share(v, w) ** 0.5,
        ),
        (
            "This is ‖v_row‖², which grows with v.",
            "Divide by ‖v‖².",
            lambda v, w: read_share(v, w) * float(v.square().sum()),
        ),
        (
            "You divide by ‖v‖, not by its square: twice as long a v would have another share.",
            "Divide by ‖v‖².",
            lambda v, w: read_share(v, w) * float(v.norm()),
        ),
        (
            "This is the part along one row, the one that reads most. The others read, too.",
            "The span of all rows.",
            lambda v, w: float((_unit(w) @ v).square().max() / v.square().sum()),
        ),
        (
            "You look at the first row alone.",
            "The span of all rows.",
            lambda v, w: _share_in(_unit(w)[:1], v),
        ),
        (
            "You take the mean over the basis where its parts add up.",
            "`.sum()`",
            lambda v, w: read_share(v, w) / int(torch.linalg.matrix_rank(w)),
        ),
    )
)


def _judge_share(mine: Callable[[Tensor, Tensor], float]) -> Mistake | str | None:
    return diagnose(mine, read_share, _CASES, _SHARE_SLIPS, atol=CLOSE)


TASKS = tasks(
    "steering",
    {
        "05.3": Answer(number(), judge=_judge_cost),
        "05.4": Answer(number(-5, 10), measure=untrained_success),
        "05.5": Answer(function(number(), takes="v and W"), judge=_judge_share),
        "05.1": Answer(number(), judge=judge_strength),
        "05.2": Answer(number(0, 1), measure=measure_share),
    },
)
