"""Exercises of notebook 40: a head of one direction by hand, and how many heads come to do induction."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

Strength = Callable[[Tensor, Tensor, Tensor], Tensor]


def strength(pattern: Tensor, x: Tensor, read: Tensor) -> Tensor:
    """Σ_s A_ts ⟨x_s, e⟩ at every t, (time,)."""
    return pattern @ (x @ read)


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("Query and key are exchanged.", "`pattern[t, s]` is from t to s: sum over s.", lambda a, x, e: a.T @ (x @ e)),
        ("That is what each token reads of itself: nothing is looked at.", "Weigh ⟨x_s, e⟩ by the attention from t to s, and sum over s.", lambda _, x, e: x @ e),
        ("You look along the diagonal alone.", "Sum over all s.", lambda a, x, e: a.diagonal() * (x @ e)),
        ("You return what each token adds; the strength is their sum.", "Sum over s, the last axis.", lambda a, x, e: a * (x @ e)),
        ("You keep the largest token alone.", "Sum over s.", lambda a, x, e: (a * (x @ e)).amax(dim=1)),
        ("This is a mean over tokens.", "Rows of the pattern sum to 1 already: take the sum.", lambda a, x, e: (a * (x @ e)).mean(dim=1)),
    )
)  # fmt: skip


def _judge_strength(mine: Strength) -> Mistake | str | None:
    generator = torch.Generator().manual_seed(0)
    cases = {}
    for n, d in ((5, 3), (7, 4)):
        scores = torch.randn(n, n, generator=generator)
        later = torch.ones(n, n, dtype=torch.bool).triu(1)
        pattern = scores.masked_fill(later, -torch.inf).softmax(dim=-1)
        x, read = torch.randn(n, d, generator=generator), torch.randn(d, generator=generator)
        cases[f"{n} tokens of width {d}"] = (pattern, x, read)
    return diagnose(mine, strength, cases, _SLIPS)


@cache
def of_one_kind() -> float:
    """Return the share of heads that do induction after training from random looks; mean of recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    kinds = recorded("lorsa_heads").of("tiny-induction: heads of one kind, learned looks")
    return kinds.mean


TASKS = tasks(
    "attention_atoms",
    {
        "40.1": Answer(
            function(tensor("time"), takes="pattern (time, time), x (time, d) and read (d,)"),
            judge=_judge_strength,
        ),
        "40.2": Answer(number(0, 1), measure=of_one_kind),
    },
)
