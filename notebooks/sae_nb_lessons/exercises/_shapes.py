"""Exercises of notebook 18: what many atoms reach anyway, how wide a field is, two ways to count directions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

CLOSE = 1e-3
STEPS = 8
IMAGES, ROWS = 150, 1500
"""Number of test images, and of patches drawn from them."""


@cache
def left_of_random() -> float:
    """Measure the share of random directions' length that the best eight atoms of tiny-vit's SAE leave."""
    import sae_nb as sn

    atoms = sn.load_sae("tiny-vit/resid_post.6").dictionary
    strangers = torch.randn(100, atoms.shape[1], generator=torch.Generator().manual_seed(1))
    return float(sn.geometry.containment(strangers, atoms, (STEPS,), n_random=1).r.mean())


def width(angles: Tensor, strengths: Tensor) -> float:
    """Return how far around a circle an atom fires: 1 − |mean e^{iθ}|, weighted by how strongly."""
    share = strengths / strengths.sum()
    return float(1 - torch.hypot((share * angles.cos()).sum(), (share * angles.sin()).sum()))


_ROUND = torch.arange(64) * 2 * torch.pi / 64
_CASES: dict[str, tuple[Tensor, Tensor]] = {
    "an atom that fires at angles next to each other": (
        torch.tensor([1.0, 1.4, 4.0]),
        torch.tensor([2.0, 1.0, 0.0]),
    ),
    "an atom that fires everywhere alike": (_ROUND, torch.ones(64)),
    "half an axis, max(0, cos θ)": (_ROUND, 3 * _ROUND.cos().relu()),
    "an atom that fires on both sides of zero": (
        torch.tensor([0.2, 6.1]),
        torch.tensor([1.0, 1.0]),
    ),
}


def _mean_point(angles: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    return (weights * angles.cos()).sum(), (weights * angles.sin()).sum()


def _reach(angles: Tensor, weights: Tensor) -> Tensor:
    """Return |Σ w e^{iθ}|."""
    return torch.hypot(*_mean_point(angles, weights))


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You do not weigh: an angle at which the atom is silent counts as much as any other.", "Weights are the strengths, divided by their sum.", lambda a, w: 1 - _reach(a, torch.ones_like(w) / len(w))),
        ("That is the length of the mean: 1 for one angle, 0 all round.", "The width is 1 minus it.", lambda a, w: _reach(a, w / w.sum())),
        ("You do not divide the strengths by their sum, so a louder atom has another width.", "`strengths / strengths.sum()`.", lambda a, w: 1 - _reach(a, w)),
        ("You divide by the number of rows. Silent rows would make any atom wide.", "Divide by the sum of the strengths.", lambda a, w: 1 - _reach(a, w / len(w))),
        ("You divide by the largest strength.", "Divide by the sum of the strengths.", lambda a, w: 1 - _reach(a, w / w.max())),
        ("You weigh by squares of strengths.", "The strengths themselves, divided by their sum.", lambda a, w: 1 - _reach(a, w.square() / w.square().sum())),
        ("You count where it fires, not how strongly.", "Weights are the strengths, divided by their sum.", lambda a, w: 1 - _reach(a, (w > 0) / (w > 0).sum())),
        ("You use cosines alone: an atom at θ = π/2 would look as wide as can be.", "A point has two coordinates, cos θ and sin θ.", lambda a, w: 1 - _mean_point(a, w / w.sum())[0].abs()),
        ("You square the length of the mean.", "`torch.hypot` is the length itself.", lambda a, w: 1 - _reach(a, w / w.sum()).square()),
        ("You add the two coordinates; a length is the root of the sum of their squares.", "`torch.hypot`.", lambda a, w: 1 - sum(one.abs() for one in _mean_point(a, w / w.sum()))),
        ("You read the angles as degrees.", "They are in radians, as `cos` and `sin` expect them.", lambda a, w: 1 - _reach(a.deg2rad(), w / w.sum())),
        ("You take the spread of the angles as plain numbers, and it matters where the circle is cut.", "Average the points (cos θ, sin θ), not the angles.", lambda a, w: ((w / w.sum() * a.square()).sum() - (w / w.sum() * a).sum().square()).clamp(min=0).sqrt()),
        ("You take the spread of the angles as plain numbers, and it matters where the circle is cut.", "Average the points (cos θ, sin θ), not the angles.", lambda a, w: ((w / w.sum() * a.square()).sum() - (w / w.sum() * a).sum().square()) / (torch.pi**2 / 3)),
    )
)  # fmt: skip


def _judge_width(mine: Callable[[Tensor, Tensor], float]) -> Mistake | str | None:
    return diagnose(mine, width, _CASES, _SLIPS, atol=CLOSE)


@cache
def dimension_at_the_end() -> float:
    """Estimate the intrinsic dimension of tiny-vit's last patch states from their two nearest neighbours."""
    import sae_nb as sn

    vit = sn.load_model("tiny-vit")
    images = sn.data.scenes(IMAGES, seed=0, split="test").images
    states = sn.dynamics.capture_states(vit, images)
    patches = states[:, -1, vit.prefix_tokens :].flatten(0, 1)
    drawn = torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))[:ROWS]
    return float(sn.studies.geometry.two_nn_dimension(patches[drawn]))


TASKS = tasks(
    "shapes",
    {
        "18.1": Answer(number(0, 1), measure=left_of_random),
        "18.3": Answer(
            function(number(), takes="angles (n,) in radians and strengths (n,), none below zero"),
            judge=_judge_width,
        ),
        "18.4": Answer(number(0, 64), measure=dimension_at_the_end),
    },
)
