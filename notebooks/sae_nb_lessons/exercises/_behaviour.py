"""Exercises of notebook 22: tokens that come again, and an atom that rises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from sae_nb_lessons.exercises._answers import Form, WrongForm, describe, function, number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

# --- 22.1: what comes again -----------------------------------------------------------------------


def comes_again(tokens: Sequence[int], n: int) -> list[bool]:
    """Return for every place whether it ends n tokens that were written before, in this order."""
    seen: set[tuple[int, ...]] = set()
    found = []
    for end in range(1, len(tokens) + 1):
        gram = tuple(tokens[end - n : end]) if end >= n else ()
        found.append(gram in seen)
        if gram:
            seen.add(gram)
    return found


def _as_truths(answer: Any) -> list[bool]:
    values = answer.tolist() if isinstance(answer, torch.Tensor | np.ndarray) else answer
    if not isinstance(values, list | tuple) or not all(
        isinstance(value, bool | np.bool_) for value in values
    ):
        raise WrongForm(f"expected a list of True and False, got {describe(answer)}")
    return [bool(value) for value in values]


TRUTHS = Form(says="a list of True and False", convert=_as_truths)

_TEXTS: dict[str, tuple[list[int], int]] = {
    "the list of the list of the list, n = 4": ([1, 2, 3, 1, 2, 3, 1, 2, 3], 4),
    "tokens that all differ": ([1, 2, 3, 4, 5, 6], 3),
    "the same tokens in another order": ([1, 2, 3, 4, 3, 2, 1, 4], 3),
    "one token again and again, n = 3": ([7, 7, 7, 7, 7, 7], 3),
    "fewer tokens than n": ([7, 7], 3),
    "a pair that comes back after a while": ([1, 2, 8, 9, 1, 2, 5, 2, 1], 2),
}


def _slips() -> tuple[Slip, ...]:
    def made(change: str, tokens: Sequence[int], n: int) -> list[bool]:
        size = {"shorter": n - 1, "longer": n + 1, "token": 1}.get(change, n)
        grams: list[Any] = [
            tuple(tokens[end - size : end]) if end >= size else None
            for end in range(1, len(tokens) + 1)
        ]
        if change == "sorted":
            grams = [gram and tuple(sorted(gram)) for gram in grams]
        if change == "forward":  # the first of the n tokens, and not the last
            again = comes_again(tokens, n)
            return [*again[n - 1 :], *[False] * (n - 1)]
        if change == "every":
            return [gram is not None and grams.count(gram) > 1 for gram in grams]
        if change == "first":
            return [gram is not None and gram not in grams[:at] for at, gram in enumerate(grams)]
        if change == "apart":
            return [
                gram is not None and gram in grams[: at + 1 - n] for at, gram in enumerate(grams)
            ]
        if change == "neighbour":
            return [
                gram is not None and at >= n and gram == grams[at - n]
                for at, gram in enumerate(grams)
            ]
        return [gram is not None and gram in grams[:at] for at, gram in enumerate(grams)]

    told = {
        "every": ("The first time counts in yours, too: it had not been written before.", "Look only at what stands before this place."),
        "forward": ("You mark where the n tokens begin, and not where they end.", "While a model writes, only the last of them is known: `tokens[i - n + 1 : i + 1]`."),
        "shorter": ("You compare n − 1 tokens.", "A slice `tokens[a : b]` leaves b out."),
        "longer": ("You compare n + 1 tokens.", "A slice `tokens[a : b]` has b − a tokens."),
        "apart": ("You only find a copy that does not overlap with these n tokens.", "Written before means: it ended at an earlier place, however near."),
        "token": ("You ask whether the token alone came before.", "n in a row: compare slices, not single tokens."),
        "sorted": ("Yours does not mind the order of the n tokens.", "A tuple keeps the order; a set or a sorted list loses it."),
        "first": ("Yours says True at the first time and False when it comes again.", "The other way round: is it in what was seen?"),
        "neighbour": ("You only look at the n tokens right before.", "It may have been written anywhere before: keep a set of all that was seen."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, change)) for change, texts in told.items())


def _judge_again(mine: Callable[[Sequence[int], int], list[bool]]) -> Mistake | str | None:
    return diagnose(mine, comes_again, _TEXTS, _slips())


# --- 22.3: does what rises foresee? ---------------------------------------------------------------


@cache
def atom_foresees() -> float:
    """Return the AUROC of the atom that rises most, for texts that loop; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("behaviour").of("auroc atom").mean


TASKS = tasks(
    "behaviour",
    {
        "22.1": Answer(function(TRUTHS, takes="tokens and n"), judge=_judge_again),
        "22.3": Answer(number(0, 1), measure=atom_foresees),
    },
)
