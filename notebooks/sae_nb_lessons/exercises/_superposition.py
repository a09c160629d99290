"""Exercises of notebook 01: directions that share room, when sharing pays, and what a neuron means."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from sae_nb.evaluation import feature_dimensionality
from sae_nb.models import train_bottlenecks
from sae_nb_lessons.exercises._answers import WrongForm, function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

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
    rule = "more than the 2 there are" if together > 2 else "and some room is left unused"
    return f"Five features with {answer:g} each fill {together:.3g} of the dimensions together, {rule}."


# --- 01.3: as far apart as possible ----------------------------------------------------------------


def _judge_directions(answer: Tensor) -> Mistake | str | None:
    lengths = answer.norm(dim=1)
    if bool((lengths - 1).abs().max() > 0.02):
        return Mistake(
            f"Row {int((lengths - 1).abs().argmax())} has length {_worst(lengths):.3g}, not 1.",
            "Divide each row by its own length.",
        )
    cosines = answer @ answer.T - 2 * torch.eye(5, dtype=answer.dtype)
    best = float(regular_polygon(5)[0] @ regular_polygon(5)[1])
    closest = float(cosines.max())
    if closest <= best + TOLERANCE:
        return None
    i, j = divmod(int(cosines.argmax()), 5)
    said = f"Rows {i} and {j} have a cosine of {closest:.3g}; they can stand further apart."
    for found, hint in (
        (1.0, "Two rows are the same: `linspace` from 0 to 2π counts the start twice."),
        (math.cos(math.pi / 5), "These fill half a circle. Use all of it: 2π, not π."),
        (0.5, "These are corners of a hexagon. Five directions have wider gaps."),
        (math.cos(144), "`cos` and `sin` take radians: 2π for the whole circle, not 360."),
    ):
        if abs(closest - found) <= TOLERANCE:
            return Mistake(said, hint)
    return said


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


def _dimensions(kind: str, w: Tensor) -> Tensor:
    """Return the measure with one common mistake."""
    lengths, products = w.norm(dim=1), w @ w.T
    along = products / lengths[:, None]
    others = along.clone().fill_diagonal_(0)
    ways: dict[str, Callable[[], Tensor]] = {
        "length": lambda: lengths**2 / (products**2).sum(dim=1),
        "itself": lambda: lengths**2 / (others**2).sum(dim=1),
        "root": lambda: lengths / (along**2).sum(dim=1),
        "square": lambda: lengths**2 / along.sum(dim=1),
        "sizes": lambda: lengths**2 / along.abs().sum(dim=1),
        "both": lambda: 1 / ((along / lengths) ** 2).sum(dim=1),
        "after": lambda: lengths**2 / along.sum(dim=1) ** 2,
        "over": lambda: (along**2).sum(dim=1) / lengths**2,
        "mean": lambda: lengths**2 / (along**2).mean(dim=1),
        "alone": lambda: torch.ones(len(w)),
        "equal": lambda: torch.full((len(w),), w.shape[1] / len(w)),
    }
    return ways[kind]()


_SLIPS = tuple(
    Slip(said, hint, partial(_dimensions, kind))
    for kind, (said, hint) in {
        "length": ("You never divide by a length: ŵ_i has length 1.", "Divide row i of the products by ‖w_i‖."),
        "itself": ("The sum leaves out j = i, so a direction at right angles to all others divides by 0.", "Keep j = i: that term is ‖w_i‖²."),
        "root": ("The numerator is ‖w_i‖, not its square.", "`lengths**2`"),
        "square": ("You sum the products. Negative ones then cancel positive ones.", "Square each product before you sum."),
        "sizes": ("You sum absolute values. The measure sums squares.", "`** 2`, not `.abs()`."),
        "both": ("Your answer does not depend on ‖w_j‖: you divide by it. A long neighbour takes more room.", "⟨ŵ_i, w_j⟩: the hat is on i alone, so divide rows, not columns: `lengths[:, None]`."),
        "after": ("You square the sum. Each product is squared first.", "`(… ** 2).sum(dim=1)`"),
        "over": ("Your fraction is upside down.", "‖w_i‖² above, the sum below."),
        "mean": ("You take the mean over j where the measure has a sum.", "`.sum(dim=1)`"),
        "alone": ("You return 1 for every direction, as if all stood at right angles.", "Let the answer depend on the other rows."),
        "equal": ("You divide the dimensions equally. That is right for a regular polygon, and not in general.", "Let the answer depend on lengths and angles."),
    }.items()
)  # fmt: skip


def _judge_dimensionality(measure: Callable[[Tensor], Tensor]) -> Mistake | str | None:
    def sized(directions: Tensor) -> Tensor:
        answer = measure(directions)
        if len(answer) != len(directions):
            raise WrongForm(
                f"for {len(directions)} directions your function returned {len(answer)} numbers: it "
                "must return one number per row"
            )
        return answer

    cases = {name: (directions,) for name, directions in _CASES.items()}
    return diagnose(sized, feature_dimensionality, cases, _SLIPS)


def _skew() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(7, 3, generator=generator, dtype=torch.float64)


# The first case has no right angle: there a forgotten term still gives finite numbers.
_CASES = {
    "seven directions of different lengths": _skew(),
    "three orthogonal directions": torch.eye(3, dtype=torch.float64),
    "an antipodal pair of length 1": torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64),
    "an antipodal pair of length 3": torch.tensor([[3.0, 0.0], [-3.0, 0.0]], dtype=torch.float64),
    "a regular pentagon": regular_polygon(5),
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
