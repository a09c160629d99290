"""Exercises of notebook 18: what many atoms reach anyway, how wide a field is, two ways to count directions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 0.01
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


def _judge_width(mine: Callable[[Tensor, Tensor], float]) -> str | None:
    for name, (angles, strengths) in _CASES.items():
        answer, expected = mine(angles.clone(), strengths.clone()), width(angles, strengths)
        if abs(answer - expected) > CLOSE:
            return f"For {name} yours gives {answer:.2f}, and it is {expected:.2f}."
    return None


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
            function(
                number(0, 1), takes="angles (n,) in radians and strengths (n,), none below zero"
            ),
            judge=_judge_width,
        ),
        "18.4": Answer(number(0, 64), measure=dimension_at_the_end),
    },
)
