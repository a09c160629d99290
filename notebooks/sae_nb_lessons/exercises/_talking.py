"""Exercises of notebook 23: what differs anyway, the score of a label, the formula of a steering file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor, whole_number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._seven import RECIPE, judge_recipe

CLOSE = 1e-3
ATOM, N_STORIES, FIRST_WORDS, N_NEW = 984, 10, 12, 12
"""Atom “bad story” of tiny-gpt; number of beginnings, of their words, and of tokens that are written."""

STRENGTH = 1.45
"""In 99th percentiles: the strength that the SAE's card recommends for steering."""


@cache
def random_texts_that_differ() -> int:
    """Count beginnings, of ten, whose continuation changes along a random direction as long as the atom's."""
    import sae_nb as sn
    from sae_nb.generation._generation import Generation

    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    by = STRENGTH * float(sn.load_examples("tiny-gpt/resid_post.3").p99[ATOM])
    different = 0
    for text in sn.data.stories(N_STORIES, seed=7).texts:
        beginning = " ".join(text.split()[:FIRST_WORDS])
        generation = Generation(gpt, sae, beginning, "resid_post.3")
        branch = generation.fork(generation.n_prompt - 1, ATOM, by)
        for _ in range(N_NEW):
            generation.step(branch)
        _, plain, random = (generation.tokens(branch, row) for row in range(3))
        different += plain != random
    return different


def detection(said: Tensor, fires: Tensor) -> float:
    """Return the mean of two shares: firing windows called firing, silent windows called silent."""
    return float((said[fires].float().mean() + (~said[~fires]).float().mean()) / 2)


def _bools(text: str) -> Tensor:
    return torch.tensor([sign == "1" for sign in text])


_WINDOWS = {
    "a label that is always right": (_bools("1100"), _bools("1100")),
    "a label that says “everywhere”, of an atom that fires in one window of ten": (
        torch.ones(10, dtype=torch.bool),
        _bools("1000000000"),
    ),
    "a label that says “nowhere”, of the same atom": (
        torch.zeros(10, dtype=torch.bool),
        _bools("1000000000"),
    ),
    "a label that finds three of four firing windows and one silent one of two": (
        _bools("111010"),
        _bools("111100"),
    ),
}


def _judge_detection(mine: Callable[[Tensor, Tensor], float]) -> str | None:
    for name, (said, fires) in _WINDOWS.items():
        answer, expected = mine(said.clone(), fires.clone()), detection(said, fires)
        if abs(answer - expected) > CLOSE:
            return f"For {name} yours gives {answer:.2f}, and it is {expected:.2f}."
    return None


def edited(x: Tensor, v: Tensor, gain: float, constant: float) -> Tensor:
    """Return x + (gain · ⟨x, v⟩ / ⟨v, v⟩ + constant) · v, row by row."""
    return x + (gain * (x @ v) / (v @ v) + constant)[:, None] * v


_ROWS = torch.tensor([[1.0, 2.0, 2.0], [0.0, -1.0, 3.0]])
_EDITS = {
    "adding four times a unit vector (gain 0, constant 4)": (torch.tensor([0.0, 0.6, 0.8]), 0.0, 4.0),
    "taking a direction out (gain −1, constant 0)": (torch.tensor([0.0, 0.6, 0.8]), -1.0, 0.0),
    "setting it to 5 (gain −1, constant 5)": (torch.tensor([0.0, 0.6, 0.8]), -1.0, 5.0),
    "doubling it along a vector of length 2 (gain 1)": (torch.tensor([2.0, 0.0, 0.0]), 1.0, 0.0),
}  # fmt: skip


def _judge_edited(mine: Callable[[Tensor, Tensor, float, float], Tensor]) -> str | None:
    for name, (v, gain, constant) in _EDITS.items():
        answer = mine(_ROWS.clone(), v.clone(), gain, constant)
        apart = float((answer - edited(_ROWS, v, gain, constant)).abs().max())
        if apart > CLOSE:
            return f"Of {name} yours is off by {apart:.2f}."
    return None


TASKS = tasks(
    "talking",
    {
        "23.1": Answer(whole_number(0, N_STORIES), measure=random_texts_that_differ),
        "23.2": Answer(
            function(number(0, 1), takes="what was said and what is so, booleans of shape (n,)"),
            judge=_judge_detection,
        ),
        "23.3": Answer(
            function(tensor(2, 3), takes="x (n, d), v (d,), gain and constant"),
            judge=_judge_edited,
        ),
        "23.4": Answer(RECIPE, judge=judge_recipe),
    },
)
