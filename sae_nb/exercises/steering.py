"""Exercises of notebook 11: what a push costs, what an untrained SAE would do, and which part is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb.exercises.answers import function, number
from sae_nb.exercises.kit import Task

COST = 0.4338
"""½ ln(½ / σ(2)) + ½ ln(½ / σ(−2)) nats."""

CLOSE = 0.01


def _judge_cost(answer: float) -> str | None:
    if abs(answer - COST) <= CLOSE:
        return None
    if abs(answer - 0.328) <= CLOSE:
        return "That is KL(steered‖clean). The clean answer is what is expected: KL(clean‖steered)."
    if abs(answer - COST / 0.6931) <= CLOSE:
        return "That is in bits. Nats: natural logarithms."
    return f"With logits (0, 0) → (2, 0) the chances become 0.881 and 0.119; not {answer:g} nats."


@cache
def untrained_success() -> float:
    """Success of the atom that the same choice finds in an untrained SAE; over recorded seeds."""
    from sae_nb.proofs.committed import recorded

    return recorded("steering_science").of("digits, untrained").mean


_E = torch.eye(4)
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
}


def read_share(v: Tensor, reader: Tensor) -> float:
    """Return ‖v_row‖² / ‖v‖², v_row the part of v in the span of the reader's rows.

    Parameters
    ----------
    v
        A direction.
    reader
        Rows that read.

    Example
    -------
    >>> round(read_share(torch.tensor([1.0, 1.0]), torch.tensor([[2.0, 0.0]])), 6)
    0.5
    """
    wide = reader.double()
    part = torch.linalg.pinv(wide) @ (wide @ v.double())
    return float(part.square().sum() / v.double().square().sum())


def _judge_share(mine: Callable[[Tensor, Tensor], float]) -> str | None:
    for name, (v, reader) in _CASES.items():
        answer, expected = mine(v.clone(), reader.clone()), read_share(v, reader)
        if abs(answer - expected) > CLOSE:
            return f"For {name} yours gives {answer:.3g}, and it is {expected:.3g}."
    return None


TASKS = (
    Task(
        id="11.1",
        title="What does a push cost?",
        question=(
            "Two classes, equally likely. Steering adds 2 to the log-odds of one. What does it cost, "
            "KL(clean‖steered), in nats?"
        ),
        form=number(),
        difficulty="warm-up",
        minutes=3,
        judge=_judge_cost,
        why=(
            "Strengths of two directions cannot be compared by their norm: the model may hardly hear one "
            "of them. What they cost the answer can."
        ),
        hints=(
            "The chances become σ(2) = 0.881 and 0.119.",
            "½ ln(½ / 0.881) + ½ ln(½ / 0.119).",
        ),
    ),
    Task(
        id="11.2",
        title="And an SAE that learned nothing?",
        question=(
            "Take an SAE that was never trained, choose the atom that reads a digit best, the same way as "
            "before, and add it at the same cost. By how much do the digit's log-odds grow? (The trained "
            "atom: see the table above. Random directions: at most about 1.7.)"
        ),
        form=number(-5, 10),
        difficulty="core",
        minutes=3,
        measure=untrained_success,
        why=(
            "Choosing the best of 512 directions by what they read is itself a fit. It is the choice, more "
            "than the training, that finds a direction for the digit here: the floor is high."
        ),
        hints=(
            "The best of 512 random directions in 64 dimensions is not random any more.",
            "Between a random direction and the trained atom; nearer to which?",
        ),
    ),
    Task(
        id="11.3",
        title="Which part is read?",
        question=(
            "Write a function of a direction v (d) and a reader W (n, d) that returns which share of ‖v‖² "
            "lies in the row space of W."
        ),
        form=function(number(), takes="v and W"),
        difficulty="stretch",
        minutes=6,
        judge=_judge_share,
        why=(
            "What lies outside is invisible to everything after. If a direction's effect is gone once that "
            "part is taken away, it was an illusion of patching."
        ),
        hints=(
            "Rows need not be orthogonal: an SVD or QR of W gives an orthonormal basis of its row space.",
            "`_, s, vh = torch.linalg.svd(W)`; keep the rows of vh with s > 0; Σ(vh @ v)² / Σ v².",
        ),
    ),
)
