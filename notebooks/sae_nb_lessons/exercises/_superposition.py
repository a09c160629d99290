"""Exercises of notebook 01: directions that share room, when sharing pays, and what a neuron means."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb.evaluation import feature_dimensionality
from sae_nb.models import train_bottlenecks
from sae_nb_lessons.exercises._answers import WrongForm, function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

TOLERANCE = 0.005  # an answer rounded to two digits is right
IMPORTANCE_RATIO = 0.3


def regular_polygon(corners: int) -> Tensor:
    """Return unit vectors at equal angles in the plane, (corners, 2)."""
    angle = 2 * math.pi * torch.arange(corners, dtype=torch.float64) / corners
    return torch.stack((angle.cos(), angle.sin()), dim=1)


# --- 01.2: five in two ----------------------------------------------------------------------------


def _judge_share(answer: float) -> str | None:
    share = float(feature_dimensionality(regular_polygon(5))[0])
    if abs(answer - share) <= TOLERANCE:
        return None
    together = 5 * answer
    rule = (
        "more than the 2 dimensions there are" if together > 2 else "and some room is left unused"
    )
    return f"Five features with {answer:g} each make {together:.3g} dimensions together, {rule}."


# --- 01.3: as far apart as possible ----------------------------------------------------------------


def _judge_directions(answer: Tensor) -> str | None:
    lengths = answer.norm(dim=1)
    if bool((lengths - 1).abs().max() > 0.02):
        return f"Row {int((lengths - 1).abs().argmax())} has length {_worst(lengths):.3g}, not 1."
    cosines = answer @ answer.T - 2 * torch.eye(5, dtype=answer.dtype)
    best = float(regular_polygon(5)[0] @ regular_polygon(5)[1])
    closest = float(cosines.max())
    if closest <= best + TOLERANCE:
        return None
    i, j = divmod(int(cosines.argmax()), 5)
    return f"Rows {i} and {j} have a cosine of {closest:.3g}; they can stand further apart."


def _worst(lengths: Tensor) -> float:
    return float(lengths[(lengths - 1).abs().argmax()])


# --- 01.4: when does sharing begin? ----------------------------------------------------------------


@cache
def measured_change(seed: int = 0) -> float:
    """Find the sparsity from which a toy of two features and one neuron stores both, by training it.

    Returns a value just above the last of 31 sparsities, 0.02 apart, at which the second feature's
    direction is shorter than a half.
    """
    sparsities = [0.3 + 0.02 * i for i in range(31)]
    toys = train_bottlenecks(
        sparsities,
        n_features=2,
        n_hidden=1,
        importance=torch.tensor([1.0, IMPORTANCE_RATIO]),
        steps=400,
        n_restarts=8,
        seed=seed,
    )
    stored = [float(toy.directions.detach()[1].abs()) > 0.5 for toy in toys]
    alone = max(i for i, both in enumerate(stored) if not both)
    return round(sparsities[alone] + 0.01, 2)


# --- 01.5: write the measure -----------------------------------------------------------------------


def _judge_dimensionality(measure: Callable[[Tensor], Tensor]) -> str | None:
    for name, directions in _CASES.items():
        answer = measure(directions.clone())
        if len(answer) != len(directions):
            raise WrongForm(
                f"for {len(directions)} directions your function returned {len(answer)} numbers: it "
                "must return one number per row"
            )
        expected = feature_dimensionality(directions)
        if not torch.allclose(answer, expected, atol=1e-4):
            row = int((answer - expected).abs().argmax())
            return f"For {name}, row {row}, your function gives {float(answer[row]):.3g}."
    return None


def _skew() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(7, 3, generator=generator, dtype=torch.float64)


_CASES = {
    "three orthogonal directions": torch.eye(3, dtype=torch.float64),
    "an antipodal pair of length 1": torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64),
    "an antipodal pair of length 3": torch.tensor([[3.0, 0.0], [-3.0, 0.0]], dtype=torch.float64),
    "a regular pentagon": regular_polygon(5),
    "seven directions of different lengths": _skew(),
}


TASKS = tasks(
    "superposition",
    {
        "01.2": Answer(number(0, 1), judge=_judge_share),
        "01.3": Answer(tensor(5, 2), judge=_judge_directions),
        "01.4": Answer(number(0, 1), measure=measured_change),
        "01.5": Answer(
            function(tensor("n"), takes="one tensor of shape (n, m)"), judge=_judge_dimensionality
        ),
    },
)
