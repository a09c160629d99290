"""Exercises of notebook 01: directions that share room, when sharing pays, and what a neuron means."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb.evaluation.superposition import feature_dimensionality
from sae_nb.exercises.answers import WrongForm, function, number, tensor
from sae_nb.exercises.kit import Task
from sae_nb.models.bottleneck import train_bottlenecks

TOLERANCE = 0.005  # an answer rounded to two digits is right
IMPORTANCE_RATIO = 0.3


def regular_polygon(corners: int) -> Tensor:
    """Unit vectors at equal angles in the plane.

    Parameters
    ----------
    corners
        How many.

    Example
    -------
    >>> regular_polygon(4).round().abs().tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    angle = 2 * math.pi * torch.arange(corners, dtype=torch.float64) / corners
    return torch.stack((angle.cos(), angle.sin()), dim=1)


# --- 01.1: five in two ----------------------------------------------------------------------------


def _judge_share(answer: float) -> str | None:
    share = float(feature_dimensionality(regular_polygon(5))[0])
    if abs(answer - share) <= TOLERANCE:
        return None
    together = 5 * answer
    rule = (
        "more than the 2 dimensions there are" if together > 2 else "and some room is left unused"
    )
    return f"Five features with {answer:g} each make {together:.3g} dimensions together, {rule}."


# --- 01.2: as far apart as possible ----------------------------------------------------------------


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


# --- 01.3: when does sharing begin? ----------------------------------------------------------------


@cache
def measured_change(seed: int = 0) -> float:
    """Sparsity from which a toy of two features and one neuron stores both, by training it.

    Parameters
    ----------
    seed
        Of the training.

    Returns
    -------
    float
        Just above the last of 31 sparsities, 0.02 apart, at which the second feature's direction is
        shorter than a half.
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


# --- 01.4: write the measure -----------------------------------------------------------------------


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


TASKS = (
    Task(
        id="01.1",
        title="Five in two",
        question=(
            "Five features live in two hidden dimensions, as the corners of a regular pentagon. What "
            "share of a dimension has each of them to itself?"
        ),
        form=number(0, 1),
        difficulty="warm-up",
        minutes=3,
        judge=_judge_share,
        why=(
            "Together they fill the two dimensions exactly, and no arrangement can do better: the "
            "dimensionalities never add up to more than the rank of W. Superposition is sharing, not "
            "free room."
        ),
        hints=(
            "No corner of the pentagon is special, so all five shares are equal.",
            "The pentagon wastes nothing: how much do the five shares make together?",
            "Two dimensions, divided equally among five.",
        ),
    ),
    Task(
        id="01.2",
        title="As far apart as possible",
        question=(
            "Give five unit vectors in the plane, one per row, such that even the two closest have as "
            "small a cosine as possible."
        ),
        form=tensor(5, 2),
        difficulty="core",
        minutes=5,
        judge=_judge_directions,
        why=(
            "This is what the toy learns by itself once features are rare, up to a rotation and an "
            "order: the ReLU forgives negative cosines and only positive ones are noise."
        ),
        hints=(
            "On a circle only angles matter. Which angles make the smallest gap as large as possible?",
            "Five equal gaps: the angles are multiples of 2π / 5.",
            "`angle = 2 * torch.pi * torch.arange(5) / 5`, then `torch.stack` its cosine and sine "
            "with `dim=1`.",
        ),
    ),
    Task(
        id="01.3",
        title="When does sharing begin?",
        question=(
            "Two features share one neuron; the second matters 0.3 times as much as the first. Both "
            "are off with chance S. From which S on does training store both instead of the first "
            "alone?"
        ),
        form=number(0, 1),
        difficulty="core",
        minutes=4,
        measure=measured_change,
        why=(
            "It is a jump, not a slope: below, the second feature has length 0; above, it is stored "
            "as the opposite of the first. `sn.evaluation.critical_sparsity(0.3)` computes where the "
            "two losses cross; training, which may also shrink the weaker arrow, changes a little "
            "earlier."
        ),
        hints=(
            "Sharing costs something only when both are on at once, which has chance (1 − S)².",
            "Ignoring the second feature costs its variance, which grows with (1 − S) only.",
        ),
    ),
    Task(
        id="01.4",
        title="Write the measure",
        question=(
            "Write a function that takes directions, a tensor of shape (n, m) with one feature per "
            "row, and returns the dimensionality of each: D_i = ‖w_i‖² / Σ_j ⟨ŵ_i, w_j⟩², where ŵ_i is "
            "w_i divided by its length."
        ),
        form=function(tensor("n"), takes="one tensor of shape (n, m)"),
        difficulty="stretch",
        minutes=8,
        judge=_judge_dimensionality,
        why=(
            "One number per feature says how crowded it is: 1 alone, ½ in an antipodal pair, 2/5 in a "
            "pentagon. The plateaus at such fractions are how superposition was first mapped."
        ),
        hints=(
            "`directions @ directions.T` holds all products ⟨w_i, w_j⟩ at once.",
            "Divide row i of that matrix by ‖w_i‖ to get ⟨ŵ_i, w_j⟩, square it, and sum over j; j = i "
            "counts too.",
            "`lengths = directions.norm(dim=1)`, then `lengths**2 / ((directions @ directions.T / "
            "lengths[:, None]) ** 2).sum(dim=1)`.",
        ),
    ),
)
