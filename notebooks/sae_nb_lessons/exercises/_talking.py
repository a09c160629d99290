"""Exercises of notebook 23: what differs anyway, the score of a label, the formula of a steering file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor, whole_number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose
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
    from sae_nb.generation import Generation

    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    by = STRENGTH * float(sn.load_examples("tiny-gpt/resid_post.3").p99[ATOM])
    different = 0
    for text in sn.data.stories(N_STORIES, seed=7).texts:
        beginning = " ".join(text.split()[:FIRST_WORDS])
        generation = Generation(gpt, sae, beginning, "resid_post.3")
        branch = generation.fork(generation.n_prompt - 1, ATOM, by, n_random=1)
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
    "a label that finds three of four firing windows and one silent one of three": (
        _bools("1110110"),
        _bools("1111000"),
    ),
    "a label that says “everywhere”, of an atom that fires in one window of ten": (
        torch.ones(10, dtype=torch.bool),
        _bools("1000000000"),
    ),
    "a label that says “nowhere”, of the same atom": (
        torch.zeros(10, dtype=torch.bool),
        _bools("1000000000"),
    ),
}


def _share(said: Tensor) -> Tensor:
    return said.double().mean()


_DETECTION_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You count how often the label is right. For an atom that fires in one window of ten, “nowhere” has 0.9.", "Two shares, one of the firing windows and one of the silent ones, averaged.", lambda s, f: _share(s == f)),
        ("You look at firing windows alone: a label that says “everywhere” is never wrong there.", "The silent ones as well, and the mean of both shares.", lambda s, f: _share(s[f])),
        ("You look at silent windows alone: a label that says “nowhere” is never wrong there.", "The firing ones as well, and the mean of both shares.", lambda s, f: _share(~s[~f])),
        ("That is precision: of the windows that were called firing, the share that is.", "Begin with what is so: `said[fires]`.", lambda s, f: (s & f).sum() / s.sum().clamp(min=1)),
        ("You begin with what was said. The shares are of the windows that fire, and of those that are silent.", "`said[fires]`, not `fires[said]`.", lambda s, f: (_share(f[s]) + _share(~f[~s])) / 2),
        ("That is F1. It is not ½ for a label that says the same everywhere.", "Two shares, averaged.", lambda s, f: 2 * (s & f).sum() / (s.sum() + f.sum())),
        ("You add the two shares.", "Their mean: divide by 2.", lambda s, f: _share(s[f]) + _share(~s[~f])),
        ("You multiply the two shares.", "Their mean: add them, and divide by 2.", lambda s, f: _share(s[f]) * _share(~s[~f])),
        ("You take the root of the product of the two shares.", "Their mean: add them, and divide by 2.", lambda s, f: (_share(s[f]) * _share(~s[~f])).sqrt()),
        ("Yours is 0 for a label that says the same everywhere, and should be one half.", "The mean of the two shares; nothing is taken off.", lambda s, f: _share(s[f]) + _share(~s[~f]) - 1),
        ("You count what is wrong.", "Firing windows called firing, silent ones called silent.", lambda s, f: 1 - (_share(s[f]) + _share(~s[~f])) / 2),
        ("You average the share of firing windows called firing with that of silent ones called firing.", "Of the silent ones, those that were called silent: `~said[~fires]`.", lambda s, f: (_share(s[f]) + _share(s[~f])) / 2),
    )
)  # fmt: skip


def _judge_detection(mine: Callable[[Tensor, Tensor], float]) -> Mistake | str | None:
    return diagnose(mine, detection, _WINDOWS, _DETECTION_SLIPS, atol=CLOSE)


def edited(x: Tensor, v: Tensor, gain: float, constant: float) -> Tensor:
    """Return x + (gain · ⟨x, v⟩ / ⟨v, v⟩ + constant) · v, row by row."""
    return x + (gain * (x @ v) / (v @ v) + constant)[:, None] * v


_ROWS = torch.tensor([[1.0, 2.0, 2.0], [0.0, -3.0, 1.0]])
_EDITS = {
    "a gain of 2 and a constant of 3 along a vector of length 3": (_ROWS, torch.tensor([2.0, 2.0, 1.0]), 2.0, 3.0),
    "adding four times a unit vector (gain 0, constant 4)": (_ROWS, torch.tensor([0.0, 0.6, 0.8]), 0.0, 4.0),
    "taking a direction out (gain −1, constant 0)": (_ROWS, torch.tensor([0.0, 0.6, 0.8]), -1.0, 0.0),
    "setting it to 5 (gain −1, constant 5)": (_ROWS, torch.tensor([0.0, 0.6, 0.8]), -1.0, 5.0),
    "doubling it along a vector of length 2 (gain 1)": (_ROWS, torch.tensor([2.0, 0.0, 0.0]), 1.0, 0.0),
}  # fmt: skip


def _held(x: Tensor, v: Tensor) -> Tensor:
    """Return how much of v each row holds."""
    return x @ v / (v @ v)


_EDIT_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You take ⟨x, v⟩ for how much of v a row holds. That is right for a v of length 1 alone.", "The coefficient of the projection: ⟨x, v⟩ / ⟨v, v⟩.", lambda x, v, g, c: x + (g * (x @ v) + c)[:, None] * v),
        ("You divide by the length of v once.", "⟨x, v⟩ / ⟨v, v⟩: the length squared.", lambda x, v, g, c: x + (g * (x @ v) / v.norm() + c)[:, None] * v),
        ("You made v a unit vector, also where it is added.", "Only how much a row holds is divided by ⟨v, v⟩; what is added is v as it is.", lambda x, v, g, c: edited(x, v / v.norm(), g, c)),
        ("Gain also multiplies the constant.", "gain · ⟨x, v⟩ / ⟨v, v⟩ + constant.", lambda x, v, g, c: x + (g * (_held(x, v) + c))[:, None] * v),
        ("You multiply the constant by what the row holds.", "It is added, whatever the row holds.", lambda x, v, g, c: x + ((g + c) * _held(x, v))[:, None] * v),
        ("You add the constant to every number of the row.", "The constant is a multiple of v: inside the bracket that stands before v.", lambda x, v, g, c: x + (g * _held(x, v))[:, None] * v + c),
        ("The constant is missing.", "gain · ⟨x, v⟩ / ⟨v, v⟩ + constant.", lambda x, v, g, c: edited(x, v, g, 0 * c)),
        ("Your gain does nothing: only the constant is added.", "gain · ⟨x, v⟩ / ⟨v, v⟩ + constant.", lambda x, v, g, c: edited(x, v, 0 * g, c)),
        ("Your gain is 1, whatever is given.", "gain · ⟨x, v⟩ / ⟨v, v⟩ + constant.", lambda x, v, g, c: edited(x, v, g ** 0, c)),
        ("You return what is added, without the row.", "Begin with `x + …`.", lambda x, v, g, c: edited(x, v, g, c) - x),
        ("You subtract the multiple of v.", "`x + …`: a gain of −1 takes out already.", lambda x, v, g, c: 2 * x - edited(x, v, g, c)),
        ("You take v out of the row before you add.", "The row stays; only the multiple is added to it.", lambda x, v, g, c: edited(x, v, g - 1, c)),
        ("All rows get the same multiple, that of their mean.", "One coefficient per row: `x @ v` has n of them.", lambda x, v, g, c: x + (g * _held(x, v).mean() + c) * v),
        ("You divide by the length of the rows: that is a cosine.", "⟨x, v⟩ / ⟨v, v⟩.", lambda x, v, g, c: x + (g * torch.cosine_similarity(x, v[None], dim=1) + c)[:, None] * v),
    )
)  # fmt: skip


def _judge_edited(mine: Callable[[Tensor, Tensor, float, float], Tensor]) -> Mistake | str | None:
    return diagnose(mine, edited, _EDITS, _EDIT_SLIPS, atol=CLOSE)


TASKS = tasks(
    "talking",
    {
        "23.1": Answer(whole_number(0, N_STORIES), measure=random_texts_that_differ),
        "23.2": Answer(
            function(number(), takes="what was said and what is so, booleans of shape (n,)"),
            judge=_judge_detection,
        ),
        "23.3": Answer(
            function(tensor(2, 3), takes="x (n, d), v (d,), gain and constant"),
            judge=_judge_edited,
        ),
        "23.4": Answer(RECIPE, judge=judge_recipe),
    },
)
